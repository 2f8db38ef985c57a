"""Reading a flow: where it lies (the folder itself, a run's ``flow``, its newest checkpoint), and its parts.

:mod:`flowprior.flow.files` writes what is read here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.flow.description import DESCRIPTION, bindings_of, dtype_of, read_description
from flowprior.flow.latents import rebuild_encoder
from flowprior.flow.parts import FlowParts
from flowprior.flow.predictions import Prediction, make_prediction
from flowprior.flow.tensors import assign_tensors, check_prior, part_of, refuse_non_finite
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.priors.saved import kinds_of, refuse_shifted
from flowprior.storage import parse_tensors, read_json
from flowprior.storage.digests import DIGEST
from flowprior.storage.reading import unreadable
from flowprior.storage.tensor_files import SizedBy, sizes_of

F = TypeVar("F", bound=FlowParts)

TRIES = 3
FLOW, CHECKPOINTS, INFO = "flow", "checkpoints", "info.json"
FLOW_DIGEST = "flow_digest"
"""Key of info.json: the digest of the flow that the run has saved."""
STATUSES = ("running", "finished", "interrupted", "diverged", "failed")
_STEP = re.compile(r"step-(\d{1,18})")


@dataclass(frozen=True)
class Location:
    """A folder with a ``flow.json``, and what is to be said of it in one line where its run is unfinished."""

    folder: FilePath
    note: str | None = None


def find_flow(path: FilePath) -> Location:
    """The flow in ``path``, be it a saved flow or a run: its finished flow, else its newest checkpoint.

    Raises:
        CheckpointError: there is none, or no folder can have this name.
    """
    try:
        return _find(path)
    except (OSError, ValueError) as error:  # too long a name, or one with a NUL
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be a run ({error}); pass the directory of one") from error


def _find(path: FilePath) -> Location:
    if (path / DESCRIPTION).is_file():
        return Location(path)
    if (path / FLOW / DESCRIPTION).is_file():
        _check_own(path)
        return Location(path / FLOW, _note(path, "the flow of its last finished training"))
    steps = step_folders(path / CHECKPOINTS)
    if steps:
        step, folder = steps[-1]
        note = _note(path, f"its newest checkpoint, of step {step},")
        return Location(folder, note or f"{path} has no finished flow: its newest checkpoint is used")
    if not path.exists():
        raise CheckpointError(
            f"no run {path}: {path / DESCRIPTION} is missing; pass a directory that Flow.save wrote, or "
            f"train one with: flowprior train --out {path}"
        )
    raise CheckpointError(
        f"{path} holds neither a run nor a flow: {path / DESCRIPTION} is missing; pass a directory that "
        "Flow.save wrote, or the one given to train --out"
    )


def digest_of(folder: FilePath) -> str | None:
    """The digest in ``flow.json``, which binds all of a saved flow.

    Raises:
        CheckpointError: ``flow.json`` is missing or damaged.
    """
    return read_json(folder / DESCRIPTION).get(DIGEST)


def _check_own(run: FilePath) -> None:
    """Check that the flow in ``run`` is the one that its info.json names; older runs name none.

    Raises:
        CheckpointError: it is another one.
    """
    found = expected = None
    for _ in range(TRIES):  # The run may be writing both just now.
        found = digest_of(run / FLOW)
        try:
            expected = read_json(run / INFO).get(FLOW_DIGEST)
        except CheckpointError:
            return
        if expected in (None, found):
            return
    raise CheckpointError(
        f"{run / FLOW} is not the flow that the run {run} trained: expected the digest {str(expected)[:16]}… "
        f"of {INFO}, got {str(found)[:16]}…; put the run's own back, or pass {run / FLOW} to take this one"
    )


def step_folders(folder: FilePath) -> list[tuple[int, FilePath]]:
    """(step, directory) of everything in ``folder`` that is named like a checkpoint, oldest first."""
    found = [(match, path) for path in folder.glob("step-*") if (match := _STEP.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in found if path.is_dir())


def _note(run: FilePath, used: str) -> str | None:
    """What to say of a run that is not finished; None where it is, or says nothing of it."""
    try:
        info = read_json(run / INFO)
    except CheckpointError:
        return None
    status, step = info.get("status"), info.get("step")
    if status not in STATUSES or status == "finished":
        return None
    at = f" at step {step}" if type(step) is int and status != "running" else ""
    said = "still training, or was killed" if status == "running" else f"unfinished ({status}{at})"
    return f"the run {run} is {said}: {used} is used"


def load_flow(cls: type[F], path: FilePath, model: nn.Module | None) -> F:
    """Rebuild the flow, a ``cls``, in ``path``, a saved flow or a run, on the CPU.

    Raises:
        CheckpointError: missing, truncated, corrupted, of a newer version, or tensors that do not fit.
    """
    location, description, tensors = _read_settled(path)
    if location.note:
        warnings.warn(location.note, RuntimeWarning, stacklevel=3)
    refuse_non_finite(tensors, str(location.folder))
    try:
        flow = _rebuild(cls, description, model, tensors)
    except FlowpriorError as error:
        raise CheckpointError(f"{location.folder}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise unreadable(location.folder / DESCRIPTION, error) from error
    kinds = kinds_of(flow.prior)
    parts: dict[str, Any] = {"model": flow.model, "prior": flow.prior}
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            assign_tensors(part, tensors, name, f"{name} '{flow.specs[name]}'", location.folder)
    check_prior(flow.prior, kinds, description["event_shape"], flow.condition, location.folder)
    try:
        flow.check_encoder()
    except FlowpriorError as error:
        raise CheckpointError(f"{location.folder}: {error}") from error
    return flow


def load_prior_of(path: FilePath) -> Prior:
    """Rebuild the prior of the flow in ``path``, a saved flow or a run, on the CPU.

    Raises:
        CheckpointError: missing, damaged, of a newer version, or tensors that do not fit.
    """
    location, description, tensors = _read_settled(path)
    try:
        refuse_shifted(description["prior"])
        prior = Prior.registry.resolve(description["prior"])
    except FlowpriorError as error:
        raise CheckpointError(f"{location.folder}: {error}") from error
    assign_tensors(prior, tensors, "prior", f"prior '{description['prior']}'", location.folder)
    return prior


def read_flow(folder: FilePath) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(description, tensors) of a folder that :func:`write_flow` wrote.

    Raises:
        CheckpointError: a file is missing, damaged, or belongs to another flow.
    """
    description = read_description(folder)
    weights = bindings_of(description)["weights"]
    return description, parse_tensors(weights.read(folder / DESCRIPTION), folder / weights.name)[0]


def _read_settled(path: FilePath) -> tuple[Location, dict[str, Any], dict[str, Tensor]]:
    """Read the flow in ``path``, again where it cannot be: another process may have replaced it meanwhile."""
    for _ in range(TRIES - 1):
        with suppress(CheckpointError):
            location = find_flow(path)
            return location, *read_flow(location.folder)
    location = find_flow(path)
    return location, *read_flow(location.folder)


def _rebuild(
    cls: type[F], description: dict[str, Any], model: nn.Module | None, tensors: Mapping[str, Tensor]
) -> F:
    condition = Condition.from_dict(description["condition"])
    refuse_shifted(description["prior"])
    prior = Prior.registry.resolve(description["prior"])
    coupling = Coupling.registry.resolve(description["coupling"])
    path = Path.registry.resolve(description["path"])
    if model is None:
        predicted = make_prediction(description["prediction"], prior, coupling, path)
        with SizedBy(sizes_of(part_of(tensors, "model")), f"model '{description['model']}'"):
            model = _build_model(description, condition, predicted)
    return cls(
        model,
        prior,
        coupling,
        path,
        condition,
        prediction=description["prediction"],
        **{f"{part}_spec": description[part] for part in ("model", "prior", "coupling", "path")},
        metadata=description["metadata"],
        **rebuild_encoder(description, tensors),
    )


def _build_model(description: dict[str, Any], condition: Condition, predicted: Prediction) -> nn.Module:
    if not description["model"]:
        raise CheckpointError("its model is not one of flowprior's; pass it as Flow.load(…, model=network)")
    shape = torch.Size(description["event_shape"])
    model = predicted.network(description["model"], shape, condition)
    dtype = dtype_of(description)
    return model.to(dtype) if dtype else model
