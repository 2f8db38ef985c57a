"""The settings of each method, chosen on held-out images: timesteps, learning rate, step schedule."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import product

from benchmarks.studies import RESULTS
from benchmarks.studies.headline import grids
from benchmarks.studies.headline.grids import Tree
from flowprior.study import Grid
from flowprior.study.table import DataFrame, read_table

CHOICE = "choice"
"""The table of the values on held-out images."""
SETTINGS = ("time", "lr", "sampler")
"""The columns of what is chosen of each method."""
SCORED = ("fid-cnn128", "fid-lite0")
"""The distances whose mean logarithm is the score of a setting."""
SAME = "settings_of"
"""The key of a method that takes the settings of another one."""


def choice_grid(data: str, methods: Iterable[str], known: Collection[str] = ()) -> Grid | None:
    """Return the grid of every setting of ``methods``, evaluated on the held-out images of a data set.

    None if the values of all are known.

    Args:
        data: a name of ``[data]``.
        methods: those whose settings are tried.
        known: labels whose values are there already.
    """
    asked, named = grids.study()["choice"], {}
    for method, times, lr in product(methods, asked["times"], asked["lrs"]):
        if (label := f"{method}, {times}, {lr:g}") not in known:
            named[label] = grids.variant(method, {"time": times, "lr": lr})
    if not named:
        return None
    shared = {key: asked[key] for key in ("samples", "nfe", "samplers")}
    evaluation = {"metrics": asked["metrics"]}
    own = {"splits": ["validation"], "training": {"steps": asked["steps"]}, "evaluation": evaluation}
    return grids.grid_on(data, named, {**shared, **own})


def choose(data: str) -> None:
    """Run the settings whose values are not stored, and keep the values on the held-out images."""
    known = [] if (table := _stored(data)) is None else list(table["label"])
    if (grid := choice_grid(data, methods_on(data), known)) is not None:
        grids.complete(grid, grids.RUNS / f"{CHOICE}-{data}", CHOICE)


def _stored(data: str) -> DataFrame | None:
    """Return what is stored of a data set's settings; None if nothing is."""
    if not (path := RESULTS / f"{CHOICE}.csv.gz").is_file():
        return None
    table = read_table(path)
    return table[table["data"] == grids.study()["data"][data]["data"]]


def methods_on(data: str) -> list[str]:
    """Return the baselines of a data set: all on the first, on another so many of those best on the first."""
    every = [method for method, keys in grids.study()["methods"].items() if SAME not in keys]
    count = grids.study()["data"][data].get(grids.BEST)
    return (
        every
        if count is None
        else [m for m in chosen(next(iter(grids.study()["data"]))) if m in every][:count]
    )


def scores(table: DataFrame) -> DataFrame:
    """Return the mean log distance of each setting on held-out images: a row each, the lowest first.

    Args:
        table: rows of :func:`choice_grid`, of one data set.
    """
    rows = trained_by(table[table["metric"].isin(SCORED)])
    rows = rows.assign(score=rows["value"].map(math.log))
    means = rows.groupby(["method", *SETTINGS])["score"].mean().reset_index()
    return means.sort_values("score", ignore_index=True)


def trained_by(table: DataFrame) -> DataFrame:
    """Return the rows of trained flows, with the method or design of their label in the column ``method``."""
    rows = table[(table["nfe"] > 0) & (table["flow"] == table["label"])]
    return rows.assign(method=rows["label"].str.rsplit(", ", n=2).str[0])


def chosen(data: str) -> dict[str, Tree]:
    """Return the setting of each method that is best on the held-out images of a data set, the best first.

    Raises:
        KeyError: the settings of this data set have not been run.
    """
    table = _stored(data)
    if table is None or (own := scores(table)).empty:
        raise KeyError(f"no settings of {data}; run python -m benchmarks.studies.headline choose {data}")
    best = own.groupby("method", sort=False).first()
    found = {str(method): row[list(SETTINGS)].to_dict() for method, row in best.iterrows()}
    alike = {method: keys.get(SAME) for method, keys in grids.study()["methods"].items()}
    return found | {method: found[other] for method, other in alike.items() if other in found}
