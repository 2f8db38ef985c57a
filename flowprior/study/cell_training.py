"""Train a cell, or go on training it; keep the flows on the way; say what the training took."""

from __future__ import annotations

import statistics
import time
from typing import Any

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
from flowprior.training.run_info import RunInfo, describe_machine

MACHINE = ("version", "commit", "python", "torch", "device", "device_name", "threads")
COSTS = ("prior_fit_seconds", "transport_cost", "transport_cost_unpaired", "starts_gap")


def train_cell(cell: Cell, place: CellFolder, splits: Splits, progress: bool = False) -> None:
    """Train the flow of a cell: a finished run is left as it is, an interrupted one resumed.

    The flows on the way are the run's own checkpoints, so they stand on the schedule of the whole budget.

    Raises:
        FlowpriorError: the cell cannot be trained.
        TrainingInterrupted: Ctrl-C or SIGTERM; the run goes on from there next time.
    """
    if has_own_flow(place):
        return
    run, begun = RunDirectory(place.run), time.perf_counter()
    info = RunInfo(run.info).read()
    finished = (info.get("status"), info.get("step")) == ("finished", cell.config.training.steps)
    if cell.variant.trainer:
        trainer = load_hook("trainer", cell.variant.trainer)
        save_own_flow(cell, place, trainer(cell.config, splits.train, place.path / "training"), begun)
    elif not (finished and run.flow.is_dir()):
        part = None if splits.validation is None else splits.train  # None: what the configuration names
        train(part, config=cell.config, out=run.path, resume=True, progress=progress)
    _keep_flows(run, place, cell)


def has_own_flow(place: CellFolder) -> bool:
    """Whether a trainer or runner left a flow here."""
    return place.facts.is_file() and place.flow.is_dir()


def save_own_flow(cell: Cell, place: CellFolder, flow: Flow, begun: float) -> None:
    """Keep a flow that a trainer or runner has trained, with the seconds since ``begun``."""
    seconds = time.perf_counter() - begun
    place.run.mkdir(parents=True, exist_ok=True)
    flow.save(place.flow)
    machine = describe_machine(resolve_device(cell.config.training.device))
    write_object(place.facts, machine | {"seconds": seconds})


def _keep_flows(run: RunDirectory, place: CellFolder, cell: Cell) -> None:
    """Keep the averaged weights of the curve's steps, and of the checkpoints only the newest."""
    checkpoints = list_checkpoints(run.checkpoints)
    for step, checkpoint in checkpoints:
        kept = place.flow_at(step)
        if step in cell.curve[:-1] and not (kept / DESCRIPTION).is_file():
            copy_flow(checkpoint, kept)
    for _, checkpoint in checkpoints[:-1]:
        remove_checkpoint(checkpoint)


def describe_run(place: CellFolder) -> dict[str, Any]:
    """What the run says of itself: the machine, sizes, and costs; of a hook's training what is known."""
    run = RunDirectory(place.run)
    info = read_json(place.facts) if place.facts.is_file() else RunInfo(run.info).read()
    lines = read_metrics(run.metrics) if run.metrics.is_file() else []
    speeds = [line["steps_per_second"] for line in lines if line["kind"] == "train"]
    flow = Flow.load(place.flow)
    return {
        **{name: info.get(name) for name in (*MACHINE, "started", "ended", *COSTS, "seconds")},
        "parameters": sum(w.numel() for name, w in flow.named_parameters() if name.startswith("model.")),
        "prior_bytes": sum(t.numel() * t.element_size() for t in flow.prior.state_dict().values()),
        "seconds_per_step": 1 / statistics.median(speeds) if speeds else None,
    }
