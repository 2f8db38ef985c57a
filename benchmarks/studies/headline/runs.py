"""The runs of the headline study, every method under the setting that was chosen, and their evaluation."""

from __future__ import annotations

from benchmarks.studies.headline import grids
from benchmarks.studies.headline.grids import Tree
from benchmarks.studies.headline.settings import SAME, chosen
from flowprior.study import Grid

DEFAULT = "default"
"""The label of the library's default, which ``headline.toml`` spells out."""


def methods_of(run: Tree) -> list[str]:
    """Return the methods of a run: those that it names, then its number of best others on held-out images."""
    named = list(run.get("methods", [DEFAULT]))
    if named == ["all"]:
        return [DEFAULT, *grids.study()["methods"]]
    others = [m for m in chosen(run["data"]) if m not in named and SAME not in grids.study()["methods"][m]]
    return [*named, *others[: run.get("best", 0)]]


def run_grid_of(run: Tree, evaluation: Tree) -> Grid:
    """Return the grid of one row of ``[[runs]]`` under one of the evaluations."""
    settings, default = chosen(run["data"]), grids.study()[DEFAULT]
    own = {method: grids.variant(method, settings[method]) for method in methods_of(run) if method != DEFAULT}
    lr = default["lr"][run["data"]]
    named = {DEFAULT: {**default["variant"], "training": {**default["variant"]["training"], "lr": lr}}, **own}
    changes: Tree = {
        "seeds": run["seeds"],
        "training": {"steps": run["steps"]},
        "nfe": [0, 1, 2, 4, 8, 15, 30],
    }
    changes |= {"model": run["model"]} if "model" in run else {}
    return grids.grid_on(run["data"], named, changes, evaluation)


def run_all(data: str) -> None:
    """Make the runs of a data set, and keep their values on its test split in a table for each evaluation."""
    for run in (run for run in grids.study()["runs"] if run["data"] == data):
        for table, evaluation in grids.study()["evaluations"].items():
            grids.complete(run_grid_of(run, evaluation), grids.RUNS / run["name"], table)
