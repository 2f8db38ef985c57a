"""The tables of the headline study, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.studies.headline.comparison import against_best, beside_goals, measured, results
from benchmarks.studies.headline.grids import study
from benchmarks.studies.headline.runs import DEFAULT
from flowprior.display.shown import markdown_table
from flowprior.evaluation.result import REAL_DATA
from flowprior.report.wording import number
from flowprior.study.table import Series

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
DISTANCES = {f"{name}, NFE {nfe}": (name, nfe) for name in ("fid-cnn128", "fid-lite0") for nfe in (1, 4, 15)}
"""The distances of all samples that are shown of each method: heading -> score and number of evaluations."""
FURTHER = {
    "within, cnn128": ("fid-within-cnn128", 4),
    "within, lite0": ("fid-within-lite0", 4),
    "KID, lite0": ("kid-lite0", 4),
    "accuracy": ("accuracy", 4),
    "precision": ("precision-lite0", 4),
    "recall": ("recall-lite0", 4),
    "nearest, median": ("nearest-q50", 4),
    "nearest, 5 %": ("nearest-q05", 4),
    "C2ST, training": ("c2st-training-cnn128", 4),
    "C2ST, test": ("c2st-cnn128", 4),
}
"""What is shown beside them, of which the last four tell what is remembered."""
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

    Nothing stands in brackets where one of them is not above the score of real data. The last column
    names the best baselines, that of the fewest evaluations first.
    """
    found, lines = against_best(results(data, steps=steps), metrics).set_index("nfe"), []
    for metric, own in found.groupby("metric", sort=False):
        cells = {nfe: _ratio(row) for nfe, row in own.iterrows()}
        best = ", ".join(f"`{name}`" for name in own["best"].unique())
        lines.append([metric, *(cells.get(nfe, "") for nfe in NFES), best])
    return markdown_table(["score", *_heads(NFES), "best baselines"], lines)


def _ratio(row: Series) -> str:
    above = f" ({number(row['above'])})" if min(row["default"], row["baseline"]) > row["floor"] else ""
    return number(row["ratio"]) + above


def scores(data: str, steps: int, columns: Mapping[str, tuple[str, int]]) -> str:
    """Return the means of scores of each method, the lowest in the first column first; then real data.

    Args:
        data: a name of ``[data]`` in ``headline.toml``.
        steps: of the trainings.
        columns: heading -> the score and the number of evaluations. A score that no run has is left out.
    """
    rows = results(data, steps=steps)
    real = rows["flow"] == REAL_DATA
    means = rows[~real].pivot_table(index="flow", columns=["metric", "nfe"], values="value")
    floor = rows[real].groupby("metric")["value"].mean()
    shown = {heading: place for heading, place in columns.items() if place in means}
    means, seeds = means[list(shown.values())], rows[~real].groupby("flow")["seed"].nunique()
    means = means.sort_values(means.columns[0])
    lines = [[f"`{flow}`", seeds[flow], *map(number, own)] for flow, own in means.iterrows()]
    of_real = (number(floor[metric]) if metric in floor else "" for metric, _ in shown.values())
    return markdown_table(["method", "seeds", *shown], [*lines, ["real images", "", *of_real]])


def velocities(data: str, steps: int) -> str:
    """Return the squared distances of :mod:`closed_form` on training pairs of the default, by time, or ""."""
    rows = results(data, "train", steps=steps, flow=DEFAULT)
    means = rows[rows["metric"].isin(TIMES)].pivot_table(index="metric", columns="condition", values="value")
    means = means.reindex([name for name in TIMES if name in means.index]).rename(index=TIMES)
    lines = [[name, *map(number, own)] for name, own in means.iterrows()]
    return markdown_table(["distance", *map(str, means.columns)], lines) if lines else ""


def _heads(nfes: Iterable[int]) -> list[str]:
    return [f"NFE {nfe}" for nfe in nfes]
