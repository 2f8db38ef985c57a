"""Summary of a study: what its report, its tables and its figures show, from the long table of its values.

Designs are compared by the two-sided sign-flip test. Two of them that were trained with the same seed share
initial weights, data order, times and conditions, so their values are compared seed by seed. n seeds cannot
give less than p = 2/2ⁿ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from flowprior.errors import OptionError
from flowprior.evaluation.result import REAL_DATA
from flowprior.evaluation.summary import (
    SIGNS,
    frechet_names,
    grouped,
    losses_of,
    means_over_seeds,
    place_of,
    spread,
)
from flowprior.metrics.base import MetricInfo
from flowprior.study.folder import COSTS, Study
from flowprior.study.runs import Plan

MACHINE = ("version", "commit", "torch", "device", "device_name", "threads")
"""The facts of a run that describe where it ran."""
KEPT = ("metric", "variant", "sampler", "nfe", "step", "guidance", "adaptive", "n", "mean", "std")
"""The keys of a row of means that a summary keeps as they are."""
Rows = list[dict[str, Any]]


def summarise(study: Study) -> dict[str, Any]:
    """Return what report.json holds: every table of the report, as plain values.

    ``quality`` has the values of samples against the first split of the grid, which is the test split unless
    it names others alone, ``splits`` those against each other one, ``flow`` those that no sampler changes,
    ``curve`` those after some of the steps.
    """
    plan, table, own = study.plan, list(study.rows()), study.plan.grid.splits[0]
    metrics = metrics_of(study, table)
    means = means_over_seeds(row for row in table if row["flow"] != REAL_DATA and row["condition"] is None)
    trained = [row for row in means if row["step"] is None]
    rows = rows_of((row for row in trained if row["nfe"] is not None), metrics, plan)
    quality = [row for row in rows if row["split"] in (own, None)]
    others = [*plan.grid.splits[1:], *plan.grid.references]
    return {
        "grid": plan.grid.as_dict(),
        "samplers": plan.samplers,
        "baseline": plan.baseline,
        "metric": headline_of(plan, metrics, {row["metric"] for row in quality}),
        "metrics": metrics,
        "variants": [
            {name: getattr(variant, name) for name in ("label", "prior", "coupling", "path", "prediction")}
            | {"done": sorted(study.results[variant.label]), "skipped": variant.skipped}
            for variant in plan.variants
        ],
        "quality": quality,
        "splits": {name: [row for row in rows if row["split"] == name] for name in others},
        "best": best_of(quality, metrics),
        "worse_than_prior": losses_of(quality, {name: about["better"] for name, about in metrics.items()}),
        "flow": rows_of((row for row in trained if row["nfe"] is None), metrics, plan),
        "curve": rows_of((row for row in means if row["step"] is not None), metrics, plan),
        "costs": costs_of(study),
        "skipped": plan.refused,
        "failed": [
            {"variant": label, "seed": seed, "error": error}
            for (label, seed), error in study.failures.items()
        ],
        "waiting": [{"variant": label, "seed": seed} for label, seed in study.waiting],
        "settings": settings_of(study),
    }


def metrics_of(study: Study, table: Rows) -> dict[str, dict[str, Any]]:
    """Return what each metric is, with its score of real data by split, the mean over all runs."""
    infos: dict[str, MetricInfo] = {}
    for result in study.runs():
        infos = result.metrics | infos  # as the first run that has it describes it
    unknown = MetricInfo("", study.plan.grid.samples)
    names = dict.fromkeys([*infos, *sorted({row["metric"] for row in table})])
    real = [row for row in table if row["flow"] == REAL_DATA and row["value"] is not None]
    scores = grouped(real, itemgetter("metric", "split"))
    return {
        name: {
            **{
                key: getattr(infos.get(name, unknown), key) for key in ("description", "samples", "reference")
            },
            "better": infos.get(name, unknown).better,
            "real_data": {
                split or "test": spread([row["value"] for row in rows]).mean
                for (metric, split), rows in scores.items()
                if metric == name
            },
        }
        for name in names
    }


def headline_of(plan: Plan, metrics: Mapping[str, Any], measured: set[str]) -> str | None:
    """Return the metric that the summary is about; None if there is no result yet."""
    wanted = plan.grid.metric
    ranked = [name for name in metrics if metrics[name]["better"] and name in measured]
    frechet = frechet_names(ranked)
    if not ranked:
        return None
    if not wanted or (wanted == "fid" and frechet):
        return (frechet or ranked)[0]
    if wanted not in ranked:
        raise OptionError(f"compare: metric='{wanted}' was not measured; choose of {', '.join(ranked)}")
    return wanted


def rows_of(means: Iterable[dict[str, Any]], metrics: Mapping[str, Any], plan: Plan) -> Rows:
    """Return means in the order of the report, each with its test against the baseline.

    Rows of samplers or variants that the grid does not have are left out.
    """
    names, samplers, labels, found = list(metrics), plan.samplers, plan.labels, {}
    for row in means:
        sampler = row["sampler"] or samplers[0]
        if sampler in samplers and row["variant"] in labels:
            place = (names.index(row["metric"]), str(row["split"]), samplers.index(sampler))
            place += (place_of(row) or 0, row["step"] or 0)
            found[*place, labels.index(row["variant"])] = {
                **{name: row[name] for name in KEPT},
                "split": row["split"],
                "sampler": sampler,
                "by_seed": {str(seed): row["by_seed"][seed] for seed in sorted(row["by_seed"])},
            }
    against = labels.index(plan.baseline) if labels else -1
    for place, row in found.items():
        other = found.get((*place[:-1], against)) if place[-1] != against else None
        row["against_baseline"] = other and paired_test(row["by_seed"], other["by_seed"])
    return [found[place] for place in sorted(found)]


def best_of(rows: Rows, metrics: Mapping[str, Any]) -> Rows:
    """Return the row with the best mean for each metric, sampler and NFE; priors alone do not count."""
    groups = grouped(
        (row for row in rows if row["nfe"] and metrics[row["metric"]]["better"]),
        lambda row: (row["metric"], row["sampler"], place_of(row)),
    )
    return [
        min(group, key=lambda row: SIGNS[metrics[row["metric"]]["better"]] * row["mean"])
        for group in groups.values()
    ]


def costs_of(study: Study) -> Rows:
    """Return means over seeds of what each variant costs; None where it is not known."""
    costs = []
    for label in study.plan.labels:
        facts: list[dict[str, Any]] = [result.facts for result in study.results[label].values()]
        known = {name: [own[name] for own in facts if own.get(name) is not None] for name in COSTS}
        means = {name: spread(values).mean if values else None for name, values in known.items()}
        costs.append({"variant": label, **means})
    return costs


def settings_of(study: Study) -> dict[str, Any]:
    """Return what all runs share, and the values of each setting in which they differ but should not."""
    runs = study.runs()
    return {
        "parameters": _distinct(run.facts.get("parameters") for run in runs),
        "machine": {name: _distinct(run.facts.get(name) for run in runs) for name in MACHINE},
        "evaluation": {
            name: _distinct(run.settings.get(name) for run in runs)
            for name in ("reference", "classifier", "features")
        },
        "notes": _distinct(run.notes for run in runs),
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, in order; lists one by one, None and empty ones not at all."""
    flat = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(value for value in flat if value is not None))


def paired_test(ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> dict[str, Any] | None:
    """Compare two designs over the seeds that both have; None if they have none in common.

    Args:
        ours: seed -> value of the design.
        theirs: seed -> value of the one that it is compared with.

    Returns:
        ``n``: the seeds that both have. ``ratio``: our mean over theirs, None if that is zero. ``p``: see
        :func:`sign_flip_p`.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    base = math.fsum(theirs[seed] for seed in seeds)
    return {
        "n": len(seeds),
        "ratio": math.fsum(ours[seed] for seed in seeds) / base if base else None,
        "p": sign_flip_p([ours[seed] - theirs[seed] for seed in seeds]),
    }


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return p of the two-sided test that differences are distributed symmetrically about 0; None below two.

    Exact for up to 16 differences, from 100,000 random signs beyond (Fisher 1935; Good 2005, ch. 3).
    """
    from scipy.stats import permutation_test

    if len(differences) < 2:
        return None
    kind = {"permutation_type": "samples", "vectorized": True, "n_resamples": 100_000, "random_state": 0}
    return float(permutation_test((differences,), np.sum, **kind).pvalue)
