"""The settings of each method, chosen on held-out images: timesteps, learning rate, step schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import product

from benchmarks.studies import RESULTS
from benchmarks.studies.headline import grids
from benchmarks.studies.headline.grids import SAME, Tree
from flowprior.study import Grid
from flowprior.study.table import DataFrame, read_table

CHOICE = "choice"
"""The table of the values on held-out images."""
SETTINGS = ("time", "lr", "sampler")
"""The columns of what is chosen of each method."""
SCORED = ("fid-cnn128", "fid-lite0")
"""The distances whose mean logarithm is the score of a setting."""


def choice_grid(data: str, times: Mapping[str, Iterable[str]], lrs: Iterable[float]) -> Grid:
    """Return the grid of some settings of each method, evaluated on the held-out images of a data set.

    Args:
        data: a name of ``[data]``.
        times: method -> the timestep distributions that are tried of it.
        lrs: the learning rates of each.
    """
    asked = grids.study()["choice"]
    named = {
        f"{method}, {own}, {lr:g}": grids.variant(method, {"time": own, "lr": lr})
        for (method, tried), lr in product(times.items(), lrs)
        for own in tried
    }
    shared = {key: asked[key] for key in ("samples", "nfe", "samplers")}
    evaluation = {"metrics": asked["metrics"]}
    own = {"splits": ["validation"], "training": {"steps": asked["steps"]}, "evaluation": evaluation}
    return grids.grid_on(data, named, {**shared, **own})


def choose(data: str) -> None:
    """Run the settings whose values are not stored: timesteps at the first learning rate, then the others."""
    if grids.settings_of(data) != data:
        return
    asked, methods, out = grids.study()["choice"], methods_on(data), grids.RUNS / f"{CHOICE}-{data}"
    first, *others = asked["lrs"]
    every: list[str] = asked["times"]
    grids.complete(choice_grid(data, dict.fromkeys(methods, every), [first]), out, CHOICE)
    table: DataFrame = _stored(data)
    best = scores(table[table["lr"] == first]).groupby("method", sort=False)["time"].first()
    grids.complete(choice_grid(data, {method: [best[method]] for method in methods}, others), out, CHOICE)


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
    table = _stored(grids.settings_of(data))
    if table is None or (own := scores(table)).empty:
        raise KeyError(f"no settings of {data}; run python -m benchmarks.studies.headline choose {data}")
    best = own.groupby("method", sort=False).first()
    found = {str(method): row[list(SETTINGS)].to_dict() for method, row in best.iterrows()}
    alike = {method: keys.get(SAME) for method, keys in grids.study()["methods"].items()}
    return found | {method: found[other] for method, other in alike.items() if other in found}
