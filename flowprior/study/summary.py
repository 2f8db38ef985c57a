"""Summary of a study: what its report, its tables and its figures show, from the long table of its values.

Designs are compared by two-sided paired tests. Two of them that were trained with the same seed share initial
weights, data order, times and conditions, so their values are compared seed by seed. n seeds cannot give less
than p = 2/2ⁿ by the exact sign-flip test.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from flowprior.errors import OptionError
from flowprior.evaluation.result import REAL_DATA, SECONDS
from flowprior.evaluation.summary import SIGNS, grouped, losses_of, means_over_seeds, place_of, spread
from flowprior.storage.writing import only_finite
from flowprior.study.folders import MACHINE, Collection
from flowprior.study.records import FORMAT
from flowprior.study.runs import find_baseline, skipped_of

COSTS = ("prior_fit_seconds", "prior_bytes", "seconds_per_step", "transport_cost", "transport_cost_unpaired")
"""The keys of a result file's ``run`` that are averaged over seeds."""
KEPT = ("metric", "variant", "guidance", "adaptive", "by_seed", "n", "mean", "std")
"""The keys of a row of a summary that the report keeps as they are."""
SETTINGS = ("reference", "classifier", "features", "classifier_accuracy", "flowprior", "torch", "device")
VALIDATION = "validation"
OWN = ("test", None)
"""The splits of values about the test split of the grid's own data, or about none."""
LEVEL = 0.05
"""The level of significance of the tests."""
Rows = list[dict[str, Any]]
Metrics = dict[str, dict[str, Any]]


def summarise(collection: Collection) -> dict[str, Any]:
    """Return what report.json holds: the long table and every table of the report, as plain values."""
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
    """Return what follows from the long table: metrics, spreads and tests, the best, convergence, costs."""
    table = list(collection.rows())
    baseline = find_baseline(collection.variants, collection.grid["baseline"])
    means = means_over_seeds(row for row in table if row["flow"] != REAL_DATA and row["condition"] is None)
    trained = [row for row in means if row["step"] is None]
    samples = [row for row in trained if row["nfe"] is not None]
    flows = [row for row in trained if row["nfe"] is None and row["metric"] not in COSTS]
    metrics, flow_metrics = (metrics_of(collection, table, part) for part in (samples, flows))

    def rows(part: Rows, about: Metrics = metrics, splits: tuple[str | None, ...] = OWN) -> Rows:
        kept = [row for row in part if row["split"] in splits]
        return rows_of(kept, about, baseline, collection)

    quality = rows(samples)
    on_the_way = rows([row for row in means if row["step"] is not None])
    return {
        "baseline": baseline,
        "metric": headline_of(collection, metrics),
        "metrics": metrics,
        "variants": variants_of(collection, baseline),
        "quality": quality,
        "validation": rows(samples, splits=(VALIDATION,)),
        "references": {
            name: {
                "data": spec,
                "quality": rows(samples, splits=(name,)),
                "real_data_score": _real_scores(table, (name,)),
            }
            for name, spec in collection.grid.get("references", {}).items()
        },
        "best": best_of(quality, metrics),
        "worse_than_prior": losses_of(quality, {name: about["better"] for name, about in metrics.items()}),
        "flow_metrics": flow_metrics,
        "flow": rows(flows, flow_metrics),
        "curve": on_the_way,
        "convergence": convergence_of(on_the_way, metrics, baseline),
        "costs": costs_of(collection, rows(samples, {SECONDS: {"better": ""}})),
    }


def metrics_of(collection: Collection, table: Rows, part: Rows) -> Metrics:
    """Return what each metric of ``part`` is, with its score of real data, the mean over all runs."""
    there = {row["metric"] for row in part} - {SECONDS}
    scores = _real_scores(table, OWN)
    empty = {"description": "", "samples": collection.grid["samples"], "reference": "", "better": ""}
    described = [result["metrics"] for _, _, result in collection.runs()]
    infos = ChainMap(*described)  # As the first run that has it describes it.
    names = dict.fromkeys([*chain.from_iterable(described), *sorted(there)])
    return {
        name: {**infos.get(name, empty), "real_data_score": scores.get(name)}
        for name in names
        if name in there
    }


def _real_scores(table: Rows, splits: tuple[str | None, ...]) -> dict[str, float]:
    """Return the real-data score of each metric against these splits, the mean over all runs."""
    kept = (row for row in table if row["flow"] == REAL_DATA and row["split"] in splits)
    own = grouped((row for row in kept if row["value"] is not None), itemgetter("metric"))
    return {metric: spread([row["value"] for row in rows]).mean for metric, rows in own.items()}


def headline_of(collection: Collection, metrics: Metrics) -> str | None:
    """Return the metric that the summary is about; None where there is no result yet."""
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
    """Return what each variant is, with the seeds that have a result."""
    names = ("label", "prior", "coupling", "path", "prediction", "skipped")
    done = collection.results
    return [
        {
            **{name: variant[name] for name in names},
            "baseline": variant["label"] == baseline,
            "cells": [{**run, "done": run["seed"] in done[variant["label"]]} for run in variant["cells"]],
        }
        for variant in collection.variants
    ]


def rows_of(part: Rows, metrics: Metrics, baseline: str, collection: Collection) -> Rows:
    """Return rows of a summary in the order of the report, each with its test against the baseline."""
    names, samplers, labels = list(metrics), list(collection.samplers), collection.labels
    steps, found = collection.grid["training"]["steps"], {}
    for row in part:
        sampler, step = row["sampler"] or samplers[0], -1 if row["step"] is None else row["step"]
        if row["metric"] in names and sampler in samplers and row["variant"] in labels:
            at = names.index(row["metric"]), samplers.index(sampler), place_of(row) or 0, step
            found[*at, labels.index(row["variant"])] = {
                **{name: row[name] for name in KEPT},
                "sampler": sampler,
                "nfe": row["nfe"] or 0,
                "step": steps if row["step"] is None else row["step"],
            }
    against = labels.index(baseline) if baseline in labels else -1
    for place, row in found.items():
        other = found.get((*place[:-1], against)) if place[-1] != against else None
        better = metrics[row["metric"]]["better"] or "lower"
        test = other and paired_test(row["by_seed"], other["by_seed"], better)
        row["against_baseline"] = asdict(test) if test else None
    return [found[place] | {"by_seed": _named(found[place]["by_seed"])} for place in sorted(found)]


def _named(by_seed: Mapping[int, float]) -> dict[str, float]:
    """Return values by the names of their seeds, as JSON has them."""
    return {str(seed): by_seed[seed] for seed in sorted(by_seed)}


def best_of(rows: Rows, metrics: Metrics) -> Rows:
    """Return the variant with the best mean for each metric, sampler and NFE; priors alone do not count."""
    names = ("metric", "sampler", "nfe", "adaptive", "variant", "mean", "std", "n", "against_baseline")
    groups = grouped(
        (row for row in rows if row["nfe"]), lambda row: (row["metric"], row["sampler"], place_of(row))
    )
    best = []
    for (metric, *_), group in groups.items():
        if sign := SIGNS[metrics[metric]["better"]]:
            row = min(group, key=lambda row: sign * row["mean"])
            best.append({name: row[name] for name in names} | {"candidates": len(group)})
    return best


def convergence_of(curve: Rows, metrics: Metrics, baseline: str) -> Rows:
    """Return the first step at which each variant's mean reaches the last one of the baseline, at each NFE.

    None where it never does.
    """
    found = []
    for (metric, nfe), own in grouped(curve, itemgetter("metric", "nfe")).items():
        sign, last = SIGNS[metrics[metric]["better"]], max(row["step"] for row in own)
        target = next((r["mean"] for r in own if r["variant"] == baseline and r["step"] == last), None)
        if sign and target is not None:
            steps: dict[str, int | None] = {row["variant"]: None for row in own}
            for row in sorted(own, key=lambda row: -row["step"]):
                if sign * row["mean"] <= sign * target:
                    steps[row["variant"]] = row["step"]
            found.append({"metric": metric, "nfe": nfe, "target": target, "budget": last, "steps": steps})
    return found


def costs_of(collection: Collection, seconds: Rows) -> Rows:
    """Return means over seeds of what each variant costs, and its seconds of sampling for 1,000 samples."""
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
    evaluations = [one for run in runs for one in run["evaluations"] if one["step"] is None]
    settings = [one["settings"] for one in evaluations]
    return {
        "parameters": _distinct(run["parameters"] for run in runs),
        "machine": {name: _distinct(run.get(name) for run in runs) for name in MACHINE} if runs else {},
        "evaluation": {name: _distinct(one[name] for one in settings if name in one) for name in SETTINGS},
        "notes": _distinct(note for one in evaluations for note in one["notes"]),
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, in order; lists one by one, None and empty ones not at all."""
    flat = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(value for value in flat if value is not None))


@dataclass(frozen=True)
class PairedTest:
    """One design against another, seed by seed.

    Attributes:
        n: seeds that both have.
        difference: mean of (design − other).
        ratio: mean of the design over mean of the other; None where that is zero.
        wins: seeds in which the design is better.
        smallest_p: least p that the sign-flip test can give with n seeds; None below two.
        p_sign_flip: of the exact sign-flip test, two-sided; None below two seeds.
        p_t: of the paired t-test, two-sided; None below three seeds or where all differences are equal.
        verdict: ``"better"``, ``"worse"``, ``"no difference shown"``, or ``"too few seeds"``.
    """

    n: int
    difference: float
    ratio: float | None
    wins: int
    smallest_p: float | None
    p_sign_flip: float | None
    p_t: float | None
    verdict: str


def paired_test(
    ours: Mapping[int, float], theirs: Mapping[int, float], better: str = "lower"
) -> PairedTest | None:
    """Compare two designs over the seeds that both have; None where they have none in common.

    Args:
        ours: seed -> value of the design.
        theirs: seed -> value of the one it is compared with.
        better: ``"lower"`` or ``"higher"``.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    first, second = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    sign, mean, base = -1 if better == "lower" else 1, math.fsum(differences) / len(seeds), math.fsum(second)
    p = sign_flip_p(differences)
    least = 2 / 2 ** len(seeds) if len(seeds) > 1 else None
    return PairedTest(
        n=len(seeds),
        difference=mean,
        ratio=math.fsum(first) / base if base else None,
        wins=sum(sign * difference > 0 for difference in differences),
        smallest_p=least,
        p_sign_flip=p,
        p_t=paired_t_p(first, second),
        verdict=_verdict(p, least, sign * mean),
    )


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return p of the two-sided test that differences are distributed symmetrically about 0; None below two.

    Exact for up to 16 differences, from 100,000 random signs beyond (Fisher 1935; Good 2005, ch. 3).
    """
    from scipy.stats import permutation_test

    if len(differences) < 2:
        return None
    kind = {"permutation_type": "samples", "vectorized": True, "n_resamples": 100_000, "random_state": 0}
    return float(permutation_test((differences,), np.sum, **kind).pvalue)


def paired_t_p(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Return p of the two-sided paired t-test; None below three pairs or where all differences are equal."""
    from scipy.stats import ttest_rel

    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(differences) < 3 or not spread(differences).std:
        return None
    return float(ttest_rel(ours, theirs).pvalue)


def _verdict(p: float | None, least: float | None, gain: float) -> str:
    if p is None or least is None or least > LEVEL:
        return "too few seeds"
    if p > LEVEL:
        return "no difference shown"
    return "better" if gain > 0 else "worse"
