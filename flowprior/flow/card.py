"""The model card of a saved flow: ``README.md`` beside ``flow.json``, as Hugging Face's site shows it.

Its facts are those of ``flow.json``: the parts, the configuration, and what training wrote down of its data.
Its last line holds the sha256 of the lines above. A card of which that holds is written anew with every save;
a ``README.md`` that somebody has edited or written is kept. No flow is loaded by its card.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from flowprior.conditions import Condition
from flowprior.errors import CheckpointError
from flowprior.flow.description import FILES, read_description
from flowprior.flow.label_names import WHOLE, names_of
from flowprior.flow.readers import TEXT_ENCODER, TEXTUAL
from flowprior.priors.saved import KEPT
from flowprior.storage import read_text, remove_files, write_text

CARD = "README.md"
LIMIT = 1 << 20
"""Longest card that is read, in bytes."""
MARK = "<!-- flowprior: "
"""Begins the last line of a card, and the comments in those of older versions."""
_SEAL = re.compile(rf"\n{MARK}sha256 of the lines above: ([0-9a-f]{{64}}) -->\n\Z")


class Evaluation(Protocol):
    """What of an evaluation goes into a card; a :class:`flowprior.evaluation.Result`."""

    def card_section(self) -> str: ...

    def card_metrics(self) -> list[str]: ...


def write_card(folder: Path, description: Mapping[str, Any], evaluation: Evaluation | None = None) -> None:
    """Write the card of the flow in ``folder``, in place of the one before.

    Where somebody has edited that one, or it cannot be written, one warning says so.

    Args:
        folder: of the saved flow.
        description: its ``flow.json``, with its files.
        evaluation: of this flow.
    """
    path = folder / CARD
    try:
        if path.exists() and unsealed(read_card(path)) is None:
            _warn(folder, f"{path} is your own or was edited, and is kept; remove it for a new one")
        else:
            write_text(path, sealed(card_of(description, evaluation)))
    except CheckpointError as error:
        _warn(folder, str(error))


def card_of(description: Mapping[str, Any], evaluation: Evaluation | None = None) -> str:
    """The text of a card: its head in YAML, the training, how to draw samples, and the evaluation."""
    head, body = head_of(description), [body_of(description)]
    if evaluation is not None:
        head["metrics"] = [name for name in evaluation.card_metrics() if is_word(name)]
        body += [evaluation.card_section(), f"weights sha256 {weights_digest(description)}"]
    return "\n\n".join([f"---\n{yaml_of(head)}\n---", *body]) + "\n"


def add_evaluation(folder: Path, evaluation: Evaluation, digest: str | None) -> None:
    """Put what an evaluation found into the card of a saved flow, in place of what is there.

    Where the flow is another one by now, or the card is not written, one warning says so.

    Args:
        folder: of the saved flow.
        evaluation: of this flow alone.
        digest: sha256 of its weights when it was read; None where it is no saved flow, which has no card.
    """
    if digest is None:
        return None
    try:
        description = read_description(folder)
    except CheckpointError as error:
        return _warn(folder, str(error))
    if weights_digest(description) != digest:
        return _warn(folder, "the flow was replaced meanwhile; evaluate it again")
    return write_card(folder, description, evaluation)


def sealed(text: str) -> str:
    """A text with a last line by which :func:`unsealed` sees that nobody has edited it."""
    return f"{text}\n{MARK}sha256 of the lines above: {_digest(text)} -->\n"


def unsealed(card: str) -> str | None:
    """The text of a card that is as flowprior wrote it; None for one that somebody has edited or written."""
    found = _SEAL.search(card)
    text = card[: found.start()] if found else ""
    return text if found and found[1] == _digest(text) else None


def read_card(path: Path | str) -> str:
    """The text of a file, with the ends of lines that flowprior writes.

    Raises:
        CheckpointError: it cannot be read, or is too long for a card.
    """
    return read_text(path, LIMIT).replace("\r\n", "\n")


def remove_card(folder: Path) -> None:
    """Remove the card of a flow that is to be removed, too; one of somebody else's stays."""
    with suppress(CheckpointError):
        if (folder / CARD).exists() and MARK in read_card(folder / CARD):
            remove_files([folder / CARD])


def digest_of(folder: Path) -> str | None:
    """sha256 of the weights of a saved flow; None for a checkpoint, and where there is no flow."""
    try:
        description = read_description(folder)
    except CheckpointError:
        return None
    return weights_digest(description) if set(description[FILES]) == {"weights"} else None


def head_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the head that follow from a flow; ``license`` only where the metadata name one."""
    metadata, data = description["metadata"], _noted(description, "data")
    tag = _pipeline_tag(description, data)
    name = data.get("name")
    head: dict[str, Any] = {"library_name": "flowprior"}
    head |= {} if tag is None else {"pipeline_tag": tag}
    head["tags"] = ["flow-matching", "flowprior"]
    head |= {"datasets": [name]} if isinstance(name, str) and is_word(name) else {}
    licence = metadata.get("license")
    return head | ({"license": licence} if isinstance(licence, str) and is_word(licence) else {})


def body_of(description: Mapping[str, Any]) -> str:
    """The training as tables, the command that repeats it, and how to draw samples; in Markdown."""
    name = _noted(description, "data").get("name")
    return "\n\n".join(
        [
            f"# A flow{f' of {plain(name)}' if name else ''}",
            f"From the prior {code(description['prior'])} to the data; for the Python package flowprior.",
            "## Training",
            markdown_table(("what", "value"), _rows(description)),
            *_repeat(description),
            "## Samples",
            *_sampling(description),
        ]
    )


def weights_digest(description: Mapping[str, Any]) -> str:
    """sha256 of the file of the weights."""
    return description[FILES]["weights"]["sha256"]


def tensor_option(condition: Condition) -> str:
    """How ``flowprior sample`` is told a condition that is a tensor."""
    return "--picture FILE " if condition.is_picture else "--cond FILE.npy "


def label_option(metadata: Mapping[str, Any], size: int) -> str:
    """How ``flowprior sample`` is told the first label: by its name, if it has one that a card can show."""
    names = names_of(metadata, WHOLE, size) or ["0"]
    shown = names[0] if plain(names[0]) == names[0] and names.count(names[0]) == 1 else "0"
    return f"--cond {shlex.quote(shown)} "


def samples_ending(event_shape: Sequence[int], data: Any = None) -> str:
    """Of a file that such events fit in: pictures and points of the plane are drawn, cells keep their names.

    Args:
        event_shape: of one sample.
        data: what the flow's metadata say of its data.
    """
    if isinstance(data, Mapping) and "annotation" in data:
        return "h5ad"
    picture = len(event_shape) == 3 and event_shape[0] in (1, 3, 4)
    return "png" if picture or tuple(event_shape) == (2,) else "npz"


def _pipeline_tag(description: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    """Hugging Face's name of the task; None where it has none, such as for points."""
    if not (data.get("is_image") or "encoder" in description):
        return None
    parts = Condition.from_dict(description["condition"]).named.values()
    if any(part.is_picture for part in parts):
        return "image-to-image"
    captioned = "captions" in data or TEXT_ENCODER in description["metadata"]
    textual = any(part.kind in TEXTUAL for part in parts)
    return "text-to-image" if captioned and textual else "unconditional-image-generation"


def _rows(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    metadata, config = description["metadata"], _noted(description, "config")
    training = dict(config.get("training", {}))
    found: dict[str, Any] = {
        **_data_rows(description),
        **{name: description[name] for name in ("prior", "coupling", "path", "model", "prediction")},
        "condition": Condition.from_dict(description["condition"]).describe(),
        "text encoder": dict(metadata.get(TEXT_ENCODER) or {}).get("identity"),
        "latents of": dict(description.get("encoder", {})).get("identity"),
        "steps": metadata.get("step"),
        "batch size": training.get("batch_size"),
        "seed": training.get("seed"),
        "condition dropout": training.get("condition_dropout"),
        "training data in the weights": description.get(KEPT),
        "weights, sha256": weights_digest(description),
        "flowprior": description["flowprior"],
        "commit": metadata.get("commit"),
    }
    return [(name, code(value)) for name, value in found.items() if value not in (None, "")]


def _data_rows(description: Mapping[str, Any]) -> dict[str, Any]:
    data = _noted(description, "data")
    captions = dict(data.get("captions") or {})
    ids = f"caption ids ({captions.get('ids', '')}), sha256"
    return {
        "data": _noted(description, "config").get("data") or data.get("name"),
        "split": data.get("split"),
        "examples": data.get("examples"),
        "shape of an example": data.get("event_shape"),
        "different captions": captions.get("count"),
        ids: captions.get("sha256"),
        "licences of the data": ", ".join(map(str, data.get("licences", []))),
    }


def _repeat(description: Mapping[str, Any]) -> list[str]:
    command = description["metadata"].get("command")
    if isinstance(command, str):
        return ["This command trains it again:", f"```console\n$ {plain(command)}\n```"]
    return ["It was trained from Python, on data or parts that no command line names."]


def _sampling(description: Mapping[str, Any]) -> list[str]:
    condition = Condition.from_dict(description["condition"])
    known = TEXT_ENCODER in description["metadata"]
    option, argument = {
        "none": ("", "n=8"),
        "labels": (label_option(description["metadata"], condition.size), "torch.tensor([0] * 8)"),
        "tensor": (tensor_option(condition), "condition"),
    }.get(condition.kind, ('--text "…" ', '["…"]') if known else ("", "condition"))
    python = f'samples = Flow.load("FOLDER").sample({argument}, nfe=15)'
    out = f"samples.{samples_ending(description['event_shape'], _noted(description, 'data'))}"
    lines = [f"```console\n$ flowprior sample FOLDER {option}--nfe 15 --out {out}\n```"]
    imports = f"{'import torch' * ('torch.' in argument)}\nfrom flowprior import Flow".lstrip()
    return [*lines, f"```py\n{imports}\n\n{python}\n```"]


def _noted(description: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What the metadata hold under ``key``, such as ``"data"``; empty where that is no mapping."""
    found = description["metadata"].get(key)
    return dict(found) if isinstance(found, Mapping) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(f"the model card of {folder} is not written: {reason}", RuntimeWarning, stacklevel=4)


# -- Markdown ---------------------------------------------------------------------------------


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(value: Any) -> str:
    """A value as code in a cell of a table."""
    return f"`{plain(value).replace('|', chr(92) + '|')}`"


def plain(value: Any) -> str:
    """A value in one line, without what would end a block of code or a comment of HTML."""
    text = " ".join(str(value).split()).replace("`", "'").replace("<!--", "<! --").replace("-->", "-- >")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def is_word(text: str) -> bool:
    """Whether Hugging Face's site takes ``text`` for a name: letters, digits, ``-``, ``_`` and ``.``."""
    return bool(text) and all(c.isalnum() or c in "-_." for c in text) and text.isascii()


def yaml_of(values: Mapping[str, Any]) -> str:
    """Texts and lists of texts as YAML, whose quoted texts are those of JSON."""
    lines = []
    for name, value in values.items():
        items = value if isinstance(value, list) else None
        lines.append(f"{name}: {json.dumps(value)}" if items is None else f"{name}:")
        lines += [f"- {json.dumps(item)}" for item in items or ()]
    return "\n".join(lines)
