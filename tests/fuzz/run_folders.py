"""Damage files of run folders and look at what comes of them: ``python -m tests.fuzz.run_folders``.

Every case is one damaged file in a copy of a tiny run, which is then loaded and sampled, evaluated and
resumed. A result is right only where it equals the unmutated run's, an error only where it is the package's
own, in one line. A summary goes to stdout as JSON, with every fault and the line that runs it again; the exit
code is 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.run_folders_cases import (
    REFUSED,
    SAME,
    Verdict,
    all_steps,
    canary_of,
    judge,
    prepare,
    run_case,
    steps_of,
    take_steps,
)
from tests.fuzz.run_folders_commands import command_of, is_choice, judge_process, run_process
from tests.fuzz.run_folders_making import FINISHED, INTERRUPTED, make_runs
from tests.fuzz.run_folders_plan import Case, Catalogue, make_catalogue, make_plan
from tests.fuzz.run_folders_roads import SECONDS, Outcome
from tests.fuzz.run_folders_worker import Here, Worker, WorkerDied

GRACE = 20.0
"""Seconds beyond the roads' own limit after which a worker that does not answer is killed."""
PATIENCE = 5.0
"""A process hangs that takes this many times longer than on the unmutated run, and a road's limit more."""


@dataclass(frozen=True)
class Judged:
    """A case, what was done to its file, and the verdicts over its roads."""

    case: Case
    done: str
    verdicts: list[Verdict]

    @property
    def kind(self) -> str:
        """``fault`` where there is one, else ``refused`` where any road refused, else ``same``."""
        if any(verdict.is_fault for verdict in self.verdicts):
            return "fault"
        return REFUSED if any(verdict.kind == REFUSED for verdict in self.verdicts) else SAME


class Fuzz:
    """The tiny runs, what they come to unmutated, and a worker to take damaged copies along the roads.

    Args:
        folder: an empty folder for the runs and their copies.
        worker: where the roads are taken.
        seconds: after which a road hangs.
    """

    def __init__(self, folder: Path, worker: Worker | Here, seconds: float = SECONDS) -> None:
        self.folder, self.worker, self.seconds = folder, worker, seconds
        self.runs = folder / "runs"
        worker.call(make_runs, self.runs)
        self.catalogue: Catalogue = worker.call(make_catalogue, self.runs)
        self.plain: dict[tuple[str, str, str], Outcome] = {}
        for run in (FINISHED, INTERRUPTED):
            self._take_plain(run)
        self._processes: dict[tuple[str, str], tuple[Outcome, float]] = {}

    def plan(self, seed: int, count: int) -> list[Case]:
        """The first ``count`` cases of ``seed``."""
        return make_plan(self.catalogue, seed, count)

    def judge(self, case: Case) -> Judged:
        """Take a case along its roads in the worker."""
        scratch = self._scratch()
        steps = steps_of(self.catalogue, case.file)
        try:
            done, outcomes = self.worker.call(
                run_case,
                self.runs,
                self.catalogue,
                case,
                scratch,
                self.seconds,
                seconds=len(steps) * self.seconds + GRACE,
            )
        except WorkerDied as died:
            done, outcomes = "", [Outcome("", "killed", str(died))] * len(steps)
        canary = canary_of(scratch).exists()
        shutil.rmtree(scratch)
        plain = [self.plain[case.file.run, *step] for step in steps]
        parts = zip(steps, outcomes, plain, strict=True)
        return Judged(case, done, [judge(*part, canary) for part in parts])

    def judge_process(self, case: Case) -> Judged:
        """Take a case through a command in a process of its own."""
        command = command_of(case.number)
        plain, patience = self._plain_process(case.file.run, command)
        scratch = self._scratch()
        folder = scratch / "run"
        done = self.worker.call(prepare, self.runs, self.catalogue, case, folder, scratch)
        chosen = is_choice(folder / case.file.name, self.runs / case.file.run / case.file.name)
        outcome = run_process(command, folder, scratch / "samples.npz", self.worker, patience)
        verdict = judge_process(outcome, plain, chosen and case.file.name.endswith(".toml"))
        if canary_of(scratch).exists():
            verdict = Verdict(verdict.road, "canary", "a pickle that the file held was run")
        shutil.rmtree(scratch)
        return Judged(case, done, [verdict])

    def _take_plain(self, run: str) -> None:
        """The outcomes of the unmutated run."""
        steps = all_steps(self.catalogue, run)
        scratch = self._scratch()
        copy = shutil.copytree(self.runs / run, scratch / "run")
        outcomes = self.worker.call(take_steps, Path(copy), steps)
        shutil.rmtree(scratch)
        for step, outcome in zip(steps, outcomes, strict=True):
            if outcome.state != "result":
                raise RuntimeError(f"the unmutated run {run} fails: {outcome}")
            self.plain[run, *step] = outcome

    def _plain_process(self, run: str, command: str) -> tuple[Outcome, float]:
        """What a command makes of the unmutated run, and the seconds after which a mutated one hangs."""
        if (run, command) not in self._processes:
            scratch = self._scratch()
            copy = Path(shutil.copytree(self.runs / run, scratch / "run"))
            start = time.monotonic()
            outcome = run_process(command, copy, scratch / "samples.npz", self.worker)
            patience = PATIENCE * (time.monotonic() - start) + self.seconds
            shutil.rmtree(scratch)
            if outcome.state != "result":
                raise RuntimeError(f"the unmutated run {run} fails as a process: {outcome}")
            self._processes[run, command] = outcome, patience
        return self._processes[run, command]

    def _scratch(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


def summarise(judged: Iterable[Judged], count: int, seed: int) -> dict[str, Any]:
    """Counts by class, mutator and kind of file, and every fault with how to run it again."""
    classes: Counter[str] = Counter()
    by_mutator: dict[str, Counter[str]] = {}
    by_kind: dict[str, Counter[str]] = {}
    roads: dict[str, Counter[str]] = {}
    causes: dict[str, list[int]] = {}
    refusals: Counter[str] = Counter()
    faults = []
    for one in judged:
        classes[one.kind] += 1
        by_mutator.setdefault(one.case.mutator, Counter())[one.kind] += 1
        by_kind.setdefault(one.case.file.kind, Counter())[one.kind] += 1
        for verdict in one.verdicts:
            roads.setdefault(verdict.name, Counter())[verdict.kind] += 1
            if verdict.kind == REFUSED:
                refusals[f"{verdict.name} {one.case.file.kind}"] += 1
            if verdict.is_fault:
                cause = verdict.where or one.case.file.kind
                causes.setdefault(f"{verdict.cause} {cause}", []).append(one.case.number)
                faults.append(describe_fault(one, verdict))
    return {
        "count": count,
        "seed": seed,
        "classes": dict(classes),
        "by_road": roads,
        "by_mutator": dict(sorted(by_mutator.items())),
        "by_kind_of_file": dict(sorted(by_kind.items())),
        "refusals": dict(sorted(refusals.items())),
        "causes": dict(sorted(causes.items())),
        "faults": faults,
    }


def describe_fault(one: Judged, verdict: Verdict) -> dict[str, Any]:
    """A fault as plain values."""
    process = " --processes 1" if verdict.road.startswith("process") else ""
    return {
        "number": one.case.number,
        "file": f"{one.case.file.run}/{one.case.file.name}",
        "mutator": one.case.mutator,
        "done": one.done,
        "road": verdict.road,
        "fault": verdict.kind,
        "detail": verdict.detail[:400],
        "where": verdict.where,
        "again": f"python -m tests.fuzz.run_folders --seed {one.case.seed} --only {one.case.number}{process}",
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the fuzz, print its summary, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=0, help="how many of them as commands too")
    parser.add_argument("--only", type=int, help="this number alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which a road hangs")
    options = parser.parse_args(arguments)
    worker = Worker()
    with tempfile.TemporaryDirectory(prefix="run-folders-") as folder:
        try:
            fuzz = Fuzz(Path(folder), worker, options.seconds)
            plan = fuzz.plan(options.seed, options.count if options.only is None else options.only + 1)
            plan = plan if options.only is None else plan[-1:]
            stride = max(len(plan) // max(options.processes, 1), 1)
            chosen = plan[::stride][: options.processes]
            judged = [_told(fuzz.judge_process(case)) for case in chosen]
            judged += [_told(fuzz.judge(case)) for case in plan]
        finally:
            worker.close()
    json.dump(summarise(judged, len(plan), options.seed), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return int(any(one.kind == "fault" for one in judged))


def _told(one: Judged) -> Judged:
    """Say on stderr how far the fuzz is."""
    faults = "; ".join(f"{v.road} {v.kind} {v.detail[:80]}" for v in one.verdicts if v.is_fault)
    name = f"{one.case.file.run}/{one.case.file.name}"
    sys.stderr.write(f"{one.case.number} {name} {one.case.mutator}: {one.kind} {faults}\n")
    return one


if __name__ == "__main__":
    raise SystemExit(main())
