"""Make every run of a grid that has no result yet: train, evaluate, and leave one JSON file a run.

Several processes may share a folder: each makes the runs that no other one is making. A preview reports what
would be made, and writes nothing.
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
from flowprior.priors import Prior
from flowprior.progress.stages import showing
from flowprior.registry.registry import spec_of
from flowprior.storage.lock import FolderBusy
from flowprior.storage.writing import write_text
from flowprior.study.folder import RunFolder, RunResult, StudyFolder, write_object
from flowprior.study.grid import Grid, dump_grid
from flowprior.study.hooks import load_hook, load_hooks
from flowprior.study.measuring import check_evaluation, evaluate_run
from flowprior.study.runs import Plan, StudyRun, plan_grid
from flowprior.study.splits import Splits
from flowprior.study.table import facts_of
from flowprior.training import RunDirectory, read_metrics, train
from flowprior.training.components import resolve_device
from flowprior.training.config import NO_LATENT
from flowprior.training.run import RunInfo, save_run_flow

Notify = Callable[[str], None]
FINISHED, BEGUN, FAILED, WAITING = STATES = ("finished", "begun", "failed", "waiting")
"""The states of a run: it has a result; it goes on where it stopped; it is tried again; all is to do."""
SETTINGS = ("reference", "classifier", "features", "classifier_accuracy", "flowprior", "torch", "device")
"""The settings of an evaluation that a result keeps."""


@dataclass
class Outcome:
    """The end of a run of a study; :func:`flowprior.study.table.read_table` reads its values.

    Attributes:
        finished: runs that have a result, whenever they were run.
        failed: title of each run that failed, and why.
        busy: titles of the runs that other processes were making.
        interrupted: Ctrl-C or SIGTERM stopped it.
    """

    finished: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)
    interrupted: bool = False


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
    folder, outcome = StudyFolder(out), Outcome()
    with showing(progress):
        load_hooks(grid.hooks)
        splits, plan = checked_plan(grid)
        with folder.lock():
            write_object(folder.plan, plan.as_dict())
            write_text(folder.grid, dump_grid(grid))
        for row in plan.refused:
            notify(f"skipped {name_of_refused(row)}: {row['reason']}")
        runs = plan.runs()
        for number, run in enumerate(runs, 1):
            if state_of(folder, run, notify) == FINISHED:
                outcome.finished += 1
                continue
            notify(f"run {number} of {len(runs)}: {run.title}")
            try:
                complete_run(folder, run, splits)
            except (KeyboardInterrupt, TrainingInterrupted):
                outcome.interrupted = True
                break
            except FolderBusy:
                outcome.busy.append(run.title)
                notify(f"another process makes {run.title}")
            except Exception as error:
                outcome.failed[run.title] = line = _note_failure(folder.run(*run.place), error)
                notify(f"failed {run.title}: {line}")
            else:
                outcome.finished += 1
    return outcome


def preview_grid(grid: Grid, out: str | Path) -> dict[str, Any]:
    """Return what :func:`run_grid` would do with the same arguments, as plain values.

    Args:
        grid: what to compare.
        out: directory for the runs and the report; absent, or of an earlier run.

    Returns:
        ``runs``: variant, seed and state of each, in their order. ``skipped``: what the library refuses.
        ``grid``: all of its keys.

    Raises:
        FlowpriorError: a grid that cannot be run at all.
    """
    folder, (_, plan) = StudyFolder(out), checked_plan(grid)
    runs = [
        {"variant": run.variant.label, "seed": run.seed, "state": state_of(folder, run)}
        for run in plan.runs()
    ]
    return {"runs": runs, "skipped": plan.refused, "grid": grid.as_dict()}


def name_of_refused(row: dict[str, Any]) -> str:
    """Return the name in messages of one of :attr:`Plan.refused`."""
    return f"{row['variant']} by {row['sampler']}" if row["sampler"] else row["variant"]


def state_of(folder: StudyFolder, run: StudyRun, notify: Notify = lambda line: None) -> str:
    """Return the state of a run; a damaged result is reported, and the run is measured again."""
    place = folder.run(*run.place)
    try:
        if folder.read_result(place) is not None:
            return FINISHED
    except CheckpointError as error:
        notify(f"measured again: {run.title}: {error}")
        return BEGUN
    if place.failure.is_file():
        return FAILED
    return BEGUN if place.path.is_dir() else WAITING


def checked_plan(grid: Grid) -> tuple[Splits, Plan]:
    """Return the data and the plan, after all checks that need no run; no function of the grid is imported.

    Raises:
        FlowpriorError: a grid that cannot be run at all.
    """
    resolve_device(grid.training.device)
    check_evaluation(grid)
    splits = Splits.of(grid)
    return splits, plan_grid(grid, splits.identity())


def complete_run(folder: StudyFolder, run: StudyRun, splits: Splits) -> None:
    """Train and evaluate one run, and write its file; what was trained already is not trained again."""
    place = folder.run(*run.place)
    with place.lock():
        if state_of(folder, run) == FINISHED:
            return  # by another process, in the meantime
        train_run(run, place, splits)
        found = evaluate_run(run, place, splits)
        settings = {name: found.settings[name] for name in SETTINGS if name in found.settings}
        parts = (place.key, run.setting, measured_facts(place), settings)
        write_object(place.result, RunResult(*parts, found.metrics, found.rows, found.notes))
        place.failure.unlink(missing_ok=True)


def train_run(run: StudyRun, place: RunFolder, splits: Splits) -> None:
    """Train the flow of a run: a finished run is left as it is, an interrupted one resumed.

    The flows on the way are its checkpoints, so they stand on the schedule of the whole budget.
    """
    directory = RunDirectory(place.run)
    info, begun, used = RunInfo(directory.info), time.perf_counter(), time.process_time()
    done = (info.read().get("status"), info.read().get("step")) == ("finished", run.config.training.steps)
    if done and directory.flow.is_dir():
        return
    if run.variant.trainer:
        trainer = load_hook("trainer", run.variant.trainer)
        flow = trainer(run.config, splits.train, directory.path)
        if not directory.info.is_file():  # it keeps no run as flowprior.train does
            info.start(resolve_device(run.config.training.device), 0)
            info.end(run.config.training.steps, "finished")
        save_run_flow(flow, directory)
    else:
        part = None if splits.validation is None else splits.train  # None: what the configuration names
        cache = None if run.config.latent == NO_LATENT else place.latents
        train(part, config=run.config, out=directory.path, cache=cache, resume=True)
    spent = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - used}
    info.update(**_of_all_steps(spent, info.read(), run.config.training.steps))


def _of_all_steps(spent: dict[str, float], info: dict[str, Any], steps: int) -> dict[str, float]:
    """Return the seconds of a whole training, of which a process spent some since the last resumption.

    Each earlier step counts as much as one of these, and the fit of the prior as long as it took.
    """
    resumed = info.get("resumed") or []
    if not resumed:
        return spent
    share = max(steps - resumed[-1]["step"], 1) / steps
    fit = info.get("prior_fit_seconds") or 0.0
    return {name: seconds / share + fit for name, seconds in spent.items()}


def measured_facts(place: RunFolder) -> dict[str, Any]:
    """Return what is known of a run: commit, versions, machine, sizes and costs."""
    directory = RunDirectory(place.run)
    lines = read_metrics(directory.metrics) if directory.metrics.is_file() else []
    speeds = [line["steps_per_second"] for line in lines if line["kind"] == "train"]
    flow = Flow.load(place.run)
    priors = [spec_of(Prior.registry, part) for part in flow.prior.modules() if isinstance(part, Prior)]
    sizes = {
        "fitted_prior": " with ".join(priors),
        "parameters": sum(w.numel() for name, w in flow.named_parameters() if name.startswith("model.")),
        "prior_numbers": sum(tensor.numel() for tensor in flow.prior.state_dict().values()),
        "prior_bytes": sum(t.numel() * t.element_size() for t in flow.prior.state_dict().values()),
        "seconds_per_step": 1 / statistics.median(speeds) if speeds else None,
    }
    return facts_of(RunInfo(directory.info).read() | sizes)


def _note_failure(place: RunFolder, error: Exception) -> str:
    """Write why a run failed beside its files, one line above the stack trace, and return the line."""
    line = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, FlowpriorError):
        line = f"{type(error).__name__}: {line}; the stack trace is in {place.failure}"
    write_text(place.failure, "\n".join([line, *traceback.format_exception(error)]))
    return line
