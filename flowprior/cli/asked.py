"""The conditions of ``flowprior sample``: captions, labels, labels of parts, pictures, or other ones.

Labels of parts are asked for by ``--style noto``, or ``--part NAME=VALUE`` for a part of any name. Pictures
of which a flow makes others, such as low-resolution ones, are given as ``--picture FILE``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from flowprior.cli.options import SINGLE, parse_conditions, rows_for
from flowprior.errors import OptionError
from flowprior.registry import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from flowprior.conditions import Conditions
    from flowprior.flow import Flow

PROMPTS_LIMIT = 1 << 20
"""Longest file of captions that is read, in bytes."""
NAMELESS = "(empty)"
"""The name of the empty caption in a picture."""
STYLE = "style"
CAPTION = ""
"""The key of the caption among the words of a row, which are listed by part."""
ALL = "all"
COLOURS = (1, 3)
"""Channels of a picture that is given whole; one more where a part of it may be hidden."""
OPAQUE = 0.99
"""The least opacity of a known pixel; below it the white under the transparency shines through."""


@dataclass(frozen=True)
class Asked:
    """The samples that a command draws.

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
        """The text beside each row of a picture: a caption, or the names of labels; None for neither."""
        if self.class_names:
            return list(self.class_names)
        captions = [] if self.captions is None else [[text.strip() or NAMELESS for text in self.captions]]
        rows = zip(*captions, *self.labels.values(), strict=True)
        return [", ".join(words) for words in rows] or None


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


def read_parts(parts: Sequence[str] | None, style: str | None) -> dict[str, str]:
    """Part -> its labels, as they were written.

    Args:
        parts: of ``--part``, each ``NAME=VALUE``.
        style: of ``--style``, which is ``--part style=VALUE``.

    Raises:
        OptionError: one that is no ``NAME=VALUE``, or a part that is given twice.
    """
    found = {} if style is None else {STYLE: style}
    for text in parts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise OptionError(f"--part {text!r} is not possible; write NAME=VALUE, such as style=noto")
        if name in found:
            raise OptionError(f"the part '{name}' is given twice; write --part {name}=A,B for several labels")
        found[name] = value
    return found


def read_asked(
    flow: Flow,
    captions: list[str] | None,
    cond: str | None,
    count: int | None,
    labels: Mapping[str, str] | None = None,
) -> Asked:
    """Return the samples that ``--cond``, captions and labels of parts ask for.

    Args:
        flow: to be sampled.
        captions: texts.
        cond: of ``--cond``.
        count: samples of each condition; None for 64 of a single one, 8 of several.
        labels: part -> its labels, as :func:`read_parts` gives them.

    Raises:
        OptionError: a condition that the flow does not have.
        InputError: captions where the flow has no text encoder, or another one than made its embeddings.
    """
    from flowprior.conditions import as_value

    if labels and cond is not None:
        raise OptionError("--part (--style) and --cond exclude each other; write labels as --part NAME=VALUE")
    if labels or (flow.condition.kind == "parts" and captions is not None):
        words = _rows_of_parts(flow, captions, labels or {})
        texts = words.pop(CAPTION, None)
        given = {**{name: texts for name, part in flow.condition.parts if name not in words}, **words}
        value = as_value(flow.captions.read(given, None, "sample"))
        rows = rows_for(len(value), count)
        return Asked(value[rows], None, rows, texts, words)
    if captions is None:
        names = flow.captions.label_names()
        conditions = parse_conditions(cond, flow.condition, count, names)
        n = (count or SINGLE) if conditions is None else None
        return Asked(conditions, n, conditions, class_names=names)
    rows = rows_for(len(captions), count)
    value = as_value(flow.captions.read(captions, None, "sample"))
    return Asked(value[rows], None, rows, captions)


def refuse_beside_pictures(cond: str | None, captions: list[str] | None) -> None:
    """Refuse other conditions beside ``--picture`` than labels of parts.

    Raises:
        OptionError: there are some.
    """
    for option, value in {"--cond": cond, "--text": captions}.items():
        if value is not None:
            raise OptionError(f"--picture and {option} exclude each other; choose one of them")


def read_given(
    flow: Flow, files: Sequence[Path], count: int | None, labels: Mapping[str, str] | None = None
) -> Asked:
    """Return the samples that pictures in files ask for; to a flow that fills holes, transparent is hidden.

    Args:
        flow: whose condition is a picture, or has one as a part beside labels.
        files: one condition each, scaled to the condition's size.
        count: samples of each; None for 64 of a single one, 8 of several.
        labels: part -> its label, for all pictures.

    Raises:
        OptionError: the flow's condition has no picture, or a part that is not asked for, or no such part.
        InputError: a file that cannot be decoded.
    """
    import torch

    from flowprior.conditions import as_value

    labels = labels or {}
    name, shape = _picture_of(flow)
    _check_labels(flow, name, labels)
    given = torch.stack([_read_picture(file, shape) for file in files])
    value = as_value(flow.captions.read({name: given, **labels}, None, "sample")) if name else given
    rows = rows_for(len(files), count)
    words = {part: [label] * len(files) for part, label in labels.items()}
    return Asked(value[rows], None, rows, labels={"picture": [file.stem for file in files], **words})


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


def _rows_of_parts(
    flow: Flow, captions: Sequence[str] | None, labels: Mapping[str, str]
) -> dict[str, list[str]]:
    """The words of each row: every caption with every label of each part.

    Returns:
        Part -> one word a row; the captions, where there are some, under :data:`CAPTION`.

    Raises:
        OptionError: a part that the flow does not have, or one that nothing is asked of.
    """
    _check_parts(flow, captions, labels)
    asked = {} if captions is None else {CAPTION: list(captions)}
    for name, text in labels.items():
        asked[name] = _all_of(flow, name) if text == ALL else [word.strip() for word in text.split(",")]
    rows = list(product(*asked.values()))
    return {name: [row[place] for row in rows] for place, name in enumerate(asked)}


def _all_of(flow: Flow, name: str) -> list[str]:
    """The names of all labels of a part, or their numbers."""
    size = flow.condition[name].size
    return flow.captions.label_names(name) or [str(label) for label in range(size)]


def _check_parts(flow: Flow, captions: Sequence[str] | None, labels: Mapping[str, str]) -> None:
    kinds = {name: part.kind for name, part in flow.condition.parts}
    known = [name for name, kind in kinds.items() if kind == "labels"]
    for name in labels:
        if not known:
            raise OptionError(
                f"--part {name} is not possible: this flow's condition is {flow.condition.describe()}; leave "
                "it out"
            )
        if name not in known:
            raise OptionError(
                f"--part {name}: no part of labels of this name{did_you_mean(name, known)} there are "
                f"{', '.join(known)}" + ("; write captions as --text" if name in kinds else "")
            )
    missing = [name for name in known if name not in labels]
    if missing:
        name, words = missing[0], flow.captions.label_names(missing[0])
        some = ", ".join(words) if words else f"0..{flow.condition[name].size - 1}"
        option = "--style NAME" if name == STYLE else f"--part {name}=NAME"
        raise OptionError(
            f"this flow's condition has a part '{name}', too; add {option}, one of {some}, or all"
        )
    if captions is None and len(known) < len(kinds):
        texts = next(name for name in kinds if name not in known)
        if kinds[texts] == "tensor":
            raise OptionError(f"this flow's condition has a part '{texts}', too; add --picture FILE")
        raise OptionError(f"this flow's condition has a part '{texts}' of texts, too; add --text")


def _picture_of(flow: Flow) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the part that is a picture; the name is empty where it is the whole condition."""
    shapes = {name: part.shape for name, part in flow.condition.named.items() if part.is_picture}
    found = {name: shape for name, shape in shapes.items() if _colours(shape) in COLOURS}
    if len(found) != 1:
        raise OptionError(
            f"--picture is not possible: this flow's condition is {flow.condition.describe()}; leave it out"
        )
    return next(iter(found.items()))


def _colours(shape: tuple[int, ...]) -> int:
    return shape[0] - (shape[0] not in COLOURS)


def _check_labels(flow: Flow, picture: str, labels: Mapping[str, str]) -> None:
    others = [name for name in flow.condition.names if name != picture]
    missing = [name for name in others if name not in labels]
    unknown = [name for name in labels if name not in others]
    if missing or unknown:
        problem = f"add --part {missing[0]}=NAME" if missing else f"leave --part {unknown[0]} out"
        raise OptionError(f"this flow's condition is {flow.condition.describe()}; {problem}")


def _read_picture(file: Path, shape: tuple[int, ...]) -> Tensor:
    import torch

    from flowprior.data.picture_files import read_opacity, read_picture

    channels, *sides = shape
    size = (sides[0], sides[1])
    if channels in COLOURS:
        return read_picture(file, size, channels)
    known = (read_opacity(file, size) > OPAQUE).float()
    return torch.cat([read_picture(file, size, channels - 1) * known, 2 * known - 1])
