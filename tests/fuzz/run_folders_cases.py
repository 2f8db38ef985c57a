"""One case from the copy of a run to the verdicts over its roads; these functions run in a worker.

A verdict is ``same``, ``refused`` or a fault: ``different``, ``traceback``, ``exit``, ``hang``, ``killed``,
``memory``, ``wording`` (more than one line, or one without an end) or ``canary`` (a pickle was run).

What is not part of a result: pictures below ``samples/``, the log ``metrics.jsonl`` and the record
``info.json``. Whatever is done to them, samples, weights and evaluation must be the unmutated run's, or the
run be refused.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.run_folders_making import OTHER, RunFile, role, walk
from tests.fuzz.run_folders_memory import BOUND
from tests.fuzz.run_folders_mutators import Site, mutate
from tests.fuzz.run_folders_plan import Case, Catalogue
from tests.fuzz.run_folders_roads import LONGEST_MESSAGE, SECONDS, Outcome, take_road

SAME, REFUSED = "same", "refused"


@dataclass(frozen=True)
class Verdict:
    """How one road of a case is judged.

    Attributes:
        road: name of the road, with the folder that was loaded.
        kind: same, refused, or the kind of fault.
        detail: the message, or what differs.
        where: last frame inside the package, of a traceback.
    """

    road: str
    kind: str
    detail: str
    where: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong."""
        return self.kind not in (SAME, REFUSED)

    @property
    def name(self) -> str:
        """The road without the folder that was loaded."""
        words = self.road.split(" ")
        return self.road if words[0] == "process" else words[0]

    @property
    def cause(self) -> str:
        """Road, kind of fault and type of the error, which faults of one cause share."""
        error = self.detail.split(":")[0] if self.kind == "traceback" else ""
        return " ".join(filter(None, (self.name, self.kind, error)))


Step = tuple[str, str]
"""A road and the folder below the run that it is given."""


def steps_of(catalogue: Catalogue, file: RunFile) -> list[Step]:
    """The roads of a case, in their order: what writes comes last."""
    return [*(("sample", flow) for flow in catalogue.loaded(file)), ("evaluate", "."), ("resume", ".")]


def all_steps(catalogue: Catalogue, run: str) -> list[Step]:
    """The roads that the unmutated run is taken along, to compare with."""
    return [*(("sample", flow) for flow in catalogue.flows[run]), ("evaluate", "."), ("resume", ".")]


def take_steps(folder: Path, steps: list[Step], seconds: float = SECONDS) -> list[Outcome]:
    """What comes of each step in ``folder``."""
    return [take_road(road, folder / below, seconds) for road, below in steps]


def prepare(runs: Path, catalogue: Catalogue, case: Case, folder: Path, scratch: Path) -> str:
    """Copy the case's run to ``folder``, damage the file there, and say how."""
    shutil.copytree(runs / case.file.run, folder)
    # A run's own folder may load as a flow too, but no flow is saved over it.
    flows = [
        flow for flow in catalogue.loaded(case.file) if Path(flow) == Path(case.file.name).parent != Path()
    ]
    site = Site(
        path=folder / case.file.name,
        siblings=_siblings(runs, case.file),
        twin=_twin(runs, case.file),
        flow=folder / flows[-1] if flows else None,
        canary=canary_of(scratch),
        scratch=scratch,
    )
    return mutate(case.mutator, site, case.chance())


def canary_of(scratch: Path) -> Path:
    """The file that no road may bring into being."""
    return scratch / "canary"


def run_case(
    runs: Path, catalogue: Catalogue, case: Case, scratch: Path, seconds: float
) -> tuple[str, list[Outcome]]:
    """What was done to the file, and what came of every road."""
    folder = scratch / "run"
    done = prepare(runs, catalogue, case, folder, scratch)
    return done, take_steps(folder, steps_of(catalogue, case.file), seconds)


def judge(step: Step, outcome: Outcome, plain: Outcome, canary: bool = False) -> Verdict:
    """The verdict over one road, given what the unmutated run came to on it."""
    name = f"{step[0]} {step[1]}"
    if canary:
        return Verdict(name, "canary", "a pickle that the file held was run")
    if outcome.grown > plain.grown + BOUND:
        return Verdict(name, "memory", f"{outcome.grown:.0f} MiB, unmutated {plain.grown:.0f}", outcome.where)
    if outcome.state == "refused":
        return Verdict(name, "wording" if badly_worded(outcome.value) else REFUSED, outcome.value)
    if outcome.state == "result":
        same = outcome.value == plain.value
        return Verdict(name, SAME if same else "different", "" if same else "another result than unmutated")
    return Verdict(name, outcome.state, outcome.value, outcome.where)


def badly_worded(message: str) -> bool:
    """Whether a message is no single line that can be read."""
    return len(message.splitlines()) != 1 or len(message) > LONGEST_MESSAGE


def _siblings(runs: Path, file: RunFile) -> tuple[Path, ...]:
    root = runs / file.run
    others = [name for name in walk(root) if name != file.name]
    others.sort(key=lambda name: role(name) != role(file.name))
    return tuple(root / name for name in others)


def _twin(runs: Path, file: RunFile) -> Path | None:
    names = [name for name in walk(runs / OTHER) if role(name) == role(file.name)]
    if file.name in names:
        return runs / OTHER / file.name
    return runs / OTHER / names[-1] if names else None
