"""The tables of the headline study, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.studies.headline.comparison import against_best, beside_goals, measured, results
from benchmarks.studies.headline.runs import DEFAULT
from benchmarks.studies.tables import FAR_ENOUGH, FEATURES, too_close, written
from flowprior.display.shown import markdown_table
from flowprior.evaluation.result import REAL_DATA
from flowprior.report.wording import number
from flowprior.study.table import DataFrame, Series

NFES = (1, 2, 4, 8, 15, 30)
RATIOS = (1, 4, 15)
"""The numbers of evaluations at which distances are shown."""
LOWER = (
    *FEATURES,
    "fid-within-cnn128",
    "fid-within-lite0",
    "kid-cnn128",
    "kid-lite0",
    "w2_squared",
)
"""The scores of which less is better."""
DISTANCES = {f"{name}, NFE {nfe}": (name, nfe) for name in FEATURES for nfe in RATIOS}
"""The distances of all samples that are shown of each method: heading -> score and number of evaluations."""
FURTHER = {
    "cnn128": ("fid-cnn128", 4),
    "lite0": ("fid-lite0", 4),
    "within, cnn128": ("fid-within-cnn128", 4),
    "within, lite0": ("fid-within-lite0", 4),
    "KID, lite0": ("kid-lite0", 4),
    "± of its subsets": ("kid-lite0-std", 4),
    "accuracy": ("accuracy", 4),
    "precision": ("precision-lite0", 4),
    "recall": ("recall-lite0", 4),
    "nearest, median": ("nearest-q50", 4),
    "nearest, 5 %": ("nearest-q05", 4),
    "C2ST, training": ("c2st-training-cnn128", 4),
    "C2ST, test": ("c2st-cnn128", 4),
}
"""What is shown of the default and the best baselines; the last four tell what is remembered."""
CLOSED_FORM = "velocity-distance-closed-form"
"""The squared distance of the velocity from the one that reproduces the training set."""
MOMENTS = ("0.05", "0.2", "0.5", "0.9")
"""The times at which it is shown."""


def goals() -> str:
    """Return the ratios on Fashion-MNIST, each before the one that was aimed at."""
    cells = {
        (row.steps, row.metric, row.nfe): f"{number(row.ratio)} ({number(row.goal)})"
        for row in beside_goals().itertuples()
    }
    lines = [
        [f"{steps:,}", metric, *(cells.get((steps, metric, nfe), "") for nfe in NFES)]
        for steps, metric in dict.fromkeys((steps, metric) for steps, metric, _ in cells)
    ]
    return markdown_table(["steps", "score", *(f"NFE {nfe}" for nfe in NFES)], lines)


def ratios() -> str:
    """Return the default's scores over the best baseline's: at 4 evaluations, and where the ratio is largest.

    Behind ± stands the standard deviation over seeds, if there are several. In brackets stands the ratio of
    what is above the score of real data. Only Fréchet distances have it, as the floor of a kernel distance is
    0, and only where the scores of both methods are above it.
    """
    lines = []
    for data, steps in measured():
        found = against_best(results(data, steps=steps), LOWER).query("nfe > 0")
        largest = found.loc[found.groupby("metric")["ratio"].idxmax()]
        for place, chosen in (("4", found.query("nfe == 4")), ("largest", largest)):
            at = chosen.set_index("metric").loc
            cells = (_ratio(at[metric], metric.startswith("fid")) for metric in LOWER)
            lines.append([data, f"{steps:,}", place, *cells])
    return markdown_table(["data set", "steps", "NFE", *LOWER], lines)


def _ratio(row: Series, with_floor: bool) -> str:
    spread = f"±{row['spread']:.2f}" if row["spread"] > 0 else ""
    is_above = with_floor and min(row["default"], row["baseline"]) > row["floor"]
    return f"{row['ratio']:.2f}{spread}" + (f" ({row['above']:.2f})" if is_above else "")


def scores(rows: DataFrame, columns: Mapping[str, tuple[str, int]], keys: Sequence[str] = ("flow",)) -> str:
    """Return the means of scores, the lowest in the first column first, beside CPU seconds; then real data.

    Args:
        rows: of :func:`results`.
        columns: heading -> the score and the number of evaluations.
        keys: the columns of ``rows`` that tell the lines of the table apart.
    """
    named = ("method" if key == "flow" else key for key in keys)
    return markdown_table([*named, "seeds", "CPU seconds", *columns], _lines(rows, columns, keys))


def _lines(rows: DataFrame, columns: Mapping[str, tuple[str, int]], keys: Sequence[str]) -> list[list[Any]]:
    """Return the lines of :func:`scores`."""
    real, index, places = rows["flow"] == REAL_DATA, list(keys), list(columns.values())
    means = rows[~real].pivot_table(index=index, columns=["metric", "nfe"], values="value")
    floor = rows[real].groupby("metric")["value"].mean()
    means = means.reindex(columns=places).sort_values([*index[: index.index("flow")], places[0]])
    means = means.astype(object).where(means.notna(), None)
    facts, lines = rows[~real].groupby(index).agg({"seed": "nunique", "cpu_seconds": "mean"}), []
    for key, own in means.iterrows():
        names = [written(*pair) for pair in zip(keys, key if isinstance(key, tuple) else (key,), strict=True)]
        lines.append(
            [*names, int(facts.loc[key, "seed"]), *map(number, (facts.loc[key, "cpu_seconds"], *own))]
        )
    of_real = (number(floor[metric]) if metric in floor else "" for metric, _ in places)
    return lines + ([["real images", *[""] * (len(index) + 1), *of_real]] if real.any() else [])


def further() -> str:
    """Return further scores of the default and the baselines with the lowest distances, at 4 evaluations.

    Those of real images stand once a data set, below its longest trainings.
    """
    lines, last = [], dict(measured())
    for data, steps in measured():
        rows = results(data, steps=steps)
        shown = [DEFAULT, *against_best(rows, FEATURES).query("nfe == 4")["best"]]
        shown += [REAL_DATA] if steps == last[data] else []
        chosen = rows[rows["flow"].isin(shown)]
        lines += [
            [data, f"{steps:,}", flow, seconds, *own]
            for flow, _, seconds, *own in _lines(chosen, FURTHER, ["flow"])
        ]
    return markdown_table(["data set", "steps", "method", "CPU seconds", *FURTHER], lines)


def overview() -> str:
    """Return the ratios of the default's distances to the best baseline's on every data set.

    The last columns have the distance at 2 evaluations over that of the best baseline at 30, and the numbers
    in the default's prior over those in its network.
    """
    lines = []
    for data, steps in measured():
        rows = results(data, steps=steps)
        found = against_best(rows, FEATURES).set_index(["metric", "nfe"])
        ratios = [_ratio(found.loc[place], with_floor=False) for place in DISTANCES.values()]
        ratios += [f"{found['default'][name, 2] / found['baseline'][name, 30]:.2f}" for name in FEATURES]
        size = (rows["prior_numbers"] / rows["parameters"])[rows["flow"] == DEFAULT].mean()
        lines.append([data, f"{steps:,}", found["seeds"].iloc[0], *ratios, number(size)])
    few = (f"{name}, 2 to 30" for name in FEATURES)
    return markdown_table(["data set", "steps", "seeds", *DISTANCES, *few, "prior to network"], lines)


def retrieving(*flows: str) -> str:
    """Return, in words, which methods' samples are :func:`too_close`, and at how many evaluations.

    Args:
        flows: the methods that are looked at; all if none is named.
    """
    told = []
    for data, steps in measured():
        rows = results(data, steps=steps)
        rows = rows[rows["metric"].isin(FAR_ENOUGH) & (rows["nfe"] > 0)]
        means = rows.groupby(["flow", "nfe", "metric"])["value"].mean().unstack()
        close = means.index[too_close(means)].to_frame().groupby(level="flow")["nfe"]
        told += [
            f"`{flow}` on {data} ({steps:,} steps, NFE {' and '.join(f'{nfe:g}' for nfe in nfes)})"
            for flow, nfes in close
            if flow in (flows or [flow])
        ]
    return ", ".join(told) or "none"


def at_chosen(data: str, metrics: Iterable[str], **where: Any) -> DataFrame:
    """Return the test rows of each method's sampler and guidance of the lowest mean log score.

    Args:
        data: a name of ``[data]`` in ``headline.toml``.
        metrics: the scores of held-out images by which sampler and guidance are chosen.
        where: what :func:`results` takes.
    """
    how, judged = ["flow", "sampler", "guidance"], results(data, "validation", **where)
    judged = judged[judged["metric"].isin(list(metrics)) & (judged["nfe"] > 0)]
    score = judged.assign(value=judged["value"].map(math.log)).groupby(how)["value"].mean()
    best = score.loc[score.groupby("flow").idxmin()].index.to_frame(index=False)
    return results(data, **where).merge(best)


def velocities() -> str:
    """Return the distance :data:`CLOSED_FORM` on training pairs of the default, by time."""
    lines = []
    for data, steps in measured():
        rows = results(data, "train", steps=steps, flow=DEFAULT, metric=CLOSED_FORM)
        if len(means := rows.groupby("condition")["value"].mean()):
            lines.append([data, f"{steps:,}", *map(number, means[list(MOMENTS)])])
    return markdown_table(["data set", "steps", *(f"t = {time}" for time in MOMENTS)], lines)
