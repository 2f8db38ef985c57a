"""The runs of the headline study, every method under the setting that was chosen, and their evaluation."""

from __future__ import annotations

from benchmarks.studies.headline import grids
from benchmarks.studies.headline.grids import SAME, Tree
from benchmarks.studies.headline.settings import chosen
from flowprior.study import Grid

DEFAULT = "default"
"""The label of the library's default, which ``headline.toml`` spells out."""

HEADLINE = "headline"
"""The table of the values on the test split."""
OWN = ("name", "data", "methods", "best", "steps", "table")
"""The keys of a row of ``[[runs]]`` that are none of a grid."""


def methods_of(run: Tree) -> list[str]:
    """Return the methods of a run: those that it names, then its number of best others on held-out images."""
    named = list(run.get("methods", [DEFAULT]))
    if named == ["all"]:
        return [DEFAULT, *grids.study()["methods"]]
    others = [m for m in chosen(run["data"]) if m not in named and SAME not in grids.study()["methods"][m]]
    return [*named, *others[: run.get("best", 0)]]


def run_grid_of(run: Tree) -> Grid:
    """Return the grid of one row of ``[[runs]]``."""
    settings, default = chosen(run["data"]), grids.study()[DEFAULT]
    lr = default["lr"][grids.settings_of(run["data"])]
    ours = {**default["variant"], "training": {**default["variant"]["training"], "lr": lr}}
    named = {
        method: ours if method == DEFAULT else grids.variant(method, settings[method])
        for method in methods_of(run)
    }
    changes = {key: value for key, value in run.items() if key not in OWN}
    return grids.grid_on(
        run["data"], named, grids.study()["evaluation"], changes, {"training": {"steps": run["steps"]}}
    )


def left() -> list[str]:
    """Return the names of the runs of which a training is not stored."""
    return [
        run["name"]
        for run in grids.study()["runs"]
        for grid in [run_grid_of(run)]
        if any(
            set(grid.variants) - grids.stored_labels(run.get("table", HEADLINE), grid, seed)
            for seed in grid.seeds
        )
    ]


def run_all(data: str) -> None:
    """Make the runs of a data set whose values on its test split are not stored, and keep these."""
    for run in (run for run in grids.study()["runs"] if run["data"] == data):
        grids.complete(run_grid_of(run), grids.RUNS / run["name"], run.get("table", HEADLINE))
