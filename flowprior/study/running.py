"""Make every run of a grid that has no result yet: train, evaluate, and leave one JSON file a run.

A preview says what such a run would do, and writes nothing.
"""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError, FlowpriorError, TrainingInterrupted
from flowprior.flow import Flow
from flowprior.flow.description import DESCRIPTION
from flowprior.flow.files import copy_flow
from flowprior.progress.stages import showing
from flowprior.storage.reading import read_json
from flowprior.storage.writing import write_text
from flowprior.study.evaluating import check_evaluation_parts, check_metric, evaluate_run
from flowprior.study.folders import MACHINE, RunFolder, StudyFolder, write_object
from flowprior.study.grid import Grid, dump_grid
from flowprior.study.records import FORMAT
from flowprior.study.runs import StudyRun, find_baseline, name_of_skipped, plan_grid, skipped_of
from flowprior.study.splits import Splits
from flowprior.study.variants import load_hook, load_hooks
from flowprior.training import RunDirectory, read_metrics, train
from flowprior.training.checkpoints import list_checkpoints, remove_checkpoint
from flowprior.training.components import resolve_device
from flowprior.training.config import NO_LATENT
from flowprior.training.run import RunInfo, describe_machine, save_run_flow

Notify = Callable[[str], None]
FINISHED, BEGUN, FAILED, WAITING = STATES = ("finished", "begun", "failed", "waiting")
"""The states of a run: it has a result; it goes on where it stopped; it is tried again; all is to do."""
COSTS = ("prior_fit_seconds", "transport_cost", "transport_cost_unpaired", "starts_gap")


@dataclass
class Outcome:
    """The end of a run of a study; :func:`flowprior.study.table.read_table` reads its values.

    Attributes:
        finished: runs that have a result, whenever they were run.
        failed: title of each run that failed, and why.
        skipped: what the library refuses of the grid, and why.
        interrupted: Ctrl-C or SIGTERM stopped it.
    """

    finished: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


@dataclass(frozen=True)
class RunState:
    """The state of one run.

    Attributes:
        variant: its label.
        seed: of training and evaluation.
        state: one of :data:`STATES`.
    """

    variant: str
    seed: int
    state: str


@dataclass(frozen=True)
class Preview:
    """The runs that a grid would make.

    Attributes:
        runs: in their order.
        skipped: what the library refuses of the grid: variant, sampler (None for all of them), reason.
        grid: all of its keys.
    """

    runs: list[RunState]
    skipped: list[dict[str, Any]]
    grid: dict[str, Any]

    @property
    def to_run(self) -> list[RunState]:
        """The runs that have no result yet."""
        return [run for run in self.runs if run.state != FINISHED]


def run_grid(
    grid: Grid,
    out: str | Path,
    *,
    progress: bool | None = None,
    notify: Notify = lambda line: None,
) -> Outcome:
    """Make every run that has no result yet; what is finished is not made again.

    A run that fails is noted, and the rest goes on. Ctrl-C and SIGTERM end this call; the next one goes on
    from there.

    Args:
        grid: what to compare.
        out: directory for the runs and the report.
        progress: show how far it has come, in a terminal, a notebook or a log; None does, unless
            ``FLOWPRIOR_PROGRESS`` is 0 or work around this hides it.
        notify: called with one line for each event.

    Raises:
        FlowpriorError: a grid that cannot be run at all, or a directory that cannot be written.
    """
    folder = StudyFolder(out)
    with showing(progress):
        load_hooks(grid.as_dict())
        splits, plan, runs = checked_plan(grid)
        with folder.lock():
            write_object(folder.plan, plan)
            write_text(folder.grid, dump_grid(grid))
        outcome = Outcome()
        for row in skipped_of(plan["variants"]):
            name = name_of_skipped(row)
            outcome.skipped[name] = row["reason"]
            notify(f"skipped {name}: {row['reason']}")
        places = {number: folder.run(run.name, run.key) for number, run in enumerate(runs, 1)}
        states = {number: state_of(folder, run, places[number], notify) for number, run in enumerate(runs, 1)}
        left = [(number, run) for number, run in enumerate(runs, 1) if states[number] != FINISHED]
        outcome.finished = len(runs) - len(left)
        for number, run in left:
            notify(f"run {number} of {len(runs)}: {run.title}")
            try:
                complete_run(run, places[number], grid, splits)
            except (KeyboardInterrupt, TrainingInterrupted):
                outcome.interrupted = True
                break
            except Exception as error:
                outcome.failed[run.title] = line = _note_failure(run, places[number], error)
                notify(f"failed {run.title}: {line}")
            else:
                outcome.finished += 1
    return outcome


def preview_grid(grid: Grid, out: str | Path) -> Preview:
    """Return what :func:`run_grid` would do with the same arguments.

    Args:
        grid: what to compare.
        out: directory for the runs and the report; absent, or of an earlier run.

    Raises:
        FlowpriorError: a grid that cannot be run at all.
    """
    folder = StudyFolder(out)
    _, plan, runs = checked_plan(grid)
    planned = [
        RunState(run.variant.label, run.seed, state_of(folder, run, folder.run(run.name, run.key)))
        for run in runs
    ]
    return Preview(planned, skipped_of(plan["variants"]), plan["grid"])


def state_of(folder: StudyFolder, run: StudyRun, place: RunFolder, notify: Notify = lambda line: None) -> str:
    """Return the state of a run; a damaged result is reported, and the run is measured again."""
    try:
        if folder.read_result(place) is not None:
            return FINISHED
    except CheckpointError as error:
        notify(f"measured again: {run.title}: {error}")
    if place.failure.is_file():
        return FAILED
    return BEGUN if place.path.is_dir() else WAITING


def checked_plan(grid: Grid) -> tuple[Splits, dict[str, Any], list[StudyRun]]:
    """Return the data, what plan.json holds, and the runs, after all checks that need no run.

    Functions of the grid are not imported.

    Args:
        grid: what to compare.

    Raises:
        FlowpriorError: a grid that cannot be run at all.
    """
    resolve_device(grid.training.device)
    check_evaluation_parts(grid.evaluation)
    check_metric(grid)
    splits = Splits.of(grid.as_dict())
    plan, runs = plan_grid(grid, splits)
    find_baseline(plan["variants"], grid.baseline)
    return splits, plan, runs


def complete_run(run: StudyRun, place: RunFolder, grid: Grid, splits: Splits) -> None:
    """Train and evaluate one run, and write its file; what was trained already is not trained again."""
    with place.lock():
        train_run(run, place, splits)
        found = evaluate_run(run, place, grid, splits)
        facts = _describe_run(place) | {"evaluations": found.pop("evaluations")}
        header = {"format": FORMAT, "key": run.key, "setting": run.setting, "run": facts}
        write_object(place.result, header | found)
        place.failure.unlink(missing_ok=True)


def train_run(run: StudyRun, place: RunFolder, splits: Splits) -> None:
    """Train the flow of a run: a finished run is left as it is, an interrupted one resumed.

    The flows on the way are the run's own checkpoints, so they stand on the schedule of the whole budget.
    """
    if place.facts.is_file() and place.flow.is_dir():
        return  # a trainer has left it here
    directory, begun = RunDirectory(place.run), time.perf_counter()
    info = RunInfo(directory.info).read()
    finished = (info.get("status"), info.get("step")) == ("finished", run.config.training.steps)
    if run.variant.trainer:
        trainer = load_hook("trainer", run.variant.trainer)
        flow = trainer(run.config, splits.train, place.training)
        seconds = time.perf_counter() - begun
        save_run_flow(flow, directory)
        machine = describe_machine(resolve_device(run.config.training.device))
        write_object(place.facts, machine | {"seconds": seconds})
        directory = RunDirectory(place.training)  # where it keeps its run as flowprior.train does
    elif not (finished and directory.flow.is_dir()):
        part = None if splits.validation is None else splits.train  # None: what the configuration names
        cache = None if run.config.latent == NO_LATENT else place.latents
        train(part, config=run.config, out=directory.path, cache=cache, resume=True)
    _keep_flows(directory, place, run)


def _keep_flows(directory: RunDirectory, place: RunFolder, run: StudyRun) -> None:
    """Keep the averaged weights of the curve's steps, and of the checkpoints only the newest."""
    checkpoints = list_checkpoints(directory.checkpoints)
    for step, checkpoint in checkpoints:
        kept = place.flow_at(step)
        if step in run.curve[:-1] and not (kept / DESCRIPTION).is_file():
            copy_flow(checkpoint, kept)
    for _, checkpoint in checkpoints[:-1]:
        remove_checkpoint(checkpoint)


def _describe_run(place: RunFolder) -> dict[str, Any]:
    """Return what is known of a run: the machine, sizes, and costs; of a hook's training what is known."""
    directory = RunDirectory(place.training if place.training.is_dir() else place.run)
    info = RunInfo(directory.info).read() if directory.info.is_file() else {}
    info |= read_json(place.facts) if place.facts.is_file() else {}
    lines = read_metrics(directory.metrics) if directory.metrics.is_file() else []
    speeds = [line["steps_per_second"] for line in lines if line["kind"] == "train"]
    flow = Flow.load(place.run)
    return {
        **{name: info.get(name) for name in (*MACHINE, "started", "ended", *COSTS, "seconds")},
        "parameters": sum(w.numel() for name, w in flow.named_parameters() if name.startswith("model.")),
        "prior_bytes": sum(t.numel() * t.element_size() for t in flow.prior.state_dict().values()),
        "seconds_per_step": 1 / statistics.median(speeds) if speeds else None,
    }


def _note_failure(run: StudyRun, place: RunFolder, error: Exception) -> str:
    """Write one line beside the run's files and return it; for a bug write the stack trace, too."""
    line = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, FlowpriorError):
        line = f"{type(error).__name__}: {line}; the stack trace is in {place.failure}"
    trace = "".join(traceback.format_exception(error))
    write_object(place.failure, {"seed": run.seed, "error": line, "trace": trace})
    return line
