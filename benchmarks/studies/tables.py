"""The tables of the page of results: which rows of a study stand in each, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, reduce
from numbers import Integral
from operator import and_
from statistics import fmean
from typing import Any

import pandas

from benchmarks.studies import RESULTS, moved_source
from benchmarks.studies import restoration as restored
from flowprior.display.shown import markdown_table
from flowprior.evaluation.result import COLUMNS, REAL_DATA
from flowprior.registry import parse_spec
from flowprior.report.wording import number
from flowprior.study.table import DataFrame, Series, read_table

OURS, BASE = "default", "gaussian+condot"
FEATURES = ("fid-cnn128", "fid-lite0")
"""Fréchet distances on features of the data's own classifier, and on ImageNet features."""
SCHEDULE = "euler:grid=last,at=0.7"
"""The step schedule of the default, one for every budget and number of evaluations."""
BETWEEN = (2, 8)
"""The numbers of evaluations that are stored and not shown, so that tables are narrow."""
LEGACY = "†"
"""Behind the name of a row that rests on legacy runs."""
KID = "kid-lite0"
HELD_OUT = "crps, held-out weeks"
FAR_ENOUGH: Mapping[str, float] = {"nearest-q05": 1.0, "nearest-q50": 0.9}
"""Quantile -> the least distance from training images of samples over that of held-out images."""


@cache
def study(name: str) -> DataFrame:
    """The results of a study."""
    return read_table(RESULTS / f"{name}.csv.gz")


# -- which rows of a table -------------------------------------------------------------------------------


def runs_of(table: DataFrame) -> DataFrame:
    """Return one row for each run of a table of :func:`read_table`: its name, setting, seed and facts."""
    measured = [name for name in COLUMNS if name != "seed"]
    return table.drop(columns=measured).drop_duplicates("run").reset_index(drop=True)


def select(table: DataFrame, **where: Any) -> DataFrame:
    """Return the rows whose columns have these values; None is an empty column, a list one of its values."""
    return table[_chosen(table, where)] if where else table


def trained(table: DataFrame, metric: str, split: str = "test", **where: Any) -> DataFrame:
    """Return the values of one metric of the trained flows against one split, without real data."""
    chosen = _chosen(table, {**where, "metric": metric, "step": None})
    of_split = (table["split"] == split) | table["split"].isna()
    return table[chosen & (table["flow"] != REAL_DATA) & of_split]


def _chosen(table: DataFrame, where: Mapping[str, Any]) -> Series:
    """Return for each row whether :func:`select` takes it."""
    several = (list, tuple)
    masks = [
        table[name].isna()
        if value is None
        else table[name].isin(value if isinstance(value, several) else [value])
        for name, value in where.items()
    ]
    return reduce(and_, masks)


# -- how rows are written ---------------------------------------------------------------------------------


def shown(
    rows: DataFrame,
    index: Sequence[str],
    columns: Sequence[str] = ("nfe",),
    order: Iterable[Any] | None = None,
    *,
    costs: bool = False,
) -> str:
    """Means over runs as Markdown, beside how many seeds there are; rows of legacy runs are marked.

    Args:
        rows: values that are of one kind where ``index`` and ``columns`` are the same.
        index: columns of the table that tell the rows apart.
        columns: columns of the table whose values stand side by side.
        order: what stands side by side, from the left, without what has no value; None sorts it, texts first.
        costs: True to show the CPU seconds of fit and training, too, if those of any run are known.
    """
    rows = rows[rows["value"].notna() & ~rows["nfe"].isin(BETWEEN)]
    costs = costs and "cpu_seconds" in rows and bool(rows["cpu_seconds"].notna().any())
    own = rows.assign(place=list(zip(*(rows[name] for name in columns), strict=True)))
    places = sorted(set(own["place"]), key=lambda place: [(not isinstance(key, str), key) for key in place])
    places = places if order is None else [(key,) for key in order if (key,) in places]
    lines = []
    for names, part in own.groupby(list(index), sort=False):
        values: dict[Any, list[float]] = {"CPU seconds": list(part["cpu_seconds"].dropna()) if costs else []}
        for place, value in zip(part["place"], part["value"], strict=True):
            values.setdefault(place, []).append(value)
        said = [written(name, value) for name, value in zip(index, names, strict=True)]
        said[-1] += f" {LEGACY}" if part["legacy"].any() else ""
        means = (fmean(values[key]) if values.get(key) else None for key in ["CPU seconds"] * costs + places)
        lines.append([*said, part["seed"].nunique(), *map(number, means)])
    heads = [", ".join(map(_heading, columns, place)) for place in places]
    named = ["setting" if name == "flow" else name for name in index]
    return markdown_table([*named, "seeds", *["CPU seconds"] * costs, *heads], lines)


def written(column: str, value: Any) -> str:
    """Return what is written of a value of a column that tells the lines of a table apart."""
    if column in ("flow", "prior"):
        return f"`{value}`"
    return f"{value:,}" if isinstance(value, Integral) else str(value)


def _heading(column: str, value: Any) -> str:
    return {"nfe": "NFE {}", "step": "step {}"}.get(column, "{}").format(value)


def about(name: str) -> str:
    """The runs, the network and the budget of a study."""
    table, runs = study(name), runs_of(study(name))
    told = [f"`flowprior compare benchmarks/studies/{name}.toml`: {len(runs)} runs"]
    told += [f"`{model}`" for model in runs["model"].unique()]
    told.append(f"{_either(runs['steps'])} steps of {_either(runs['batch_size'])}")
    tested = table[table["step"].isna() & (table["split"].isna() | (table["split"] == "test"))]
    told += [f"{samples} samples" for samples in [_either(tested["samples"])] if samples]
    legacy = int(runs["legacy"].sum())
    legacy_runs = "All runs are" if legacy == len(runs) else f"{legacy} runs are"
    return f"{', '.join(told)}.{f' {legacy_runs} legacy.' if legacy else ''}"


def _either(values: Series) -> str:
    return " or ".join(f"{int(value):,}" for value in sorted(values.dropna().unique()))


def real(name: str, metric: str, split: str = "test") -> str:
    """The metric of as many real samples, mean over the runs."""
    return number(float(select(study(name), flow=REAL_DATA, metric=metric, split=split)["value"].mean()))


# -- which rows stand in a table --------------------------------------------------------------------------


def joined(parts: Iterable[DataFrame]) -> DataFrame:
    """The rows of several tables."""
    return pandas.concat([part for part in parts if len(part)], ignore_index=True)


def of(name: str, *metrics: str, split: str = "test", **where: Any) -> DataFrame:
    """The values of the trained flows of a study, by each of the metrics."""
    return joined([trained(study(name), metric, split, **where) for metric in metrics])


def options_of(data: str) -> Mapping[str, Any]:
    """The options of the spec of a data set."""
    return parse_spec(data, "data").options


def at_best(rows: DataFrame, judged: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The rows at the sampler with the least mean of ``judged``, for each of ``keys``."""
    means = judged.groupby([*keys, "sampler"])["value"].mean().reset_index()
    best = means.loc[means.groupby(list(keys))["value"].idxmin(), [*keys, "sampler"]]
    return rows.merge(best, on=[*keys, "sampler"])


def at_best_schedule(table: DataFrame, metric: str, keys: Sequence[str] = ("flow",)) -> DataFrame:
    """The test values at the step schedule that the validation split prefers at each number of evaluations.

    The default stands at its own schedule.
    """
    rows = trained(table, metric)
    rows = rows[rows["nfe"].notna() & ~rows["flow"].str.endswith(" source samples")]
    judged = select(trained(table, metric, "validation"), split="validation")
    others = at_best(rows[rows["flow"] != OURS], judged[judged["flow"] != OURS], [*keys, "nfe"])
    return joined([select(rows, flow=OURS, sampler=SCHEDULE), others])


def few_labels(*metrics: str) -> DataFrame:
    """Values at 4 evaluations by data set, labels and examples, each setting at its best step schedule.

    Two and a hundred examples, which lie between and beyond, are stored and not shown.
    The best is that of the least kernel distance of the same samples, in favour of the baselines; the default
    stands at its own.
    """
    table = study("few_labels")
    told = table["data"].map({data: _few(data) for data in table["data"].unique()})
    table = table.assign(examples=told.str[0], count=told.str[1])
    rows = joined([trained(table, metric, nfe=4) for metric in metrics])
    ours, others = select(rows, flow=OURS, sampler="last-0.7"), rows[rows["flow"] != OURS]
    judged = trained(table, "kernel-distance", nfe=4)
    found = joined([ours, at_best(others, judged, ["examples", "count", "flow"])])
    return select(found, count=[1, 5, 20]).sort_values(["examples", "count"], kind="stable")


def _few(data: str) -> tuple[str, int]:
    name, options = parse_spec(data, "data").name, options_of(data)
    which = "all labels" if options.get("alone") is None else "one label"
    return f"{name.removeprefix('few-')}, {which}", int(options["count"])


def awkward_laws() -> DataFrame:
    """Energy distances by dimension and distribution, each setting at its best step schedule."""
    table = study("awkward_laws")
    metrics = sorted(name for name in table["metric"].unique() if name.startswith("energy-"))
    rows = joined([trained(table, metric, flow=[OURS, BASE]) for metric in metrics])
    dims = rows["data"].map({data: int(options_of(data)["dim"]) for data in rows["data"].unique()})
    rows = rows.assign(dimensions=dims, distribution=rows["metric"].str.removeprefix("energy-"))
    found = at_best(rows, rows, ["dimensions", "distribution", "flow", "nfe"])
    return found.sort_values(["dimensions", "distribution", "flow"], kind="stable")


def unseen() -> DataFrame:
    """Return what samples of the label without training data are classified as, and how far they are off."""
    names = {
        "share_seen_as_9": "taken for a nine",
        "w2_squared_unseen_class": "W2² to nines",
        "w2_squared_seen_classes": "W2² to other digits",
    }
    rows = of("unseen_labels", *names, condition="9")
    return rows.assign(metric=rows["metric"].map(names))


def moved_sources() -> DataFrame:
    """Kernel distances at 15 evaluations by what moved (column ``moves``) and how far."""
    return of("moved_source", moved_source.DISTANCE, nfe=15).assign(
        moves=lambda rows: rows["sampler"].str.removeprefix("moved ")
    )


def embeddings() -> DataFrame:
    """Distances within conditions by the rows of the training split."""
    rows = of("embeddings", "sliced_w2_squared_within")
    counts = {data: int(options_of(data)["n"]) for data in rows["data"].unique()}
    return rows.assign(rows=rows["data"].map(counts)).sort_values(["rows", "flow"], kind="stable")


def emoji() -> DataFrame:
    """Kernel distances by seen and unseen captions."""
    seen, unseen = (of("emoji", KID, split=split) for split in ("test", "unseen"))
    return joined([seen.assign(captions="seen"), unseen.assign(captions="unseen")])


def emoji_at_15() -> DataFrame:
    """Captions that are found, and how near samples are to training images, at 15 evaluations."""
    columns = {
        "found, seen captions": ("caption-top5-lite0", "test"),
        "found, unseen captions": ("caption-top5-lite0", "unseen"),
        "nearest, median": ("nearest-q50", "test"),
        "nearest, 5 % quantile": ("nearest-q05", "test"),
        "copies": ("copies", "validation"),
    }
    return joined(
        [
            of("emoji", metric, split=split, nfe=15).assign(metric=name)
            for name, (metric, split) in columns.items()
        ]
    )


def retrieving_captions() -> str:
    """Return, in words, which settings' samples of captions are :func:`too_close`."""
    means = of("emoji", *FAR_ENOUGH, nfe=15).pivot_table(index="flow", columns="metric", values="value")
    return "all settings do" if too_close(means).all() else ", ".join(means.index[too_close(means)])


def too_close(means: DataFrame) -> Series:
    """Return which rows are of samples that are closer to training images than :data:`FAR_ENOUGH` asks.

    Args:
        means: a column for each of these metrics.
    """
    return (means[list(FAR_ENOUGH)] < pandas.Series(FAR_ENOUGH)).any(axis=1)


def far_enough(table: DataFrame, keys: Sequence[str]) -> DataFrame:
    """Kernel distances to held-out images at 15 evaluations, of the samplers that copy no training image.

    These are the ones whose samples are as far from training images as :data:`FAR_ENOUGH` asks.
    """
    held_out = trained(table, KID, "validation", nfe=15)
    for metric, least in FAR_ENOUGH.items():
        nearness = trained(table, metric, "validation", nfe=15)
        far = nearness.loc[nearness["value"] >= least, [*keys, "sampler"]]
        held_out = held_out.merge(far.drop_duplicates(), on=[*keys, "sampler"])
    return held_out


def emoji_sizes() -> DataFrame:
    """Kernel distances by the side of the images, each setting at the temperature that suits it."""
    table, keys = study("emoji_sizes"), ["side", "flow"]
    table = table.assign(side=table["data"].map({data: _side(data) for data in table["data"].unique()}))
    found = at_best(trained(table, KID), far_enough(table, keys), keys)
    return found.sort_values(keys, kind="stable")


def _side(data: str) -> int:
    """Pixels of a side: the number at the end of the file's name, or 32 of the images in the package."""
    found = re.search(r"-(\d+)\.npz$", str(options_of(data).get("path", "")))
    return int(found.group(1)) if found else 32


def restoration() -> DataFrame:
    """Distances at the best step schedule, and CRPS with equal steps, by task.

    The mean of the learned prior costs what the fit took of the seconds of its run.
    """
    table = study("restoration")
    hidden = table["data"].str.contains("task=inpainting")
    table = table.assign(task=hidden.map({True: "inpainting", False: "super-resolution"}))
    if "cpu_seconds" in table:
        fit = table["cpu_seconds"] * table["prior_fit_seconds"] / table["seconds"]
        table["cpu_seconds"] = table["cpu_seconds"].where(table["flow"] != restored.MEAN, fit)
    parts = [at_best_schedule(table, metric, ("task", "flow")) for metric in FEATURES]
    plain = [trained(table, metric, nfe=None) for metric in (*FEATURES, "crps")]
    rows = _evaluations(joined([*parts, *plain, trained(table, "crps", sampler="euler")]), "nfe")
    return rows.sort_values(["task", "metric", "flow"], kind="stable")


def forecasting() -> DataFrame:
    """Scores of the forecasts, and the CRPS of held-out weeks, by the number of evaluations."""
    held_out = select(trained(study("forecasting"), "crps", "validation"), split="validation")
    scores = of("forecasting", "crps", "energy_score", "coverage_50", "coverage_90")
    rows = joined([scores, held_out.assign(metric=HELD_OUT)])
    return _evaluations(rows[rows["nfe"].isna() | rows["nfe"].isin([0, 1, 4, 15, 30])], "evaluations")


def _evaluations(rows: DataFrame, column: str) -> DataFrame:
    """Add a column of numbers of evaluations, "none" for what has no flow."""
    return rows.assign(**{column: rows["nfe"].astype(object).where(rows["nfe"].notna(), "none")})


def one_evaluation() -> DataFrame:
    """The default and a flow of average velocities, whose steps take longer and are fewer."""
    plain = of("fashion_mnist", *FEATURES, flow=OURS, sampler=SCHEDULE)
    rows = joined([plain, of("one_evaluation", *FEATURES)])
    return rows.query("nfe > 0").sort_values("metric", kind="stable")


def warm_start() -> DataFrame:
    """Distances at 4 evaluations on the way, from random weights and from those of a base."""
    where = {"flow": [OURS, BASE], "split": "test", "nfe": 4, "step": [100, 200, 500, 1000]}
    return (
        select(study("warm_start"), metric=list(FEATURES), **where)
        .sort_values("metric", kind="stable")
        .assign(weights=lambda rows: rows["init"].notna().map({True: "of a base", False: "random"}))
    )


def components() -> DataFrame:
    """Return the values of mixtures on digits, by their number of components."""
    rows = of("component_counts", "log_density", "memorisation", data="digits").astype({"components": int})
    return rows.sort_values("components", kind="stable")


def component_losses() -> Series:
    """Nats a dimension lost with half, as many and twice as many components as there are modes, means."""
    rows = select(study("component_counts"), data="known-modes")
    rows = rows[rows["metric"].str.startswith("loss-") & (rows["modes"] > 1)]
    return rows.groupby("metric")["value"].mean()


def overhead() -> str:
    """Seconds and MiB of fits by prior and size; what was not done says why."""
    table = study("overhead")
    size = (
        table["conditions"]
        .map("{:,} conditions".format)
        .where(table["axis"] == "conditions", table["dims"].map("{:,} numbers".format))
    )
    sizes = ["100 conditions", "10,000 conditions", "100,000 conditions", "3,072 numbers", "12,288 numbers"]
    lines = []
    for spec, own in table.assign(size=size).groupby("spec", sort=False):
        mark = f" {LEGACY}" if own["legacy"].any() else ""
        lines.append([f"`{spec}`{mark}", *(_cost(own[own["size"] == place]) for place in sizes)])
    return markdown_table(["prior", *sizes], lines)


def _cost(rows: DataFrame) -> str:
    values = rows.groupby("metric")["value"].first()
    if "fit_seconds" not in values:
        return str(rows["failed"].iloc[0]).partition(":")[0]
    return f"{number(values['fit_seconds'])} s, {number(values['fit_peak_bytes'] / 2**20)} MiB"
