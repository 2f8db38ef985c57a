"""The contents of a model card: the facts of its head; the training and how samples are drawn in Markdown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from flowprior.conditions import Condition
from flowprior.display.shown import markdown_table
from flowprior.flow.description import samples_ending, tensor_option, weights_digest
from flowprior.flow.readers import TEXT_ENCODER, TEXTUAL, WHOLE, names_of
from flowprior.priors.saved import KEPT


def head_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the head that follow from a flow; ``license`` only where the metadata name one."""
    data, licence = _noted(description, "data"), description["metadata"].get("license")
    head = {
        "library_name": "flowprior",
        "pipeline_tag": _pipeline_tag(description, data),
        "tags": ["flow-matching", "flowprior"],
        "datasets": [data["name"]] if is_word(data.get("name")) else None,
        "license": licence if is_word(licence) else None,
    }
    return {name: value for name, value in head.items() if value is not None}


def body_of(description: Mapping[str, Any]) -> str:
    """Return the training as tables, the command that repeats it, and how to draw samples; in Markdown."""
    name, command = _noted(description, "data").get("name"), description["metadata"].get("command")
    repeat = "It was trained from Python, on data or parts that no command line names."
    if isinstance(command, str):
        repeat = f"This command trains it again:\n\n```console\n$ {plain(command)}\n```"
    return "\n\n".join(
        [
            f"# A flow{f' of {plain(name)}' if name else ''}",
            f"From the prior {code(description['prior'])} to the data; for the Python package flowprior.",
            "## Training",
            markdown_table(("what", "value"), _rows(description)),
            repeat,
            "## Samples",
            *_sampling(description),
        ]
    )


def _pipeline_tag(description: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    """Return Hugging Face's name of the task; None without one, such as for points."""
    if not (data.get("is_image") or "encoder" in description):
        return None
    parts = Condition.from_dict(description["condition"]).named.values()
    if any(part.is_picture for part in parts):
        return "image-to-image"
    captioned = "captions" in data or TEXT_ENCODER in description["metadata"]
    textual = any(part.kind in TEXTUAL for part in parts)
    return "text-to-image" if captioned and textual else "unconditional-image-generation"


def _rows(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    metadata, data = description["metadata"], _noted(description, "data")
    config = _noted(description, "config")
    training, captions = dict(config.get("training", {})), dict(data.get("captions") or {})
    found: dict[str, Any] = {
        "data": config.get("data") or data.get("name"),
        "split": data.get("split"),
        "examples": data.get("examples"),
        "shape of an example": data.get("event_shape"),
        "different captions": captions.get("count"),
        "licences of the data": ", ".join(map(str, data.get("licences", []))),
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


def _sampling(description: Mapping[str, Any]) -> list[str]:
    condition = Condition.from_dict(description["condition"])
    names = names_of(description["metadata"], WHOLE, condition.size) or ["0"]
    shown = plain(names[0]) == names[0] and names.count(names[0]) == 1
    option, argument = {
        "none": ("", "n=8"),
        "labels": (f"--cond {shlex.quote(names[0] if shown else '0')} ", "torch.tensor([0] * 8)"),
        "tensor": (tensor_option(condition), "condition"),
    }.get(
        condition.kind,
        ('--text "…" ', '["…"]') if TEXT_ENCODER in description["metadata"] else ("", "condition"),
    )
    python = f'samples = Flow.load("FOLDER").sample({argument}, nfe=15)'
    out = f"samples.{samples_ending(description['event_shape'], _noted(description, 'data'))}"
    command = f"```console\n$ flowprior sample FOLDER {option}--nfe 15 --out {out}\n```"
    imports = f"{'import torch' * ('torch.' in argument)}\nfrom flowprior import Flow".lstrip()
    return [command, f"```py\n{imports}\n\n{python}\n```"]


def _noted(description: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the metadata under ``key``, such as ``"data"``; an empty mapping if they are no mapping."""
    found = description["metadata"].get(key)
    return dict(found) if isinstance(found, Mapping) else {}


# -- Markdown ---------------------------------------------------------------------------------


def code(value: Any) -> str:
    """Return a value as code in a cell of a table."""
    return f"`{plain(value).replace('|', chr(92) + '|')}`"


def plain(value: Any) -> str:
    """Return a value in one line, without characters that end a code block or an HTML comment."""
    text = " ".join(str(value).split()).replace("`", "'").replace("<!--", "<! --").replace("-->", "-- >")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def is_word(value: Any) -> bool:
    """Return whether Hugging Face accepts ``value`` as a name: letters, digits, ``-``, ``_`` and ``.``."""
    return isinstance(value, str) and re.fullmatch(r"[\w.-]+", value, re.ASCII) is not None
