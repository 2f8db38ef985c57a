"""A flow on disk: ``flow.json`` says how to rebuild its parts, ``weights.safetensors`` holds the tensors."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registry, Spec
from flowprior.storage import load_tensors, save_tensors, write_directory

if TYPE_CHECKING:
    from flowprior.flow import Flow

FORMAT = 2
"""Written where the model does not predict the velocity, which readers of format 1 take for granted."""
VELOCITY_FORMAT = 1
DESCRIPTION = "flow.json"
WEIGHTS = "weights.safetensors"


def save_flow(flow: Flow, directory: FilePath) -> None:
    """Write ``flow`` to ``directory``, in one move; a flow already there survives a failure.

    Raises:
        CheckpointError: it cannot be written, or the prior, coupling or path is not registered.
    """
    description = describe(flow)
    tensors = {name: value for name, value in flow.state_dict().items() if isinstance(value, Tensor)}
    with write_directory(directory) as temporary:
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (temporary / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        save_tensors(temporary / WEIGHTS, tensors, {"flowprior": description["flowprior"]})


def describe(flow: Flow) -> dict[str, Any]:
    """What ``flow.json`` holds.

    Raises:
        CheckpointError: a part without a name to rebuild it by, or metadata that JSON cannot hold.
    """
    families: dict[str, tuple[Registry[Any], object]] = {
        "prior": (Prior.registry, flow.prior),
        "coupling": (Coupling.registry, flow.coupling),
        "path": (Path.registry, flow.path),
    }
    specs = {name: flow.specs[name] or spec_of(*family) for name, family in families.items()}
    dtype = flow._dtype()
    description = {
        "format": VELOCITY_FORMAT if flow.prediction == "velocity" else FORMAT,
        "flowprior": _package_version(),
        "model": flow.specs["model"],
        **specs,
        "prediction": flow.prediction,
        "condition": {"kind": flow.condition.kind, "size": flow.condition.size},
        "event_shape": list(flow.event_shape),
        "dtype": str(dtype).removeprefix("torch.") if dtype else None,
        "metadata": flow.metadata,
    }
    try:
        return json.loads(json.dumps(description))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"flow.save: metadata must be plain JSON values: {error}") from error


def spec_of(registry: Registry[Any], component: object) -> str:
    """Name and options of a registered component, read off the attributes its constructor stored.

    Raises:
        CheckpointError: its class is not registered, or it does not store its options under their names.
    """
    record = next((r for r in registry.records() if r.factory is type(component)), None)
    kind = type(component).__name__
    if record is None:
        raise CheckpointError(
            f"flow.save: {registry.family} {kind} is not registered, so it could not be rebuilt; "
            f"register it with {registry.family.capitalize()}.register"
        )
    missing = [option for option in record.options if not hasattr(component, option)]
    if missing:
        raise CheckpointError(
            f"flow.save: {registry.family} {kind} does not store its option '{missing[0]}'; "
            f"pass {registry.family}_spec= to Flow"
        )
    values = {option: getattr(component, option) for option in record.options}
    changed = {option: value for option, value in values.items() if value != record.options[option]}
    spec = Spec(record.name, changed)
    if dict(registry.parse(str(spec)).options) != changed:
        raise CheckpointError(f"flow.save: {registry.family} '{spec}' cannot be written as a spec string")
    return str(spec)


def load_flow(cls: type[Flow], directory: FilePath, model: nn.Module | None) -> Flow:
    """Rebuild the flow saved in ``directory``, on the CPU.

    Raises:
        CheckpointError: missing, truncated, corrupted, of a newer version, or tensors that do not fit.
    """
    description = read_description(directory)
    tensors, _ = load_tensors(directory / WEIGHTS)
    try:
        flow = _rebuild(cls, description, model)
    except FlowpriorError as error:
        raise CheckpointError(f"{directory}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory / DESCRIPTION} is incomplete or damaged: {error!r}") from error
    _load_weights(flow, tensors, directory)
    return flow


def read_description(directory: FilePath) -> dict[str, Any]:
    """``flow.json`` of a saved flow, of a format that this version can read.

    Raises:
        CheckpointError: it is missing, damaged, or written by a newer flowprior.
    """
    path = directory / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; pass a directory that Flow.save wrote")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        written = int(description["format"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or corrupted; use another checkpoint") from error
    if written > FORMAT:
        raise CheckpointError(
            f"{path} has format {written}, written by flowprior {description.get('flowprior')}; this "
            f"flowprior reads formats up to {FORMAT}: install a newer one"
        )
    return description


def _rebuild(cls: type[Flow], description: dict[str, Any], model: nn.Module | None) -> Flow:
    condition = Condition(**description["condition"])
    if model is None:
        model = _build_model(description, condition)
    return cls(
        model,
        Prior.registry.resolve(description["prior"]),
        Coupling.registry.resolve(description["coupling"]),
        Path.registry.resolve(description["path"]),
        condition,
        prediction=description.get("prediction", "velocity"),
        **{f"{part}_spec": description[part] for part in ("model", "prior", "coupling", "path")},
        metadata=description["metadata"],
    )


def _build_model(description: dict[str, Any], condition: Condition) -> nn.Module:
    from flowprior.models import build_model

    if not description["model"]:
        raise CheckpointError("its model is not one of flowprior's; pass it as Flow.load(…, model=network)")
    model = build_model(description["model"], torch.Size(description["event_shape"]), condition)
    return model.to(getattr(torch, description["dtype"])) if description["dtype"] else model


def _load_weights(flow: Flow, tensors: dict[str, Tensor], directory: FilePath) -> None:
    """Copy the model's tensors into place; the prior takes shape and dtype of its own from the file."""
    parts: dict[str, Any] = {"model": flow.model, "prior": flow.prior}
    for name, part in parts.items():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if not isinstance(part, nn.Module):
            continue
        try:
            part.load_state_dict(own, assign=name == "prior")
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{directory / WEIGHTS}: the tensors do not fit the {name} '{flow.specs[name]}': {reason}"
            ) from error


def _package_version() -> str:
    try:
        return version("flowprior")
    except PackageNotFoundError:
        return "unknown"
