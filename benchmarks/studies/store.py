"""Finished cells of an experiment, one JSON file each: what was stopped goes on where it stopped."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import typer

from flowprior.errors import OptionError
from flowprior.training.run_info import describe_machine

RESULTS = Path(__file__).parents[1] / "results"
Cell = dict[str, Any]


class Store:
    """The cells of one experiment below ``benchmarks/results``.

    Args:
        name: of the experiment, and of its folder.
        root: folder of all experiments.
    """

    def __init__(self, name: str, root: Path = RESULTS) -> None:
        self.folder = root / name

    def path(self, key: str) -> Path:
        """File of the cell ``key``; characters that file systems refuse become dashes."""
        return self.folder / f"{''.join(c if c.isalnum() or c in '.+_=' else '-' for c in key)}.json"

    def finished(self, key: str, budget: Mapping[str, Any]) -> Cell | None:
        """The finished cell ``key``; None where it is missing or was made with another ``budget``."""
        try:
            cell = json.loads(self.path(key).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return None
        return cell if all(cell.get(name) == value for name, value in as_json(budget).items()) else None

    def run(self, key: str, make: Callable[[], Cell], **budget: Any) -> Cell:
        """The cell ``key``: read where it is finished, else made, written in one move, and returned.

        Args:
            key: names the cell.
            make: trains and measures; returns the cell's figures.
            budget: what a finished cell must have been made with to count; written into the cell.
        """
        done = self.finished(key, budget)
        if done is not None:
            return done
        start = time.perf_counter()
        figures = make()
        cell = as_json({**budget, **figures, "seconds": time.perf_counter() - start, **surroundings()})
        write_json(self.path(key), cell)
        return cell

    def cells(self) -> list[Cell]:
        """Every finished cell, in the order of their names."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))]

    def expect_judge(self, identities: list[str]) -> None:
        """Refuse to add cells that another judge than that of the finished cells would judge.

        Args:
            identities: of the judge that is about to be used.

        Raises:
            OptionError: a finished cell was judged by another.
        """
        for cell in self.cells():
            if cell.get("features", identities) != identities:
                theirs, ours = (", ".join(names) for names in (cell["features"], identities))
                raise OptionError(
                    f"{self.folder.name}: its finished cells were judged by {theirs}, not by {ours}; use "
                    "that judge (benchmarks/judges) or another folder of results"
                )


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` in one move: a file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def surroundings() -> Cell:
    """What a figure has to be read with: threads, versions, machine and commit."""
    found = describe_machine(torch.device("cpu"))
    return {
        "threads": found["threads"],
        "torch": found["torch"],
        "flowprior": found["version"],
        "commit": found["commit"],
        "processor": found["device_name"],
        "machine": platform.machine(),
    }


def as_json(value: Any) -> Any:
    """``value`` as it comes back from a JSON file: tuples are lists, keys are strings."""
    return json.loads(json.dumps(value))


def choose_cells(cells: list[Any], shard: str) -> list[Any]:
    """Every n-th cell from the i-th on, for ``shard`` = "i/n": one of several processes' share."""
    place, of = (int(number) for number in shard.split("/"))
    if not 0 <= place < of:
        raise typer.BadParameter(f"shard={shard!r}; expected i/n with 0 <= i < n, such as 0/2")
    return cells[place::of]


def use_threads(threads: int) -> None:
    """Set torch's threads; 0 leaves them alone."""
    if threads:
        torch.set_num_threads(threads)
