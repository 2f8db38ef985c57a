"""One cell: train, or go on training; judge the flow, and those on the way to it; leave one JSON file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.flow.description import DESCRIPTION
from flowprior.flow.files import copy_flow
from flowprior.study.cells import Cell
from flowprior.study.folder import FORMAT, CellFolder, write_json
from flowprior.study.grid import Grid
from flowprior.study.judging import Splits, curve_request, judge, sampler_request
from flowprior.training import RunDirectory, list_checkpoints, read_metrics, train
from flowprior.training.checkpoints import remove_checkpoint
from flowprior.training.components import resolve_device
from flowprior.training.run_info import now

MACHINE = ("version", "commit", "python", "torch", "device", "device_name", "threads")
START = ("prior_fit_seconds", "transport_cost", "transport_cost_unpaired", "starts_gap")


def run_cell(
    cell: Cell, folder: CellFolder, grid: Grid, splits: Splits, progress: bool = False
) -> dict[str, Any]:
    """Train and judge one cell, and write its result.

    What was trained already is not trained again: a finished run is loaded, an interrupted one resumed.
    The flows on the way are the run's own checkpoints, so they stand on the schedule of the whole budget.

    Args:
        cell: what to train.
        folder: where everything goes.
        grid: how to judge.
        splits: of the data.
        progress: show a progress bar on stderr.

    Returns:
        What the result file holds.

    Raises:
        FlowpriorError: the cell cannot be trained or judged.
        TrainingInterrupted: Ctrl-C or SIGTERM; the run goes on from there next time.
    """
    run = RunDirectory(folder.run)
    if not is_finished(run, cell.config.training.steps):
        train(config=cell.config, out=run.path, resume=True, progress=progress)
    keep_flows(run, folder, cell.curve)
    device = cell.config.training.device
    flow = load_flow(run.flow, device)
    evaluations = [
        judge(flow, sampler_request(grid, spec, cell.seed), splits, folder.samples(f"sampler{number}"))
        for number, spec in enumerate(cell.samplers)
    ]
    curve = []
    for step in cell.curve:
        reached = flow if step == cell.curve[-1] else load_flow(folder.flow(step), device)
        path = folder.samples(f"step-{step:06d}")
        curve.append({"step": step, **judge(reached, curve_request(grid, cell.seed), splits, path)})
    result = {
        "format": FORMAT,
        "key": cell.key,
        "ended": now(),
        "seed": cell.seed,
        "prediction": flow.prediction,
        "config": cell.config.as_dict(),
        **describe_run(run, flow),
        "evaluations": evaluations,
        "curve": curve,
    }
    write_json(folder.result, result)
    folder.failure.unlink(missing_ok=True)
    return result


def is_finished(run: RunDirectory, steps: int) -> bool:
    """Whether the run was trained to its last step, and its flow is there."""
    info = read_info(run)
    return info.get("status") == "finished" and info.get("step") == steps and run.flow.is_dir()


def read_info(run: RunDirectory) -> dict[str, Any]:
    """info.json of a run; empty where it is missing or torn."""
    try:
        return json.loads(run.info.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def keep_flows(run: RunDirectory, folder: CellFolder, steps: Sequence[int]) -> None:
    """Keep the averaged weights of the curve's steps, and of the checkpoints only the newest.

    Raises:
        CheckpointError: one of them cannot be written.
    """
    checkpoints = list_checkpoints(run.checkpoints)
    for step, checkpoint in checkpoints:
        kept = folder.flow(step)
        if step in steps[:-1] and not (kept / DESCRIPTION).is_file():
            copy_flow(checkpoint, kept)
    for _, checkpoint in checkpoints[:-1]:
        remove_checkpoint(checkpoint)


def load_flow(path: Path, device: str) -> Flow:
    """A saved flow of a cell, on ``device``.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path} is missing; remove {path.parents[1]} and run the comparison again")
    return Flow.load(path, device=resolve_device(device))


def describe_run(run: RunDirectory, flow: Flow) -> dict[str, Any]:
    """What the run says of itself: sizes, costs, and the machine."""
    info = read_info(run)
    speeds = [line["steps_per_second"] for line in read_metrics(run.metrics) if line["kind"] == "train"]
    return {
        "machine": {name: info.get(name) for name in MACHINE},
        "parameters": sum(w.numel() for name, w in flow.named_parameters() if name.startswith("model.")),
        "prior_bytes": sum(t.numel() * t.element_size() for t in flow.prior.state_dict().values()),
        "seconds_per_step": 1 / statistics.median(speeds) if speeds else None,
        **{name: info.get(name) for name in START},
    }
