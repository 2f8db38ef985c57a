"""What the charts at the top of docs/results.md show: quality, how long the lead lasts, other conditions.

Each is a long table, made of those of the studies; one that has not run leaves no rows in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pandas

from benchmarks.studies import emoji, forecasting, lead, restoration
from benchmarks.studies.alike import means
from benchmarks.studies.tables import BASE, FEATURES, RIVALS
from flowprior.study.table import DataFrame, Series, trained

Tables = Callable[[str], DataFrame]
"""Name of a study -> its values; a table without rows where it has not run."""
Line = tuple[str, str, int, Series]
"""Task, metric and seeds, and the ratio by NFE."""
STEPS = (1000, 16000)
"""Trainings with one network for all; that of ``lead-8000`` is larger."""
QUALITY = ["steps", "metric", "flow", "seeds", "grids", "nfe", "value"]
CONDITIONS = ["task", "metric", "seeds", "nfe", "ratio"]
SOME = (1, 4)
"""Evaluations of the chart of conditions, beside the most that a study has."""
RESTORED = {
    "super-resolution": "Super-resolution, Fashion-MNIST",
    "inpainting": "Inpainting, Fashion-MNIST",
}
"""Folder of a study -> what it is called in the chart."""
CAPTIONS = {emoji.SEEN: "Emoji from seen captions", emoji.UNSEEN: "Emoji from unseen captions"}
"""Split of the study of captions -> what it is called in the chart."""
WEATHER = "Weather, a day ahead"
SCORES = ("crps", "energy_score")
REGRESSION = "crps, regression"
"""The design's CRPS over that of regression on the last hour, the best forecast without a network."""

FEATURE_NAMES = dict(zip(FEATURES, ("features of the data's classifier", "ImageNet features"), strict=True))
METRIC_NAMES = {
    FEATURES[0]: "Fréchet, classifier",
    FEATURES[1]: "Fréchet, ImageNet",
    emoji.DISTANCE: "kernel distance",
    "crps": "CRPS",
    "energy_score": "energy score",
    REGRESSION: "CRPS over regression",
}


def quality(tables: Tables) -> DataFrame:
    """Distances of the default and its rivals, each at its best grid: columns :data:`QUALITY`."""
    rows = []
    for steps in STEPS:
        table, earlier = (tables(f"{name}-{steps}") for name in ("lead", "fashion-mnist"))
        if table.empty:
            continue
        table = table if earlier.empty else lead.with_rivals(table, earlier)
        for metric in FEATURES:
            counts = trained(table, metric).groupby("flow")[["seed", "sampler"]].nunique()
            found = lead.settings(table, metric).reindex([lead.OURS, *RIVALS]).dropna(how="all")
            rows += [(steps, metric, flow, *counts.loc[flow], *at) for (flow, *at) in _entries(found)]
    return pandas.DataFrame(rows, columns=pandas.Index(QUALITY))


def over_best_rival(found: DataFrame) -> Series:
    """The default over the best rival of :func:`quality`, by steps, metric and NFE."""
    wide = found.pivot_table(index=["steps", "metric", "nfe"], columns="flow", values="value", sort=False)
    return wide[lead.OURS] / wide.drop(columns=lead.OURS).min(axis=1)


def not_trained(found: DataFrame) -> list[tuple[str, int]]:
    """The settings of :func:`quality` that have not been trained for some of the steps, and these steps."""
    there = set(zip(found["flow"], found["steps"], strict=True))
    return [
        (flow, steps)
        for flow in found["flow"].unique()
        for steps in found["steps"].unique()
        if (flow, steps) not in there
    ]


def at_equal_steps(found: DataFrame) -> list[tuple[str, int]]:
    """The settings of :func:`quality` that ran with one grid alone, equal steps, and after which steps."""
    own = found[found["grids"] == 1].drop_duplicates(["flow", "steps"])
    return list(zip(own["flow"], own["steps"], strict=True))


def conditions(tables: Tables) -> DataFrame:
    """Designs over a start from N(0, I) where the condition says much: columns :data:`CONDITIONS`."""
    rows = [
        (task, metric, seeds, int(nfe), float(ratio[nfe]))
        for task, metric, seeds, ratio in (*_restored(tables), *_from_captions(tables), *_forecast(tables))
        for nfe in (*SOME, *ratio.index[-1:])
        if nfe in ratio.index
    ]
    return pandas.DataFrame(rows, columns=pandas.Index(CONDITIONS)).dropna()


def _restored(tables: Tables) -> Iterator[Line]:
    for folder, task in RESTORED.items():
        table = tables(folder)
        for metric in (*FEATURES, *SCORES) if len(table) else ():
            found = restoration.values(table, metric)
            yield task, metric, table["seed"].nunique(), found.loc[restoration.OURS] / found.loc[BASE]


def _from_captions(tables: Tables) -> Iterator[Line]:
    """The best design in pixels over the best of the settings that start from N(0, I)."""
    table = tables("emoji")
    own = emoji.of_space(table) if "latent" in table else table
    for split, task in CAPTIONS.items() if len(own) and emoji.has_both(own) else ():
        ratio = emoji.over_best_baseline(own, emoji.DISTANCE, split)
        yield task, emoji.DISTANCE, own["seed"].nunique(), ratio


def _forecast(tables: Tables) -> Iterator[Line]:
    table = tables("forecasting")
    if table.empty:
        return
    seeds = table["seed"].nunique()
    for metric in SCORES:
        found = forecasting.scores(table, metric)
        yield WEATHER, metric, seeds, found.loc[forecasting.OURS] / found.loc[BASE]
    crps = means(table, "crps")
    least = forecasting.plain(table)["crps"].min()
    yield WEATHER, REGRESSION, seeds, crps.loc[forecasting.OURS] / least


def behind(found: DataFrame) -> DataFrame:
    """The rows of :func:`conditions` at which the design is no better."""
    return found[found["ratio"] >= 1]


def digest(found: DataFrame) -> str:
    """What tells whether a chart shows these values: SHA-256 of the table, to four digits."""
    text = found.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def _entries(found: DataFrame) -> Iterator[tuple[Any, Any, float]]:
    """Row, column and value of each entry that is there."""
    entries: Any = found.stack().dropna()
    for (row, column), value in entries.items():
        yield row, column, float(value)
