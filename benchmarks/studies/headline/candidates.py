"""The designs of which the default is chosen: by the worst ratio to the best baseline on held-out images."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pandas

from benchmarks.studies import RESULTS
from benchmarks.studies.headline import grids
from benchmarks.studies.headline.settings import CHOICE, chosen, trained_by
from flowprior.study import Grid
from flowprior.study.table import DataFrame, read_table

CANDIDATES = "candidates"
"""The table of the candidates' values on held-out images."""
DESIGN = ("prior", "coupling", "prediction", "time", "steps", "sampler")
"""The columns that tell designs apart; the learning rate is chosen on each data set, as a baseline's is."""


def candidates_grid(data: str, turn: str) -> Grid:
    """Return the grid of the candidates of one turn, evaluated on the held-out images of a data set."""
    shared, asked = grids.study()["candidates"], grids.study()["candidates"][turn]
    named = {
        f"{label}, {coupling}, {prediction}, {times}, {lr:g}": {
            "prior": prior,
            "coupling": coupling,
            "training": {"prediction": prediction, "time": times, "lr": lr},
        }
        for (label, prior), coupling, prediction, times, lr in product(
            asked["priors"].items(), *(asked[f"{axis}s"] for axis in ("coupling", "prediction", "time", "lr"))
        )
    }
    choice = grids.study()["choice"]
    own = {"samples": choice["samples"], "nfe": choice["nfe"], "samplers": shared["samplers"]}
    evaluation = {"metrics": choice["metrics"]}
    own |= {"splits": ["validation"], "training": {"steps": asked["steps"]}, "evaluation": evaluation}
    return grids.grid_on(data, named, own)


def try_candidates(data: str, *turns: str) -> None:
    """Run the candidates of these turns on a data set, or of all its turns, and keep their values."""
    if grids.settings_of(data) != data:
        return
    named = {name: own for name, own in grids.study()["candidates"].items() if isinstance(own, dict)}
    for turn in turns or [name for name, own in named.items() if data in own.get("data", [data])]:
        out = grids.RUNS / f"{CANDIDATES}-{turn}-{data}"
        grids.complete(candidates_grid(data, turn), out, CANDIDATES)


def best_baselines(data: str) -> DataFrame:
    """Return the lowest value of the baselines by steps, metric and evaluations, each at its setting."""
    spec, settings = grids.study()["data"][data]["data"], chosen(data)
    table = read_table(RESULTS / f"{CHOICE}.csv.gz")
    rows = trained_by(table[(table["data"] == spec) & table["metric"].isin(_scores())])
    wanted = pandas.DataFrame([{"method": name, **own} for name, own in settings.items()])
    own = rows.merge(wanted, on=list(wanted.columns))
    return own.groupby(["steps", "metric", "nfe"])["value"].min().rename("baseline").reset_index()


def ratios(data_sets: Iterable[str]) -> DataFrame:
    """Return the ratio of every candidate to the best baseline: a row a data set, metric and evaluations.

    Both have as many steps; what no baseline was trained for is left out. Of the learning rates that were
    tried of a design, the one of the lowest worst ratio on a data set stands.
    """
    table, parts = read_table(RESULTS / f"{CANDIDATES}.csv.gz"), []
    for data in data_sets:
        own = trained_by(table[table["data"] == grids.study()["data"][data]["data"]])
        own = own.merge(best_baselines(data), on=["steps", "metric", "nfe"])
        own = own.assign(ratio=own["value"] / own["baseline"], data=data)
        worst = own.groupby([*DESIGN, "lr"])["ratio"].max().reset_index().sort_values("ratio")
        kept = worst.drop_duplicates(list(DESIGN)).drop(columns="ratio")
        parts.append(own.merge(kept, on=[*DESIGN, "lr"]))
    return pandas.concat(parts, ignore_index=True)


def ranking(data_sets: Iterable[str]) -> DataFrame:
    """Return the worst ratio of each design over data sets, metrics and evaluations, the lowest first."""
    found = ratios(data_sets).pivot_table(index=list(DESIGN), columns="data", values="ratio", aggfunc="max")
    found = found.dropna()  # a design stands where it was tried on every data set
    return found.assign(worst=found.max(axis=1)).sort_values("worst")


def _scores() -> list[str]:
    return grids.study()["candidates"]["scores"]
