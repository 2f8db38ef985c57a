"""Train a cell, or go on training it; keep the flows on the way; say what the training took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.flow.description import DESCRIPTION
from flowprior.flow.files import copy_flow
from flowprior.storage import read_json
from flowprior.study.cell_file import CellFolder, write_object
from flowprior.study.cells import Cell
from flowprior.study.hooks import load_hook
from flowprior.study.splits import Splits
from flowprior.training import RunDirectory, list_checkpoints, read_metrics, train
from flowprior.training.checkpoints import remove_checkpoint
from flowprior.training.components import resolve_device
from flowprior.training.run_info import describe_machine

MACHINE = ("version", "commit", "python", "torch", "device", "device_name", "threads")
COSTS = ("prior_fit_seconds", "transport_cost", "transport_cost_unpaired", "starts_gap")


def train_cell(cell: Cell, place: CellFolder, splits: Splits, progress: bool = False) -> None:
    """Train the flow of a cell: a finished run is left as it is, an interrupted one resumed.

    The flows on the way are the run's own checkpoints, so they stand on the schedule of the whole budget.

    Raises:
        FlowpriorError: the cell cannot be trained.
        TrainingInterrupted: Ctrl-C or SIGTERM; the run goes on from there next time.
    """
    if _is_trained(place):
        return
    run = RunDirectory(place.run)
    if cell.variant.trainer:
        begun = time.perf_counter()
        trainer = load_hook("trainer", cell.variant.trainer)
        _save(cell, place, trainer(cell.config, splits.train, place.path / "training"), begun)
    elif not is_finished(run, cell.config.training.steps):
        part = None if splits.validation is None else splits.train  # None: what the configuration names
        train(part, config=cell.config, out=run.path, resume=True, progress=progress)
    keep_flows(run, place, cell.curve)


def train_together(
    runner: str, cells: Sequence[Cell], places: Mapping[str, CellFolder], splits: Splits
) -> Iterator[Cell]:
    """Train the cells that have no flow yet by the function ``runner``; every cell once it is trained."""
    waiting = [cell for cell in cells if not _is_trained(places[cell.title])]
    yield from [cell for cell in cells if cell not in waiting]
    begun = time.perf_counter()
    for cell, flow in load_hook("runner", runner)(waiting, splits.train) if waiting else ():
        _save(cell, places[cell.title], flow, begun)
        yield cell
        begun = time.perf_counter()


def _is_trained(place: CellFolder) -> bool:
    """Whether a trainer or runner left a flow here."""
    return place.facts.is_file() and place.flow.is_dir()


def is_finished(run: RunDirectory, steps: int) -> bool:
    """Whether the run was trained to its last step, and its flow is there."""
    info = read_info(run)
    return info.get("status") == "finished" and info.get("step") == steps and run.flow.is_dir()


def read_info(run: RunDirectory) -> dict[str, Any]:
    """info.json of a run; empty where it is missing or torn."""
    try:
        return read_json(run.info)
    except CheckpointError:
        return {}


def keep_flows(run: RunDirectory, place: CellFolder, steps: Sequence[int]) -> None:
    """Keep the averaged weights of the curve's steps, and of the checkpoints only the newest.

    Raises:
        CheckpointError: one of them cannot be written.
    """
    checkpoints = list_checkpoints(run.checkpoints)
    for step, checkpoint in checkpoints:
        kept = place.flow_at(step)
        if step in steps[:-1] and not (kept / DESCRIPTION).is_file():
            copy_flow(checkpoint, kept)
    for _, checkpoint in checkpoints[:-1]:
        remove_checkpoint(checkpoint)


def describe_run(place: CellFolder) -> dict[str, Any]:
    """What the run says of itself: the machine, sizes, and costs; of a hook's training what is known."""
    run = RunDirectory(place.run)
    info = read_json(place.facts) if place.facts.is_file() else read_info(run)
    lines = read_metrics(run.metrics) if run.metrics.is_file() else []
    speeds = [line["steps_per_second"] for line in lines if line["kind"] == "train"]
    flow = Flow.load(place.flow)
    return {
        **{name: info.get(name) for name in (*MACHINE, "started", "ended", *COSTS, "seconds")},
        "parameters": sum(w.numel() for name, w in flow.named_parameters() if name.startswith("model.")),
        "prior_bytes": sum(t.numel() * t.element_size() for t in flow.prior.state_dict().values()),
        "seconds_per_step": 1 / statistics.median(speeds) if speeds else None,
    }


def _save(cell: Cell, place: CellFolder, flow: Flow, begun: float) -> None:
    """Keep a flow that a hook has trained, with the seconds since ``begun``."""
    seconds = time.perf_counter() - begun
    place.run.mkdir(parents=True, exist_ok=True)
    flow.save(place.flow)
    machine = describe_machine(resolve_device(cell.config.training.device))
    write_object(place.facts, machine | {"seconds": seconds})
