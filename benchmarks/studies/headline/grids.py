"""The grids of the headline study, made of ``headline.toml``, and how they are run."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import benchmarks.data_sets.letters  # noqa: F401  # registers the data set
from benchmarks.studies import RESULTS
from benchmarks.studies.store import store
from flowprior.study import Grid, StudyFolder, run_grid
from flowprior.study.folder import read_study
from flowprior.study.grid import grid_from_dict
from flowprior.study.table import read_table, result_rows, write_results
from flowprior.training.config_file import extended

RUNS = Path("runs/headline")
WAIT = 60.0
"""The seconds between two looks at runs that other processes are making."""
BEST = "baselines"
"""The key of a data set that has so many of the first data set's best baselines in place of all."""
SAME = "settings_of"
"""The key of a method, or of a data set, that takes the settings of another one."""
Tree = dict[str, Any]


@cache
def study() -> Tree:
    """Return the study's file."""
    return tomllib.loads(Path(__file__).with_name("headline.toml").read_text(encoding="utf-8"))


def settings_of(data: str) -> str:
    """Return the data set whose settings a data set takes: itself, or the one that it names."""
    return study()["data"][data].get(SAME, data)


def grid_on(data: str, variants: Mapping[str, Tree], *changes: Tree) -> Grid:
    """Return a grid of ``variants`` on a data set, with what the study's grids share and ``changes``."""
    tree: Tree = {}
    for part in (study()["shared"], study()["data"][data], *changes):
        tree = extended(tree, part)
    for key in (BEST, SAME):
        tree.pop(key, None)
    return grid_from_dict({**tree, "variants": variants})


def variant(method: str, settings: Tree) -> Tree:
    """Return the keys of a method's variant under ``settings``, of which the method may have some itself."""
    own = dict(study()["methods"][method])
    own.pop(SAME, None)
    chosen = {key: value for key, value in settings.items() if key != "sampler"}
    own["training"] = {**chosen, **own.get("training", {})}
    return own if "sampler" not in settings else {"sampler": settings["sampler"], **own}


def complete(grid: Grid, out: Path, table: str) -> None:
    """Make every run of a grid whose values are not in a table, and keep the values there.

    A run that another process makes is waited for.

    The values of finished runs are kept, too, where somebody stops it or a run fails. A run whose rows are
    removed from the table is made anew.

    Raises:
        SystemExit: a run failed, or somebody stopped it.
    """
    for seed in grid.seeds:
        known = stored_labels(table, grid, seed)
        if left := {label: own for label, own in grid.variants.items() if label not in known}:
            _complete(replace(grid, seeds=(seed,), variants=left), out / f"seed{seed}", table)


def _complete(grid: Grid, out: Path, table: str) -> None:
    while (outcome := run_grid(grid, out, notify=print)).busy and not outcome.interrupted:
        time.sleep(WAIT)
    folder = StudyFolder(out)
    if rows := result_rows(read_study(folder)):
        write_results(folder.results, rows)
        store(table, [out])
    if outcome.interrupted or outcome.failed:
        raise SystemExit(f"{out}: {outcome.failed or 'interrupted'}")


def stored_labels(table: str, grid: Grid, seed: int) -> set[str]:
    """Return the labels of a grid's variants whose values for this seed are in a table."""
    if not (path := RESULTS / f"{table}.csv.gz").is_file():
        return set()
    rows = read_table(path)
    rows = rows[(rows["data"] == grid.data) & (rows["model"] == grid.model) & (rows["seed"] == seed)]
    steps = rows.groupby("label")["steps"].agg(set).to_dict()
    return {label for label in grid.variants if grid.training_of(label).steps in steps.get(label, ())}
