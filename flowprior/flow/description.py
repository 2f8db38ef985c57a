"""``flow.json``: how to rebuild the parts of a flow, and which files belong to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import torch

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError
from flowprior.flow.latents import describe_encoder
from flowprior.flow.parts import FlowParts
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.priors.saved import KEPT
from flowprior.registry import Registry, package_version, spec_of
from flowprior.storage import Binding, read_json, signed, unsigned, write_json

FORMAT, IN_LATENTS = 3, 4
"""Of a flow, and of one in the latents of an encoder."""
LAST_READER = "aedbeeba"
"""The last commit of flowprior that reads flows of formats 1 and 2, whose files nothing bound."""
DESCRIPTION = "flow.json"
FILES = "files"
_DTYPES = ("float16", "bfloat16", "float32", "float64")


def describe(flow: FlowParts) -> dict[str, Any]:
    """What ``flow.json`` says of a flow, apart from its files.

    Raises:
        CheckpointError: a part without a name to rebuild it by, or metadata that JSON cannot hold.
    """
    families: dict[str, tuple[Registry[Any], object]] = {
        "prior": (Prior.registry, flow.prior),
        "coupling": (Coupling.registry, flow.coupling),
        "path": (Path.registry, flow.path),
    }
    try:
        specs = {name: flow.specs[name] or spec_of(*family) for name, family in families.items()}
    except CheckpointError as error:
        raise CheckpointError(f"flow.save: {error}") from None
    dtype = flow.dtype
    description = {
        "format": FORMAT if flow.encoder is None else IN_LATENTS,
        "flowprior": package_version(),
        "model": flow.specs["model"],
        **specs,
        "prediction": flow.prediction,
        "condition": flow.condition.as_dict(),
        "event_shape": list(flow.state_shape),
        **describe_encoder(flow),
        "dtype": str(dtype).removeprefix("torch.") if dtype else None,
        "metadata": flow.metadata,
        **({KEPT: flow.prior.kept_data} if flow.prior.kept_data else {}),
    }
    try:
        return json.loads(json.dumps(description))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"flow.save: metadata must be plain JSON values: {error}") from error


def write_description(folder: FilePath, values: Mapping[str, Any], files: Mapping[str, Binding]) -> None:
    """Write ``flow.json`` with the files that belong to it: from now on, the folder holds this flow.

    Raises:
        CheckpointError: it cannot be written.
    """
    bound = {role: binding.as_dict() for role, binding in files.items()}
    write_json(folder / DESCRIPTION, signed({**values, FILES: bound}))


def read_description(directory: FilePath) -> dict[str, Any]:
    """``flow.json`` of a saved flow, checked key by key.

    Raises:
        CheckpointError: it is missing, damaged, changed, or written by a newer or a much older flowprior.
    """
    path = directory / DESCRIPTION
    if not path.exists():
        raise CheckpointError(f"{path} is missing; pass a directory that Flow.save wrote")
    description = read_json(path)
    written = description.get("format")
    if type(written) is not int or written < 1:
        raise CheckpointError(f"{path} is truncated or corrupted (no format); use another checkpoint")
    if written > IN_LATENTS:
        raise CheckpointError(
            f"{path} has format {written}, written by flowprior {_word(description.get('flowprior'))}; this "
            f"flowprior reads formats up to {IN_LATENTS}: install a newer one"
        )
    if written < FORMAT:
        raise CheckpointError(
            f"{path} has format {written}, which commit {LAST_READER} of flowprior is the last to read; "
            "train the flow again"
        )
    description = unsigned(description, path)
    try:
        _check_values(description)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is incomplete or damaged: {error!r}") from error
    return description


def bindings_of(description: Mapping[str, Any]) -> dict[str, Binding]:
    """The files that a description binds, by role."""
    return {role: Binding.of(value) for role, value in description[FILES].items()}


def _check_values(description: Mapping[str, Any]) -> None:
    """Refuse values of another kind than :func:`describe` writes."""
    for name in ("model", "prior", "coupling", "path", "prediction"):
        _expect(type(description[name]) is str, name)
    condition, shape = _condition(description["condition"]), description["event_shape"]
    _expect(all(part.size < 1 << 31 for part in (condition, *dict(condition.parts).values())), "condition")
    _expect(is_shape(shape), "event_shape")
    _check_encoder(description)
    _expect(description["dtype"] is None or description["dtype"] in _DTYPES, "dtype")
    _expect(isinstance(description["metadata"], dict), "metadata")
    _expect(type(description.get(KEPT, "")) is str, KEPT)
    _expect(isinstance(description[FILES], dict), FILES)
    bindings_of(description)["weights"]


def _check_encoder(description: Mapping[str, Any]) -> None:
    """Where there is one, it has a spec, an identity and the shape of its pictures."""
    _expect(("encoder" in description) == (description["format"] == IN_LATENTS), "encoder")
    entry = dict(description.get("encoder", {}))
    _expect(all(type(entry[name]) is str for name in ("spec", "identity") if entry), "encoder")
    _expect(not entry or is_shape(entry["event_shape"]), "encoder")


def is_shape(value: Any) -> bool:
    """Whether a value of JSON is the shape of an event."""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _condition(values: Any) -> Condition:
    """The condition, where it is one; what else it says may be long and does not go into the message."""
    try:
        return Condition.from_dict(values)
    except ValueError:
        raise ValueError("an impossible condition") from None


def _expect(holds: bool, key: str) -> None:
    if not holds:
        raise ValueError(f"an impossible {key}")


def _word(value: Any) -> str:
    return " ".join(str(value).split())[:40]


def dtype_of(description: Mapping[str, Any]) -> torch.dtype | None:
    """Floating-point type of the model's weights; None where it has none."""
    return getattr(torch, description["dtype"]) if description["dtype"] else None


def weights_digest(description: Mapping[str, Any]) -> str:
    """Return the sha256 of the file of the weights."""
    return description[FILES]["weights"]["sha256"]


def digest_of(folder: FilePath) -> str | None:
    """Return the sha256 of the weights of a saved flow; None for a checkpoint, and where there is no flow."""
    try:
        description = read_description(folder)
    except CheckpointError:
        return None
    return weights_digest(description) if set(description[FILES]) == {"weights"} else None


def tensor_option(condition: Condition) -> str:
    """Return how ``flowprior sample`` is given a condition that is a tensor."""
    return "--picture FILE " if condition.is_picture else "--cond FILE.npy "


def samples_ending(event_shape: Sequence[int], data: Any = None) -> str:
    """Return the ending of a file that such events fit in; images and points of the plane are drawn.

    Args:
        event_shape: of one sample.
        data: what the flow's metadata say of its data.
    """
    if isinstance(data, Mapping) and "annotation" in data:
        return "h5ad"
    picture = len(event_shape) == 3 and event_shape[0] in (1, 3, 4)
    return "png" if picture or tuple(event_shape) == (2,) else "npz"
