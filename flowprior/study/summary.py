"""From the long table to the tables of the report: spreads, tests, costs, convergence."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from operator import itemgetter
from typing import Any

from flowprior.errors import OptionError
from flowprior.evaluation.result import ADAPTIVE, COLUMNS, REAL_DATA, SECONDS, worse_than_prior
from flowprior.storage.writing import only_finite
from flowprior.study.folders import MACHINE, Collection
from flowprior.study.records import FORMAT
from flowprior.study.runs import find_baseline, skipped_of
from flowprior.study.statistics import grouped, paired_test, spread
from flowprior.study.table import DataFrame

OWN_NFE = math.inf
"""Stands for the number of evaluations that an adaptive sampler chooses itself; comes after every number."""
COSTS = ("prior_fit_seconds", "prior_bytes", "seconds_per_step", "transport_cost", "transport_cost_unpaired")
"""Keys of a result file's ``run`` that are averaged over seeds."""
SETTINGS = ("reference", "classifier", "features", "classifier_accuracy", "flowprior", "torch", "device")
VALIDATION = "validation"
Rows = list[dict[str, Any]]
Metrics = dict[str, dict[str, Any]]


def summarise(collection: Collection) -> dict[str, Any]:
    """What report.json holds: the long table and every table of the report, as plain values."""
    return {
        "format": FORMAT,
        "grid": collection.grid,
        "samplers": collection.samplers,
        "rows": only_finite(list(collection.rows())),
        **tables_of(collection),
        "skipped": skipped_of(collection.variants),
        "failed": [
            {"variant": label, "seed": seed, "error": error}
            for (label, seed), error in collection.failures.items()
        ],
        "waiting": [{"variant": label, "seed": seed} for label, seed in collection.waiting],
        "settings": settings_of(collection),
    }


def tables_of(collection: Collection) -> dict[str, Any]:
    """What is derived from the long table: metrics, spreads and tests, the best, convergence, costs."""
    table = long_table(collection)
    baseline = find_baseline(collection.variants, collection.grid["baseline"])
    of_flows = table[(table["flow"] != REAL_DATA) & table["condition"].isna()]
    trained, curve = of_flows[of_flows["step"].isna()], of_flows[of_flows["step"].notna()]
    samples, flows = trained[trained["nfe"].notna()], trained[trained["nfe"].isna()]
    flows = flows[~flows["metric"].isin(COSTS)]
    metrics, flow_metrics = (metrics_of(collection, table, part) for part in (samples, flows))

    def rows(part: DataFrame, about: Metrics) -> Rows:
        return rows_of(part, about, baseline, collection)

    quality = rows(samples[_is_tested(samples)], metrics)
    on_the_way = rows(curve[_is_tested(curve)], metrics)
    return {
        "baseline": baseline,
        "metric": headline_of(collection, metrics),
        "metrics": metrics,
        "variants": variants_of(collection, baseline),
        "quality": quality,
        "validation": rows(samples[samples["split"] == VALIDATION], metrics),
        "references": {
            name: {
                "data": spec,
                "quality": rows(samples[samples["split"] == name], metrics),
                "real_data_score": _real_scores(table[table["split"] == name]),
            }
            for name, spec in collection.grid.get("references", {}).items()
        },
        "best": best_of(quality, metrics),
        "worse_than_prior": losses_of(quality, metrics),
        "flow_metrics": flow_metrics,
        "flow": rows(flows, flow_metrics),
        "curve": on_the_way,
        "convergence": convergence_of(on_the_way, metrics, baseline),
        "costs": costs_of(collection, rows(samples, {SECONDS: {"better": ""}})),
    }


def long_table(collection: Collection) -> DataFrame:
    """The rows of all runs that have a value, as a data frame; ``place`` is NFE (adaptive: infinite)."""
    import pandas

    table: DataFrame = pandas.DataFrame(collection.rows(), columns=pandas.Index(COLUMNS))
    table = table[table["value"].notna()].astype({"step": float, "nfe": float})
    own = (table["grid"] == ADAPTIVE) & (table["nfe"] > 0)
    return table.assign(place=table["nfe"].mask(own, OWN_NFE))


def metrics_of(collection: Collection, table: DataFrame, part: DataFrame) -> Metrics:
    """Describe each metric of ``part``, with its score of real data, the mean over all runs."""
    there = set(part["metric"]) - {SECONDS}
    scores = _real_scores(table[_is_tested(table)])
    empty = {"description": "", "samples": collection.grid["samples"], "reference": "", "better": ""}
    described = [result["metrics"] for _, _, result in collection.runs()]
    infos = ChainMap(*described)  # As the first run that has it describes it.
    names = dict.fromkeys([*chain.from_iterable(described), *sorted(there)])
    return {
        name: {**infos.get(name, empty), "real_data_score": scores.get(name)}
        for name in names
        if name in there
    }


def _is_tested(table: DataFrame) -> Any:
    """Which rows are about the test split of the grid's own data, or about no split."""
    return table["split"].isin(["test"]) | table["split"].isna()


def _real_scores(table: DataFrame) -> dict[str, float]:
    """Real-data score of each metric, the mean over all runs."""
    real = table[table["flow"] == REAL_DATA].groupby("metric")["value"]
    return {str(metric): spread(values.tolist()).mean for metric, values in real}


def headline_of(collection: Collection, metrics: Metrics) -> str | None:
    """The metric that the summary is about; None where there is no result yet."""
    wanted = collection.grid["metric"]
    ranked = [name for name in metrics if metrics[name]["better"]]
    frechet = [name for name in ranked if name.startswith("fid-")]
    if not ranked:
        return None
    if not wanted or (wanted == "fid" and frechet):
        return (frechet or ranked)[0]
    if wanted not in ranked:
        raise OptionError(f"compare: metric='{wanted}' was not measured; choose of {', '.join(ranked)}")
    return wanted


def variants_of(collection: Collection, baseline: str) -> Rows:
    """What each variant is, with the seeds that have a result."""
    names = ("label", "labels", "prior", "coupling", "path", "prediction", "skipped")
    done = collection.results
    return [
        {
            **{name: variant[name] for name in names},
            "baseline": variant["label"] == baseline,
            "cells": [{**run, "done": run["seed"] in done[variant["label"]]} for run in variant["cells"]],
        }
        for variant in collection.variants
    ]


def rows_of(part: DataFrame, metrics: Metrics, baseline: str, collection: Collection) -> Rows:
    """One row for each metric, place and variant: values by seed, spread, test against the baseline."""
    import pandas

    orders = {"metric": list(metrics), "sampler": list(collection.samplers), "flow": collection.labels}
    part = part[part["metric"].isin(orders["metric"])].sort_values("seed", kind="stable")
    part = part.fillna({"step": -1, "place": 0, "sampler": orders["sampler"][0]})
    part = part.assign(**{name: pandas.Categorical(part[name], order) for name, order in orders.items()})
    groups = list(part.groupby(["metric", "sampler", "place", "step", "flow"], observed=True))
    by_seed = {at: dict(zip(own["seed"].tolist(), own["value"].tolist(), strict=True)) for at, own in groups}
    found = []
    for (metric, sampler, place, step, label), own in groups:
        ours = by_seed[metric, sampler, place, step, label]
        theirs = {} if label == baseline else by_seed.get((metric, sampler, place, step, baseline), {})
        test = paired_test(ours, theirs, metrics[metric]["better"] or "lower")
        adaptive = bool(place == OWN_NFE)
        row = {
            "metric": metric,
            "sampler": sampler,
            "nfe": spread(own["nfe"].tolist()).mean if adaptive else int(place),
            "adaptive": adaptive,
            "step": collection.grid["training"]["steps"] if step < 0 else int(step),
            "variant": label,
            "by_seed": {str(seed): value for seed, value in ours.items()},
            **asdict(spread(list(ours.values()))),
            "against_baseline": None if test is None else asdict(test),
        }
        found.append(row)
    return found


def best_of(rows: Rows, metrics: Metrics) -> Rows:
    """The variant with the best mean for each metric, sampler and NFE; NFE 0 is of priors, not of flows."""
    names = ("metric", "sampler", "nfe", "adaptive", "variant", "mean", "std", "n", "against_baseline")
    rows = [row | {"place": OWN_NFE if row["adaptive"] else row["nfe"]} for row in rows if row["nfe"]]
    best = []
    for (metric, *_), group in grouped(rows, itemgetter("metric", "sampler", "place")).items():
        if sign := sign_of(metrics[metric]):
            row = min(group, key=lambda row: sign * row["mean"])
            best.append({name: row[name] for name in names} | {"candidates": len(group)})
    return best


def sign_of(about: dict[str, Any]) -> int:
    """1 where lower is better, -1 where higher is, 0 where neither is."""
    return {"lower": 1, "higher": -1}.get(about["better"], 0)


def losses_of(rows: Rows, metrics: Metrics) -> Rows:
    """Where a flow is worse than its own prior alone: metric, sampler, variant, and the NFE where it is."""
    groups = grouped(rows, itemgetter("metric", "sampler", "variant"))
    return [
        {"metric": metric, "sampler": sampler, "variant": variant, "nfe": worse}
        for (metric, sampler, variant), own in groups.items()
        if (worse := worse_than_prior({row["nfe"]: row["mean"] for row in own}, metrics[metric]["better"]))
    ]


def convergence_of(curve: Rows, metrics: Metrics, baseline: str) -> Rows:
    """Steps of the curve at which each variant's mean first reaches the baseline's last one, at each NFE.

    None where it never does.
    """
    found = []
    for (metric, nfe), own in grouped(curve, itemgetter("metric", "nfe")).items():
        sign, last = sign_of(metrics[metric]), max(row["step"] for row in own)
        target = next((r["mean"] for r in own if r["variant"] == baseline and r["step"] == last), None)
        if sign and target is not None:
            steps: dict[str, int | None] = {row["variant"]: None for row in own}
            for row in sorted(own, key=lambda row: -row["step"]):
                if sign * row["mean"] <= sign * target:
                    steps[row["variant"]] = row["step"]
            found.append({"metric": metric, "nfe": nfe, "target": target, "budget": last, "steps": steps})
    return found


def costs_of(collection: Collection, seconds: Rows) -> Rows:
    """Means over seeds of what each variant costs, and its seconds of sampling for 1,000 samples."""
    thousands = collection.grid["samples"] / 1000
    costs = []
    for label in collection.labels:
        runs = [result["run"] for result in collection.results[label].values()]
        values = {name: [run[name] for run in runs if run.get(name) is not None] for name in COSTS}
        sampling = [
            {name: row[name] for name in ("sampler", "nfe", "adaptive")}
            | {"seconds_per_1000": row["mean"] / thousands}
            for row in seconds
            if row["variant"] == label
        ]
        means = {name: spread(found).mean if found else None for name, found in values.items()}
        costs.append({"variant": label, **means, "sampling": sampling})
    return costs


def settings_of(collection: Collection) -> dict[str, Any]:
    """Return what all runs share, and the values of each setting in which they differ but should not."""
    runs = [result["run"] for _, _, result in collection.runs()]
    asked = [one for run in runs for one in run["evaluations"] if one["step"] is None]
    settings = [one["settings"] for one in asked]
    return {
        "parameters": _distinct(run["parameters"] for run in runs),
        "machine": {name: _distinct(run[name] for run in runs) for name in MACHINE} if runs else {},
        "evaluation": {name: _distinct(one[name] for one in settings if name in one) for name in SETTINGS},
        "notes": _distinct(note for one in asked for note in one["notes"]),
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in order; lists one by one, None and empty ones not at all."""
    flat = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(value for value in flat if value is not None))
