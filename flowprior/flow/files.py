"""A flow on disk: how it is written and read, and where it lies, in a folder of its own or in a run's.

``flow.json`` says how to rebuild its parts and binds the file with their tensors, which lie in
``weights-DIGEST.safetensors``. It is renamed into place last: until then the folder holds the flow that it
held before, from then on the new one. What is superseded is removed afterwards, and nothing else ever is. The
cards that extensions keep beside them follow last.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.flow.description import (
    DESCRIPTION,
    assign_tensors,
    bindings_of,
    check_prior,
    describe,
    dtype_of,
    read_description,
    refuse_non_finite,
    tensors_of,
)
from flowprior.flow.latents import rebuild_encoder
from flowprior.flow.parts import FlowParts
from flowprior.flow.predictions import Prediction
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.priors.old_formats import current_spec
from flowprior.priors.saved import kinds_of, unfitted
from flowprior.registry.plugins import points_of
from flowprior.storage.digests import DIGEST, FILES, bind, save_bound, save_by_digest, signed
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.reading import read_json, unreadable
from flowprior.storage.tensor_files import SizedBy, parse_tensors, part_of, sizes_of
from flowprior.storage.writing import is_leftover, sync, write_json, writing

_BOUND = re.compile(r"weights-[0-9a-f]{16}\.safetensors")
F = TypeVar("F", bound=FlowParts)

TRIES = 3
FLOW, CHECKPOINTS, INFO = "flow", "checkpoints", "info.json"
FLOW_DIGEST = "flow_digest"
"""Key of info.json: the digest of the flow that the run has saved."""
STATUSES = ("running", "finished", "interrupted", "diverged", "failed")
_STEP = re.compile(r"step-(\d{1,18})")


class Card(Protocol):
    """A card of an extension beside saved flows: a module or an object of the group ``flowprior.cards``."""

    def write_card(self, folder: FilePath, description: Mapping[str, Any]) -> None:
        """Write it beside a flow that was saved; where it cannot be written, warn."""

    def add_evaluation(self, folder: FilePath, evaluation: Any, digest: str | None) -> None:
        """Add a :class:`flowprior.evaluation.Result` of the flow whose weights have this sha256."""

    def remove_card(self, folder: FilePath) -> None:
        """Remove it, for the flow is to be removed, too."""


def tell_cards(method: str, *told: Any) -> None:
    """Call a method of each :class:`Card` of the installed packages; one that fails warns and is skipped."""
    for point in points_of("flowprior.cards"):
        try:
            getattr(point.load(), method)(*told)
        except Exception as error:
            message = f"card '{point.name}' ({point.value}) is skipped: {type(error).__name__}: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=3)


def save_flow(flow: FlowParts, directory: FilePath) -> None:
    """Write ``flow`` to ``directory``; a flow already there is replaced at once and survives a failure.

    Raises:
        CheckpointError: the directory holds something else, it cannot be written, a part is not registered,
            or a tensor is not finite.
        OptionError: another process is saving there.

    Warns:
        RuntimeWarning: the network is a function, which has no weights of its own to save.
    """
    check_target(directory)
    if not isinstance(flow.model, nn.Module):
        warnings.warn(
            "flow.save: the network is a function, and whatever weights it calls are not saved; give Flow a "
            "torch.nn.Module, one that calls yours where the arguments differ",
            RuntimeWarning,
            stacklevel=3,
        )
    description, tensors = describe(flow), tensors_of(flow)
    refuse_non_finite(tensors, "flow.save")
    save_bound(
        directory,
        DESCRIPTION,
        "weights",
        description,
        tensors,
        role="weights",
        metadata={"flowprior": description["flowprior"]},
        then=lambda: tell_cards("write_card", directory, read_description(directory)),
    )


def write_flow(
    folder: FilePath,
    description: Mapping[str, Any],
    tensors: dict[str, Tensor],
    extra: Mapping[str, tuple[str, Callable[[FilePath], None]]] | None = None,
) -> None:
    """Write a flow's files into ``folder``, and ``flow.json`` last.

    Args:
        folder: exists.
        description: of :func:`flowprior.flow.description.describe`.
        tensors: of :func:`flowprior.flow.description.tensors_of`.
        extra: role -> (file name, its writer), for what else belongs to it.

    Raises:
        CheckpointError: a file cannot be written.
    """
    bound = {"weights": save_by_digest(folder, "weights", tensors, {"flowprior": description["flowprior"]})}
    for role, (name, write) in (extra or {}).items():
        write(folder / name)
        bound[role] = bind(folder / name)
    with writing(folder):
        sync(folder)
    files = {role: binding.as_dict() for role, binding in bound.items()}
    write_json(folder / DESCRIPTION, signed({**description, FILES: files}))


def check_target(directory: FilePath) -> None:
    """Refuse to save into what is neither absent, empty nor a saved flow.

    Raises:
        CheckpointError: what it is, and what to do.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise CheckpointError(f"cannot save a flow to {directory}, which is a file; choose a directory")
    # The description is looked for last, for another save may write it meanwhile.
    others = sorted(path.name for path in directory.iterdir() if not is_flow_file(path))
    if others and not (directory / DESCRIPTION).is_file():
        raise CheckpointError(
            f"cannot save a flow to {directory}, which holds {others[0]!r} and is no saved flow; choose a "
            f"new or empty directory, such as {directory / 'flow'}"
        )


def is_flow_file(path: FilePath) -> bool:
    """Return whether only a save of a flow gives such a name; of a file that it has renamed since, too."""
    is_bound = _BOUND.fullmatch(path.name) is not None
    return not path.is_dir() and (is_bound or is_leftover(path) or path.name == LOCK)


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
    """Return the note about a run that is not finished; None if it is, or if its state is unknown."""
    status = None
    with suppress(CheckpointError):
        status = read_json(run / INFO).get("status")
    if status not in STATUSES or status == "finished":
        return None
    said = "still training, or was killed" if status == "running" else f"unfinished ({status})"
    return f"the run {run} is {said}: {used} is used"


def load_flow(cls: type[F], path: FilePath, model: nn.Module | None, own_prior: Prior | None = None) -> F:
    """Rebuild the flow, a ``cls``, in ``path``, a saved flow or a run, on the CPU.

    Raises:
        CheckpointError: missing, truncated, corrupted, of a newer version, or tensors that do not fit.
    """
    location, description, tensors = _read_settled(path)
    if location.note:
        warnings.warn(location.note, RuntimeWarning, stacklevel=3)
    refuse_non_finite(tensors, str(location.folder))
    try:
        flow = _rebuild(cls, description, model, own_prior, tensors)
    except (FlowpriorError, ImportError) as error:
        raise CheckpointError(f"{location.folder}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise unreadable(location.folder / DESCRIPTION, error) from error
    kinds = kinds_of(flow.prior)
    if isinstance(flow.model, nn.Module):
        assign_tensors(flow.model, tensors, "model", f"model '{flow.specs['model']}'", location.folder)
    assign_tensors(flow.prior, tensors, "prior", f"prior '{flow.specs['prior']}'", location.folder)
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
        prior = Prior.registry.resolve(current_spec(description["prior"]))
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
    cls: type[F],
    description: dict[str, Any],
    model: nn.Module | None,
    own_prior: Prior | None,
    tensors: Mapping[str, Tensor],
) -> F:
    condition = Condition.from_dict(description["condition"])
    prior = unfitted(Prior.registry, own_prior, current_spec(description["prior"]))
    coupling = Coupling.registry.resolve(description["coupling"])
    path = Path.registry.resolve(description["path"])
    if model is None:
        if not description["model"]:
            raise CheckpointError(
                "its model is not one of flowprior's; pass it as Flow.load(…, model=network)"
            )
        predicted: Prediction = Prediction.create(
            description["prediction"], prior=prior, coupling=coupling, path=path
        )
        spec, shape = description["model"], torch.Size(description["event_shape"])
        with SizedBy(sizes_of(part_of(tensors, "model")), f"model '{spec}'"):
            network: nn.Module = predicted.network(spec, shape, condition)
            model = network.to(dtype_of(description))
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
