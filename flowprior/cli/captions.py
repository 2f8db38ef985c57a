"""What ``flowprior sample`` is asked for, captions or conditions; the samples, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.cli.options import EACH, SINGLE, parse_conditions
from flowprior.cli.parts import CAPTION
from flowprior.display import counted
from flowprior.errors import OptionError
from flowprior.registry import package_version

if TYPE_CHECKING:
    from torch import Tensor

    from flowprior.conditions import Conditions
    from flowprior.flow import Flow
    from flowprior.pictures.grid import Panel
    from flowprior.samplers import Solution

PROMPTS_LIMIT = 1 << 20
"""Longest file of captions that is read, in bytes."""
NAMELESS = "(empty)"
"""What a picture calls the empty caption."""
PLAIN = {"temperature": None, "prior_guidance": None, "guidance": 1.0}
"""Settings that a title names, in this order, and what they are where nobody asked for anything."""


def read_captions(texts: Sequence[str] | None, prompts: Path | None, cond: str | None) -> list[str] | None:
    """The captions that are asked for, or None where it is none of them.

    Args:
        texts: of ``--text``, which may be given again and again.
        prompts: file of ``--prompts``, one caption a line; empty lines are skipped.
        cond: of ``--cond``, which excludes both.

    Raises:
        OptionError: two of the three, or a file that is missing, empty or no text.
    """
    given = {"--text": texts or None, "--prompts": prompts, "--cond": cond}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise OptionError(f"{named[0]} and {named[1]} exclude each other; choose one of them")
    if prompts is not None:
        return _captions_of(prompts)
    return list(texts) if texts else None


def _captions_of(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            data = opened.read(PROMPTS_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise OptionError(f"--prompts {file} cannot be read ({error}); check the path") from error
    if len(data) > PROMPTS_LIMIT:
        raise OptionError(f"--prompts {file} has more than {PROMPTS_LIMIT:,} bytes; split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"--prompts {file} is no UTF-8 text; save it as UTF-8") from error
    captions = [line.strip() for line in text.split("\n") if line.strip()]
    if not captions:
        raise OptionError(f"--prompts {file} holds no caption; write one a line")
    return captions


@dataclass(frozen=True)
class Asked:
    """What samples are asked for.

    Attributes:
        cond: condition of each sample ``[N, …]``; None for a flow without.
        n: number of samples, where ``cond`` does not say.
        rows: which row of a picture each sample stands in, ``[N]``, or its embedding; None for no rows.
        captions: one for each row, or None.
        labels: part -> the word that asks for its label, one for each row.
        class_names: where ``rows`` are labels, one for each label that the flow knows; else empty.
    """

    cond: Conditions | None
    n: int | None
    rows: Tensor | None
    captions: list[str] | None = None
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    class_names: Sequence[str] = ()

    @property
    def names(self) -> list[str] | None:
        """What stands beside each row of a picture, where it is a caption or the name of a label."""
        if self.class_names:
            return list(self.class_names)
        captions = [] if self.captions is None else [[text.strip() or NAMELESS for text in self.captions]]
        rows = zip(*captions, *self.labels.values(), strict=True)
        return [", ".join(words) for words in rows] or None


def read_asked(
    flow: Flow,
    captions: list[str] | None,
    cond: str | None,
    count: int | None,
    labels: Mapping[str, str] | None = None,
) -> Asked:
    """What ``--cond``, captions and labels of parts ask of a flow.

    Args:
        flow: to be sampled.
        captions: texts.
        cond: of ``--cond``.
        count: samples of each condition; None for 64 of a single one, 8 of several.
        labels: part -> its labels, as :func:`flowprior.cli.parts.read_parts` gives them.

    Raises:
        OptionError: a condition that the flow does not have.
        InputError: captions where the flow has no text encoder, or another one than made its embeddings.
    """
    import torch

    from flowprior.cli.parts import rows_of_parts
    from flowprior.conditions import as_value

    if labels and cond is not None:
        raise OptionError("--part (--style) and --cond exclude each other; write labels as --part NAME=VALUE")
    if labels or (flow.condition.kind == "parts" and captions is not None):
        words = rows_of_parts(flow, captions, labels or {})
        texts = words.pop(CAPTION, None)
        each = count or (SINGLE if len(next(iter(words.values()), texts or [])) == 1 else EACH)
        given = {**{name: texts for name, part in flow.condition.parts if name not in words}, **words}
        value = as_value(flow.captions.read(given, None, "sample"))
        rows = torch.arange(len(value)).repeat_interleave(each)
        return Asked(value[rows], None, rows, texts, words)
    if captions is None:
        names = flow.captions.label_names()
        conditions = parse_conditions(cond, flow.condition, count, names)
        n = (count or SINGLE) if conditions is None else None
        return Asked(conditions, n, conditions, class_names=names)
    each = count or (SINGLE if len(captions) == 1 else EACH)
    rows = torch.arange(len(captions)).repeat_interleave(each)
    value = as_value(flow.captions.read(captions, None, "sample"))
    return Asked(value[rows], None, rows, captions)


def draw_samples(flow: Flow, asked: Asked, nfe: int | None, seed: int, **options: Any) -> Solution:
    """Samples of what was asked for; one seed gives one set of source samples, whatever ``nfe``."""
    from flowprior.flow.showing import draw

    return draw(flow, asked.cond, asked.n, seed=seed, nfe=nfe, **options)


def prior_panels(flow: Flow, asked: Asked, source: Tensor, x: Tensor) -> dict[str, Panel]:
    """The prior's mean for each row, source samples and samples ``[N, *event]``, named."""
    import torch

    from flowprior.flow.showing import prior_means

    places = torch.zeros(1, dtype=torch.long)
    if asked.rows is not None and not asked.rows.is_floating_point():
        places = torch.stack([(asked.rows == row).nonzero()[0, 0] for row in asked.rows.unique()])
    mean = prior_means(flow, None if asked.cond is None else asked.cond[places])
    means = (mean, None if asked.rows is None else asked.rows[places])
    return {"prior mean": means, "prior samples": (source, asked.rows), "flow": (x, asked.rows)}


def title_of(run: str, asked: Asked, nfe: int, settings: Mapping[str, Any]) -> str:
    """What stands above a picture: whose samples these are, and all that they were drawn with but the seed.

    Args:
        run: name of the run.
        asked: for which conditions; a single label is named.
        nfe: evaluations that were spent.
        settings: of :func:`draw_samples`, as they were asked for.
    """
    labels = asked.rows.unique().tolist() if asked.class_names and asked.rows is not None else []
    said = [str(asked.class_names[label]) for label in labels] if len(labels) == 1 else []
    said.append(f"{counted(nfe, 'evaluation')}, {settings['sampler']}" if nfe else "the prior alone")
    for name, plain in PLAIN.items():
        if settings[name] not in (None, plain) and (nfe or name != "guidance"):
            said.append(f"{name.replace('_', ' ')} {settings[name]:g}")
    if settings["negative"] is not None and nfe:
        said.append(f"away from '{settings['negative'] or NAMELESS}'")
    return f"{run}: {', '.join(said)}"


def notes_of(asked: Asked, **settings: Any) -> dict[str, str]:
    """What a picture's text chunks say: one caption as it is, several as a JSON list, and the settings."""
    about: dict[str, Any] = {}
    if asked.captions is not None:
        several = len(asked.captions) > 1
        words = json.dumps(asked.captions, ensure_ascii=False) if several else asked.captions[0]
        about = {"captions" if several else "caption": words}
    for name, words in asked.labels.items():
        about[name] = json.dumps(words, ensure_ascii=False) if len(words) > 1 else words[0]
    values = {**about, **settings, "flowprior": package_version()}
    return {name: str(value) for name, value in values.items() if value is not None}
