"""The tables of the headline study, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.studies.headline.comparison import against_best, beside_goals, measured, results
from benchmarks.studies.headline.grids import study
from benchmarks.studies.headline.runs import DEFAULT
from flowprior.display.shown import markdown_table
from flowprior.evaluation.result import REAL_DATA
from flowprior.report.wording import number
from flowprior.study.table import DataFrame

NFES = (1, 2, 4, 8, 15, 30)
LOWER = (
    "fid-cnn128",
    "fid-lite0",
    "fid-within-cnn128",
    "fid-within-lite0",
    "kid-cnn128",
    "kid-lite0",
    "w2_squared",
)
"""The scores of which less is better."""
NEARNESS = {
    "nearest-q50": "nearest, median",
    "nearest-q05": "nearest, 5 %",
    "near-duplicates": "near-duplicates",
    "c2st-training-cnn128": "C2ST, training",
    "c2st-cnn128": "C2ST, test",
}
"""What is shown of memorisation, with its heading."""
TIMES = {
    "velocity-distance-closed-form": "network to closed form",
    "closed-form-residual": "closed form to u",
    "velocity-residual": "network to u",
}
"""The squared distances of velocities that are shown, with their headings."""


def sections() -> list[tuple[str, int]]:
    """Return the data sets and steps that have a section on the page, the longest training of each last."""
    return sorted(measured(), key=lambda found: (list(study()["data"]).index(found[0]), found[1]))


def goals() -> str:
    """Return the ratios on Fashion-MNIST, each before the one that was aimed at."""
    found = beside_goals()
    cells = {
        (row.steps, row.metric, row.nfe): f"{number(row.ratio)} ({number(row.goal)})"
        for row in found.itertuples()
    }
    lines = [
        [f"{steps:,}", metric, *(cells.get((steps, metric, nfe), "") for nfe in NFES)]
        for steps, metric in dict.fromkeys((steps, metric) for steps, metric, _ in cells)
    ]
    return markdown_table(["steps", "score", *_heads(NFES)], lines)


def ratios(data: str, steps: int, metrics: Sequence[str] = LOWER) -> str:
    """Return the default's score over the best baseline's, in brackets that of what real data do not have.

    The last column names the best baselines, that of the fewest evaluations first.
    """
    found, lines = against_best(results(data, steps=steps), metrics).set_index("nfe"), []
    for metric, own in found.groupby("metric", sort=False):
        cells = {nfe: f"{number(row.ratio)} ({number(row.above)})" for nfe, row in own.iterrows()}
        best = ", ".join(f"`{name}`" for name in own["best"].unique())
        lines.append([metric, *(cells.get(nfe, "") for nfe in NFES), best])
    return markdown_table(["score", *_heads(NFES), "best baselines"], lines)


def scores(data: str, steps: int, metric: str, nfes: Sequence[int] = (0, *NFES)) -> str:
    """Return the mean of a score of each method, the lowest at NFE 4 first; then that of real data."""
    rows = results(data, steps=steps)
    rows = rows[rows["metric"] == metric]
    if rows.empty:
        return ""
    trained = rows[rows["flow"] != REAL_DATA]
    means = trained.pivot_table(index="flow", columns="nfe", values="value").sort_values(4)
    seeds = trained.groupby("flow")["seed"].nunique()
    lines = [
        [f"`{flow}`", seeds[flow], *(number(own.get(n)) for n in nfes)] for flow, own in means.iterrows()
    ]
    floor = float(rows.loc[rows["flow"] == REAL_DATA, "value"].mean())
    lines.append(["real images", "", number(floor), *[""] * (len(nfes) - 1)])
    return markdown_table(["method", "seeds", *_heads(nfes)], lines)


def nearness(data: str, steps: int, nfe: int = 15) -> str:
    """Return the values of :data:`NEARNESS` of every method at one NFE; empty where none are stored."""
    rows = results(data, steps=steps, nfe=nfe)
    means = rows[rows["metric"].isin(NEARNESS)].pivot_table(index="flow", columns="metric", values="value")
    means = means.reindex(columns=[name for name in NEARNESS if name in means]).rename(columns=NEARNESS)
    return _table(means.rename(index="`{}`".format), "method")


def velocities(data: str, steps: int) -> str:
    """Return the squared distances of :mod:`closed_form` on training pairs of the default, by time, or ""."""
    rows = results(data, "train", steps=steps, flow=DEFAULT)
    means = rows[rows["metric"].isin(TIMES)].pivot_table(index="metric", columns="condition", values="value")
    means = means.reindex([name for name in TIMES if name in means.index]).rename(index=TIMES)
    return _table(means, "distance")


def _table(found: DataFrame, named: str) -> str:
    if found.empty:
        return ""
    lines = [[name, *map(number, own)] for name, own in found.iterrows()]
    return markdown_table([named, *map(str, found.columns)], lines)


def _heads(nfes: Iterable[int]) -> list[str]:
    return [f"NFE {nfe}" for nfe in nfes]
