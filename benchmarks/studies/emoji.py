"""What is read off the study of captions: which temperatures, the best design over the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas

from benchmarks.studies.alike import means
from flowprior.evaluation.result import REAL_DATA
from flowprior.registry import parse_spec
from flowprior.study.table import DataFrame, Series, select, trained

BASELINES = ("condot", "batchot", "torchcfm-ot", "ddpm")
"""The settings that start from N(0, I)."""
PAPER = "caption-means"
"""The paper's own prior and pairing."""
DISTANCE, FOUND = "kid-lite0", "caption-top5-lite0"
HELD_OUT = 500
"""Pictures of the validation split."""
PIXELS = "pixels"
"""Where flows live that need no encoder."""
VALIDATION, SEEN, UNSEEN = "validation", "test", "unseen"
FAR_ENOUGH: Mapping[str, float] = {"nearest-q05": 0.97, "nearest-q50": 0.9}
"""Quantile -> how far samples are to be from training pictures at least, over how far held-out ones are."""
GOALS: Mapping[int, float] = {4: 0.5, 15: 0.64}
"""NFE -> what the best design's distance over the best baseline's is to be at most, on seen captions."""


def temperature_of(sampler: str) -> float:
    """What a sampler's spec says."""
    return float(parse_spec(sampler, "sampler").options.get("temperature", 1.0))


def temperatures(table: DataFrame) -> dict[str, float]:
    """The temperature of each flow's samples, of its sampler's spec."""
    samplers = trained(table, DISTANCE, nfe=15).groupby("flow", sort=False)["sampler"].first()
    return {flow: temperature_of(sampler) for flow, sampler in samplers.items()}


def by_temperature(table: DataFrame, metric: str = DISTANCE) -> DataFrame:
    """Values on held-out pictures at 15 evaluations: a row for each flow, a column for each temperature."""
    own = trained(table, metric, split=VALIDATION, nfe=15)
    own = own.assign(temperature=[temperature_of(sampler) for sampler in own["sampler"]])
    return own.pivot_table(index="flow", columns="temperature", values="value", sort=False)


def nearness(table: DataFrame) -> DataFrame:
    """By how much samples are nearer to training pictures than :data:`FAR_ENOUGH` allows; indexed as above.

    Up to 0 they are far enough; missing where it was not measured.
    """
    found = by_temperature(table)
    excess = [
        least - by_temperature(table, quantile).reindex_like(found) for quantile, least in FAR_ENOUGH.items()
    ]
    return excess[0].where(excess[0] > excess[1], excess[1])


def suited(table: DataFrame) -> dict[str, float]:
    """Flow -> the temperature of least kernel distance among those that are far enough, where one is."""
    found = by_temperature(table).where(nearness(table) <= 0).dropna(how="all")
    return {str(flow): float(temperature) for flow, temperature in found.idxmin(axis=1).items()}


def designs(found: DataFrame) -> list[str]:
    """The flows of a table that are no baseline, in their order."""
    return [flow for flow in found.index if flow not in BASELINES]


def spaces(runs: DataFrame) -> dict[str, list[str]]:
    """Where flows live, "pixels" or the encoder of their latents, and the cells of each."""
    encoders = runs["latent"].fillna(PIXELS) if "latent" in runs else [PIXELS] * len(runs)
    return {name: list(own) for name, own in runs.assign(space=encoders).groupby("space", sort=False)["cell"]}


def of_space(table: DataFrame, space: str = PIXELS) -> DataFrame:
    """The rows of flows that live there; those of another space have the same labels."""
    return table[table["latent"].fillna(PIXELS) == space]


def has_both(table: DataFrame) -> bool:
    """Whether a design and a baseline ran."""
    found = means(table, DISTANCE)
    return 0 < len(designs(found)) < len(found)


def baselines(table: DataFrame) -> str:
    """The baselines that ran, in words."""
    return ", ".join(f"`{flow}`" for flow in means(table, DISTANCE).filter(BASELINES, axis="index").index)


def best_design(table: DataFrame) -> str:
    """The design of the least distance on the validation split, mean over numbers of evaluations above 0."""
    found = means(table, DISTANCE, VALIDATION)
    return str(found.loc[designs(found), [nfe for nfe in found if nfe > 0]].mean(axis=1).idxmin())


def over_best_baseline(table: DataFrame, metric: str, split: str, design: str = "") -> Series:
    """A design's mean, by default the best one's, over the best baseline's, by NFE; empty where it lacks."""
    found = means(table, metric, split)
    design = design or best_design(table)
    if design not in found.index:
        return found.iloc[0, :0]
    return found.loc[design] / found.filter(BASELINES, axis="index").min()


def score_of(table: DataFrame, metric: str, split: str) -> float:
    """The real-data score of a metric on a split, mean over the cells."""
    return float(select(table, metric=metric, flow=REAL_DATA, split=split)["value"].mean())


def finds_more(table: DataFrame, pairs: DataFrame, split: str) -> DataFrame:
    """Whether the best design's captions are found more often than the best baseline's, by NFE.

    Rows ``design`` and ``baseline``, the shares of samples whose caption is among the five nearest of 300,
    and ``p`` of :mod:`benchmarks.studies.emoji_pairs`, whose rows ``pairs`` are, where the two were compared.
    """
    found = means(table, FOUND, split)
    design, best = best_design(table), found.filter(BASELINES, axis="index").idxmax()
    p = select(pairs, split=split, design=design).set_index(["nfe", "baseline"])["p"]
    rows = {
        nfe: {
            "design": found.loc[design, nfe],
            "baseline": found.loc[best[nfe], nfe],
            "p": p.get((nfe, best[nfe]), math.nan),
        }
        for nfe in found
    }
    return pandas.DataFrame(rows)
