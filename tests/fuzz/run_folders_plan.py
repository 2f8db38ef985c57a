"""Which file is damaged how: a sequence that goes round all kinds of files and all mutators.

Case ``number`` of a seed does not depend on how many cases are run, so that each can be run again alone.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import run_folders_bytes, run_folders_tensors, run_folders_text, run_folders_zip  # noqa: F401
from tests.fuzz.run_folders_making import FINISHED, INTERRUPTED, RunFile, flow_folders, list_files
from tests.fuzz.run_folders_mutators import file_format, mutators_of


@dataclass(frozen=True)
class Catalogue:
    """What there is to damage.

    Attributes:
        formats: format of every file.
        flows: of each run, the folders that ``Flow.load`` takes.
    """

    formats: dict[RunFile, str]
    flows: dict[str, list[str]]

    def loaded(self, file: RunFile) -> list[str]:
        """The flow folders that ``file`` may change: those above it, else the run's first."""
        flows = self.flows[file.run]
        above = [flow for flow in flows if Path(flow) in Path(file.name).parents]
        return above or flows[:1]


@dataclass(frozen=True)
class Case:
    """One file and what is done to it."""

    seed: int
    number: int
    file: RunFile
    mutator: str

    def chance(self) -> random.Random:
        """The generator of this case alone."""
        return random.Random(f"{self.seed} {self.number}")


def make_catalogue(runs: Path) -> Catalogue:
    """List the files below ``runs`` and the flows that can be loaded there."""
    files = {file: file_format(runs / file.run / file.name) for file in list_files(runs)}
    return Catalogue(files, {run: flow_folders(runs / run) for run in (FINISHED, INTERRUPTED)})


def make_plan(catalogue: Catalogue, seed: int, count: int) -> list[Case]:
    """The first ``count`` cases of ``seed``: always a pair of kind and mutator that was used least so far."""
    kinds: dict[str, list[RunFile]] = {}
    for file in sorted(catalogue.formats, key=lambda file: (file.run, file.name)):
        kinds.setdefault(file.kind, []).append(file)
    pairs = [
        (kind, name) for kind, files in kinds.items() for name in mutators_of(catalogue.formats[files[0]])
    ]
    chance = random.Random(f"plan {seed}")
    chance.shuffle(pairs)
    used: Counter[tuple[str, str]] = Counter()
    of_kind: Counter[str] = Counter()
    of_mutator: Counter[str] = Counter()
    cases = []
    for number in range(count):
        kind, name = min(
            pairs,
            key=lambda pair: (used[pair], of_kind[pair[0]] + 2 * of_mutator[pair[1]]),
        )
        used[kind, name] += 1
        of_kind[kind] += 1
        of_mutator[name] += 1
        cases.append(Case(seed, number, _choose(kinds[kind], chance), name))
    return cases


def _choose(files: list[RunFile], chance: random.Random) -> RunFile:
    """Of files of one kind mostly the last, the newest checkpoint's: a resume reads it first."""
    return files[-1] if chance.random() < 0.7 else chance.choice(files)
