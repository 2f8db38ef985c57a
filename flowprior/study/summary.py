"""From the results of the cells to the figures of the report: spreads, tests, costs, convergence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from flowprior.errors import OptionError
from flowprior.evaluation.result import worse_than_prior
from flowprior.study.collect import (
    OWN_NFE,
    Collection,
    Figures,
    Place,
    curve_figures,
    flow_figures,
    quality_figures,
)
from flowprior.study.folder import FORMAT
from flowprior.study.statistics import paired_test, spread

COSTS = ("prior_fit_seconds", "prior_bytes", "seconds_per_step", "transport_cost", "transport_cost_unpaired")
"""Keys of a result that are averaged over seeds."""


def summarise(collection: Collection) -> dict[str, Any]:
    """Every number of the report as plain dictionaries and lists; what report.json holds.

    Raises:
        OptionError: the grid names a baseline or a metric that there is not.
    """
    baseline = find_baseline(collection.variants, collection.grid["baseline"])
    metrics = metrics_of(collection)
    headline = headline_of(collection, metrics)
    quality = {label: quality_figures(collection, label) for label in collection.labels}
    curves = {label: curve_figures(collection, label) for label in collection.labels}
    own = {label: flow_figures(collection, label) for label in collection.labels}
    own_metrics = metrics_of(collection, "flow_metrics")
    samplers = list(collection.grid["samplers"])
    rows = rows_of(quality, metrics, baseline, samplers)
    curve = rows_of(curves, metrics, baseline, samplers)
    return {
        "format": FORMAT,
        "grid": collection.grid,
        "baseline": baseline,
        "metric": headline,
        "metrics": metrics,
        "variants": variants_of(collection, baseline),
        "quality": rows,
        "best": best_of(rows, metrics),
        "worse_than_prior": losses_of(rows, metrics),
        "flow_metrics": own_metrics,
        "flow": rows_of(own, own_metrics, baseline, samplers),
        "curve": curve,
        "convergence": convergence_of(curve, metrics, baseline),
        "costs": costs_of(collection, quality),
        "skipped": skipped_of(collection),
        "failed": [
            {"variant": label, "seed": seed, "error": error}
            for (label, seed), error in collection.failures.items()
        ],
        "waiting": [{"variant": label, "seed": seed} for label, seed in collection.waiting],
        "settings": settings_of(collection),
    }


def find_baseline(variants: Sequence[dict[str, Any]], wanted: str) -> str:
    """Label of the variant that the others are compared with.

    Args:
        variants: of plan.json; those that are skipped do not count.
        wanted: a label, whatever its spaces; empty for the standard normal with coupling and path
            ``condot``, or else the first variant.

    Raises:
        OptionError: there is no variant of this label.
    """
    labels = [variant["label"] for variant in variants if not variant["skipped"]]
    if wanted:
        found = [label for label in labels if _squeezed(label) == _squeezed(wanted)]
        if not found:
            raise OptionError(f"compare: no variant '{wanted}' for a baseline; there is {', '.join(labels)}")
        return found[0]
    usual = ("gaussian", "condot", "condot")
    found = [v["label"] for v in variants if (v["prior"], v["coupling"], v["path"]) == usual]
    return [*found, *labels, ""][0]


def metrics_of(collection: Collection, kind: str = "metrics") -> dict[str, dict[str, Any]]:
    """What each metric is: as :class:`~flowprior.evaluation.MetricInfo`, its floor averaged over all cells.

    Args:
        collection: the results.
        kind: ``"metrics"`` of samples, or ``"flow_metrics"`` of flows.
    """
    floors: dict[str, list[float]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for result in collection.all_results():
        for judged in result["evaluations"]:
            for name, metric in judged.get(kind, {}).items():
                metrics.setdefault(name, {**metric, "floor": None})
                score = metric.get("real_data_score", metric.get("floor"))
                if score is not None:
                    floors.setdefault(name, []).append(score)
    return {
        name: {**metric, "floor": spread(floors[name]).mean if name in floors else None}
        for name, metric in metrics.items()
    }


def headline_of(collection: Collection, metrics: dict[str, dict[str, Any]]) -> str | None:
    """The metric that the summary is about; None where there is no result yet.

    Raises:
        OptionError: the grid names one that was not measured.
    """
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


def variants_of(collection: Collection, baseline: str) -> list[dict[str, Any]]:
    """What each variant is, with the seeds that have a result."""
    names = ("label", "labels", "prior", "coupling", "path", "prediction", "skipped")
    return [
        {
            **{name: variant[name] for name in names},
            "baseline": variant["label"] == baseline,
            "cells": [{**cell, "done": cell["seed"] in row} for cell in variant["cells"]],
        }
        for variant in collection.variants
        for row in [collection.results[variant["label"]]]
    ]


def rows_of(
    figures: dict[str, Figures], metrics: dict[str, dict[str, Any]], baseline: str, samplers: list[str]
) -> list[dict[str, Any]]:
    """One row for each metric, place and variant: figures by seed, spread, test against the baseline."""
    rows = []
    for metric, about in metrics.items():
        places = {place: None for own in figures.values() for place in own.values.get(metric, {})}
        for place in sorted(places, key=lambda place: (samplers.index(place.sampler), *place[1:])):
            theirs = figures[baseline].at(metric, place) if baseline in figures else {}
            for label, own in figures.items():
                ours = own.at(metric, place)
                if not ours:
                    continue
                test = None if label == baseline else paired_test(ours, theirs, about["better"] or "lower")
                rows.append(
                    {
                        "metric": metric,
                        "sampler": place.sampler,
                        "nfe": spent(own, place),
                        "adaptive": place.nfe == OWN_NFE,
                        "step": place.step,
                        "variant": label,
                        "by_seed": {str(seed): ours[seed] for seed in sorted(ours)},
                        **asdict(spread([ours[seed] for seed in sorted(ours)])),
                        "against_baseline": None if test is None else asdict(test),
                    }
                )
    return rows


def spent(figures: Figures, place: Place) -> float:
    """Evaluations of the velocity: as asked, or the mean of what an adaptive sampler spent."""
    return place.nfe if place.nfe != OWN_NFE else spread(list(figures.at("nfe", place).values())).mean


def best_of(rows: list[dict[str, Any]], metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The variant with the best mean for each metric, sampler and NFE; NFE 0 is of priors, not of flows."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in (row for row in rows if row["nfe"]):
        nfe = OWN_NFE if row["adaptive"] else row["nfe"]
        groups.setdefault((row["metric"], row["sampler"], nfe), []).append(row)
    best = []
    for (metric, sampler, _), group in groups.items():
        better = metrics[metric]["better"]
        if better:
            row = min(group, key=lambda row: row["mean"] * (1 if better == "lower" else -1))
            names = ("nfe", "adaptive", "variant", "mean", "std", "n", "against_baseline")
            found = {name: row[name] for name in names}
            best.append({"metric": metric, "sampler": sampler, **found, "candidates": len(group)})
    return best


def losses_of(rows: list[dict[str, Any]], metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Where a flow is worse than its own prior alone: metric, sampler, variant, and the NFE where it is."""
    groups: dict[tuple[str, str, str], dict[float, float]] = {}
    for row in rows:
        groups.setdefault((row["metric"], row["sampler"], row["variant"]), {})[row["nfe"]] = row["mean"]
    return [
        {"metric": metric, "sampler": sampler, "variant": variant, "nfe": counts}
        for (metric, sampler, variant), by_nfe in groups.items()
        if (counts := worse_than_prior(by_nfe, metrics[metric]["better"]))
    ]


def convergence_of(
    curve: list[dict[str, Any]], metrics: dict[str, dict[str, Any]], baseline: str
) -> list[dict[str, Any]]:
    """Steps that each variant needs for the baseline's final quality, at each NFE of the curve.

    The mean over seeds of a variant has to reach the baseline's mean after its last step; only the curve's
    own steps are looked at. None where it never does.
    """
    found = []
    for metric, about in metrics.items():
        sign = {"lower": 1, "higher": -1}.get(about["better"], 0)
        for nfe in sorted({row["nfe"] for row in curve if row["metric"] == metric}) if sign else []:
            rows = [row for row in curve if row["metric"] == metric and row["nfe"] == nfe]
            last = max(row["step"] for row in rows)
            target = next((r["mean"] for r in rows if r["variant"] == baseline and r["step"] == last), None)
            if target is None:
                continue
            reached: dict[str, int | None] = {row["variant"]: None for row in rows}
            for row in sorted(rows, key=lambda row: row["step"]):
                if reached[row["variant"]] is None and sign * row["mean"] <= sign * target:
                    reached[row["variant"]] = row["step"]
            found.append({"metric": metric, "nfe": nfe, "target": target, "budget": last, "steps": reached})
    return found


def skipped_of(collection: Collection) -> list[dict[str, Any]]:
    """Variants, and samplers of a variant, that the library refuses; the sampler is None for all of them."""
    found = []
    for variant in collection.variants:
        label = variant["label"]
        if variant["skipped"]:
            found.append({"variant": label, "sampler": None, "reason": variant["skipped"]})
        for sampler, reason in variant["refused_samplers"].items():
            found.append({"variant": label, "sampler": sampler, "reason": reason})
    return found


def costs_of(collection: Collection, quality: dict[str, Figures]) -> list[dict[str, Any]]:
    """Means over seeds of what each variant costs, and its seconds of sampling for 1,000 samples."""
    costs, samplers = [], list(collection.grid["samplers"])
    thousands = collection.grid["samples"] / 1000
    for label, own in quality.items():
        results = list(collection.results[label].values())
        row: dict[str, Any] = {"variant": label}
        for name in COSTS:
            values = [result[name] for result in results if isinstance(result[name], int | float)]
            row[name] = spread(values).mean if values else None
        places = sorted(
            own.values.get("seconds", {}), key=lambda place: (samplers.index(place.sampler), place.nfe)
        )
        row["sampling"] = [
            {
                "sampler": place.sampler,
                "nfe": spent(own, place),
                "adaptive": place.nfe == OWN_NFE,
                "seconds_per_1000": spread(list(own.at("seconds", place).values())).mean / thousands,
            }
            for place in places
        ]
        costs.append(row)
    return costs


def settings_of(collection: Collection) -> dict[str, Any]:
    """What all cells share, and what they differ in where they should not: a list of each value seen."""
    results = collection.all_results()
    machines = {name: _distinct(r["machine"][name] for r in results) for name in _machine_keys(results)}
    judged = [j["settings"] for r in results for j in r["evaluations"]]
    names = ("reference", "judge", "features", "classifier_accuracy", "flowprior", "torch", "device")
    return {
        "parameters": _distinct(result["parameters"] for result in results),
        "machine": machines,
        "judging": {name: _distinct(j[name] for j in judged if name in j) for name in names},
        "notes": _distinct(note for r in results for j in r["evaluations"] for note in j["notes"]),
    }


def _machine_keys(results: list[dict[str, Any]]) -> list[str]:
    return list(results[0]["machine"]) if results else []


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in order; lists one by one, None and empty ones not at all."""
    flat = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(value for value in flat if value is not None))


def _squeezed(label: str) -> str:
    return "".join(label.split()).lower()
