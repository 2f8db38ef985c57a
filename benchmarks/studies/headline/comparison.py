"""The default beside the best baseline at each number of evaluations, and above the score of real data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas

from benchmarks.studies import RESULTS
from benchmarks.studies.headline import grids
from benchmarks.studies.headline.runs import DEFAULT, HEADLINE, methods_of
from flowprior.evaluation.result import REAL_DATA
from flowprior.study.table import DataFrame, read_table

GOALS: Mapping[tuple[int, str], tuple[float, ...]] = {
    (1000, "fid-cnn128"): (0.15, 0.12, 0.14, 0.16, 0.17, 0.17),
    (1000, "fid-lite0"): (0.28, 0.36, 0.48, 0.53, 0.56, 0.58),
    (16000, "fid-cnn128"): (0.13, 0.12, 0.16, 0.26, 0.35, 0.42),
    (16000, "fid-lite0"): (0.30, 0.40, 0.52, 0.66, 0.73, 0.78),
    (60000, "fid-lite0"): (0.25, 0.38, 0.55, 0.72, 0.82, 0.85),
}
"""Steps and distance -> the ratio on Fashion-MNIST that was aimed at, at each of 1 to 30 evaluations."""


def results(data: str, split: str = "test", table: str = HEADLINE, **where: Any) -> DataFrame:
    """Return the values of trained flows and of real data on a split of a data set.

    Seeds that some methods lack are left out.

    Args:
        data: a name of ``[data]`` in ``headline.toml``.
        split: of the data.
        table: that they are stored in.
        where: columns and their values, such as ``steps=1000``.
    """
    rows = read_table(RESULTS / f"{table}.csv.gz")
    rows = rows[(rows["data"] == grids.study()["data"][data]["data"]) & (rows["split"] == split)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    methods = rows["seed"].map(rows.groupby("seed")["label"].nunique())
    return rows[(methods == methods.max()) & rows["flow"].isin([*rows["label"].unique(), REAL_DATA])]


def measured() -> list[tuple[str, int]]:
    """Return the data sets and budgets of which every method has values, the longest of each last."""
    rows = read_table(RESULTS / f"{HEADLINE}.csv.gz")
    labels = rows.groupby(["data", "steps"])["label"].agg(set).to_dict()
    asked = [run for run in grids.study()["runs"] if run.get("table", HEADLINE) == HEADLINE]
    spec = {name: own["data"] for name, own in grids.study()["data"].items()}
    found = {
        (run["data"], run["steps"])
        for run in asked
        if labels.get((spec[run["data"]], run["steps"]), set()).issuperset(methods_of(run))
    }
    return sorted(found, key=lambda place: (list(spec).index(place[0]), place[1]))


def against_best(rows: DataFrame, metrics: Iterable[str]) -> DataFrame:
    """Return the default, the best baseline and their ratio: a row for each metric and NFE.

    Args:
        rows: of :func:`results`, of one budget.
        metrics: of which less is better.

    Returns:
        Columns ``metric``, ``nfe``, ``default``, ``best`` (the name of the baseline), ``baseline``,
        ``ratio``, ``seeds`` (how many), ``spread`` (the ratio's standard deviation over them), ``floor`` (the
        score of as many real data) and ``above``, the ratio of what is above the floor.
    """
    floor = rows[rows["flow"] == REAL_DATA].groupby("metric")["value"].mean()
    trained = rows[rows["nfe"].notna() & rows["metric"].isin(list(metrics))]
    each = trained.groupby(["metric", "nfe", "seed", "flow"])["value"].mean().unstack("flow")
    means = each.groupby(["metric", "nfe"]).mean()
    others = means.drop(columns=DEFAULT)
    found = pandas.DataFrame(
        {"default": means[DEFAULT], "best": others.idxmin(axis=1), "baseline": others.min(axis=1)}
    ).reset_index()
    found["ratio"] = found["default"] / found["baseline"]
    found["seeds"] = trained["seed"].nunique()
    found["spread"] = [
        (each.loc[place, DEFAULT] / each.loc[place, name]).std()
        for place, name in others.idxmin(axis=1).items()
    ]
    found["floor"] = found["metric"].map(floor)
    found["above"] = (found["default"] - found["floor"]) / (found["baseline"] - found["floor"])
    return found


def beside_goals() -> DataFrame:
    """Return the ratios on Fashion-MNIST beside those aimed at: a row for each budget, metric and NFE."""
    parts = []
    for (steps, metric), aims in GOALS.items():
        if ("fashion-mnist", steps) not in measured():
            continue
        found = against_best(results("fashion-mnist", steps=steps), [metric])
        aimed = dict(zip((1, 2, 4, 8, 15, 30), aims, strict=True))
        parts.append(found.assign(steps=steps, goal=found["nfe"].map(aimed)).dropna(subset="goal"))
    return pandas.concat(parts, ignore_index=True)
