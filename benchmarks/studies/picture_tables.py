"""What is read off the studies of pictures: rivals, the validated choice, steps needed, goals, ranks."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.inspect_ranking import correlations, distances, with_mean_rank
from flowprior.evaluation.result import REAL_DATA
from flowprior.report.markdown import counted, cross, markdown_table, seed_ratios, spread
from flowprior.study.table import DataFrame, Series, means, trained

GOALS = {1: 0.35, 2: 0.6, 4: 0.8, 15: 0.95, 30: 0.95}
"""NFE -> what a design's distance over the best rival's is to be at most."""
BASE = "gaussian+condot"
RIVALS = (BASE, "torchcfm", "torchcfm-ot", "flow_matching")
OTHERS = ("gaussian+batchot", "ddpm")
FEATURES = ("fid-cnn128", "fid-lite0")
PAPER_ORDER = ("gmm+condot", "torchcfm-ot", BASE, "ddpm")


def ratio_to_rivals(table: DataFrame, setting: str, metric: str, split: str = "test") -> Series | None:
    """Mean of ``setting`` over the best mean of the rivals, by NFE; None where no rival or setting ran."""
    found = means(table, metric, split)
    rivals = [rival for rival in RIVALS if rival in found.index]
    return found.loc[setting] / found.loc[rivals].min() if rivals and setting in found.index else None


def chosen_setting(table: DataFrame) -> str | None:
    """The designed setting whose worst ratio over its goal, on the validation split, is least.

    Of the designs only those with the most seeds: the best of many single runs is partly luck.
    """
    own = table[~table["flow"].isin([*RIVALS, *OTHERS, REAL_DATA])]
    seeds = own.groupby("flow", sort=False)["seed"].nunique()
    worst = {}
    for name in seeds[seeds == seeds.max()].index:
        ratios = [ratio_to_rivals(table, name, metric, "validation") for metric in FEATURES]
        shares = [ratio[nfe] / goal for ratio in ratios if ratio is not None for nfe, goal in GOALS.items()]
        if shares:
            worst[name] = max(shares)
    return min(worst, key=lambda name: worst[name]) if worst else None


def choice_table(table: DataFrame, chosen: str) -> str:
    """For each goal the chosen design's ratio on the test split, and whether it is met."""
    ratios = {metric: ratio_to_rivals(table, chosen, metric) for metric in FEATURES}
    rows = (
        [nfe, metric, f"≤ {goal}", f"{ratio[nfe]:.2f}", met(ratio[nfe] <= goal)]
        for nfe, goal in GOALS.items()
        for metric, ratio in ratios.items()
        if ratio is not None
    )
    return markdown_table(["NFE", "features", "goal", "ratio", "met"], rows)


def met(reached: bool) -> str:
    """``yes``, or a bold no."""
    return "yes" if reached else "**no**"


def curves(table: DataFrame, metric: str) -> DataFrame:
    """Means on the way: a row for each (flow, NFE), a column for each step; flows in their order."""
    own = table[table["step"].notna() & (table["metric"] == metric)]
    return own.groupby(["flow", "nfe", "step"], sort=False)["value"].mean().unstack("step").sort_index(axis=1)


def curve_table(table: DataFrame) -> str:
    """fid-cnn128 against training steps; "" where no training was followed."""
    own = table[table["step"].notna() & (table["metric"] == FEATURES[0])]
    own = own.assign(nfe=own["nfe"].astype(object)).sort_values("step", kind="stable")
    own = own.sort_values(["flow", "nfe"], kind="stable", key=lambda c: c.map(list(dict.fromkeys(c)).index))
    steps = sorted(own["step"].unique())
    header = ["setting", "NFE", *steps]
    return cross(own, "step", steps, header, index=["flow", "nfe"]) if steps else ""


def first_step(curve: DataFrame, setting: str, nfe: int) -> str:
    """The first evaluated step whose mean is no worse than the base's at the last step; "never"."""
    goal = curve.loc[(BASE, nfe)].iloc[-1]
    reached = curve.loc[(setting, nfe)].dropna()
    return next((str(step) for step, value in reached.items() if value <= goal), "never")


def steps_needed(table: DataFrame) -> str:
    """Steps to the base's end, for settings whose training was followed, by feature; "" for none."""
    found = {metric: curves(table, metric) for metric in FEATURES}
    flows = list(dict.fromkeys(found[FEATURES[0]].index.get_level_values("flow")))
    rows = [
        [f"`{name}`", metric, *(first_step(curve, name, nfe) for nfe in (4, 15))]
        for name in flows
        if BASE in flows and name != BASE
        for metric, curve in found.items()
    ]
    return markdown_table(["setting", "features", "at 4 NFE", "at 15 NFE"], rows) if rows else ""


def paper_orders(table: DataFrame) -> list[str]:
    """For each feature, the measured order at 15 evaluations and whether it is the paper's; DDPM may lack."""
    lines = []
    for metric in FEATURES:
        found = means(table, metric)
        claimed = [name for name in PAPER_ORDER if name in found.index]
        if not {*PAPER_ORDER} <= {*claimed, "ddpm"}:
            return []
        at_15 = found.loc[claimed, 15]
        holds = at_15["gmm+condot"] < min(at_15["torchcfm-ot"], at_15[BASE])
        holds = holds and at_15.get("ddpm", at_15.max()) == at_15.max()
        order = " < ".join(f"`{name}` {value:.4g}" for name, value in at_15.sort_values().items())
        lines.append(f"- {metric}: {order}: the paper's order **{'holds' if holds else 'does not hold'}**.")
    return lines


def settings(runs: DataFrame) -> str:
    """The settings with their seeds and what their names stand for."""
    groups = runs.groupby("label", sort=False)
    return "; ".join(f"`{n}` ({counted(len(own), 'seed')}) is {_meaning(own.iloc[0])}" for n, own in groups)


def _meaning(run: Any) -> str:
    if run["peer"]:
        return f"{run['peer']} as it is installed from PyPI"
    path = "" if run["path"] == "condot" else f", path `{run['path']}`"
    prediction = "" if run["prediction"] == "velocity" else f", prediction `{run['prediction']}`"
    return f"`{run['prior']}` + `{run['coupling']}`{path}{prediction}"


def goals_table(table: DataFrame, goals: list[tuple[str, int, float]], below: str) -> str:
    """Seed-wise ratios to the base that were to be reached, and whether they were.

    Args:
        table: the study's.
        goals: (setting, NFE, the most that the ratio of the first features may be).
        below: a setting whose ratio is to be below 1 at 4 evaluations, by all features.
    """
    found = {metric: means(seed_ratios(trained(table, metric), BASE), metric) for metric in FEATURES}
    rows = []
    for setting, nfe, goal in goals:
        ratio = found[FEATURES[0]].loc[setting, nfe]
        rows.append([f"`{setting}` at {nfe}", f"≤ {goal}", f"{ratio:.2f}", met(ratio <= goal)])
    for metric, ratios in found.items():
        ratio = ratios.loc[below, 4]
        rows.append([f"default at 4, {metric}", "< 1", f"{ratio:.2f}", met(ratio < 1)])
    return markdown_table(["ratio of fid-cnn128", "goal", "measured", "met"], rows)


def source_samples(table: DataFrame) -> str:
    """Transport cost, and the gap between the source samples of training and those of sampling."""
    shown = {"transport_cost": 0, "source_gap_coefficient": 4}
    rows = []
    for flow in trained(table, "transport_cost")["flow"].unique():
        value = {
            metric: trained(table, metric, flow=flow)["value"] for metric in [*shown, "source_gap_p_value"]
        }
        p_values = ", ".join(f"{p:.3f}" for p in value["source_gap_p_value"])
        rows.append([f"`{flow}`", *(spread(value[m], digits) for m, digits in shown.items()), p_values])
    return markdown_table(["setting", "transport cost", "energy coefficient of the gap", "p-values"], rows)


def ranking(table: DataFrame) -> dict[str, Any]:
    """What `inspect` said of pairings beside what was trained, and Spearman's correlations of ranks."""
    found = with_mean_rank(table.pivot_table(index="flow", columns="metric", values="value", sort=False))
    features, metrics, told = found.filter(like="fid-"), distances(found), []
    for metric, own in correlations(found).iterrows():
        said = {"simulated flow": "simulated", "crossing": "crossing", "transport cost": "transport_cost"}
        others = ", ".join(f"{words} alone {own[name]:.2f}" for words, name in said.items())
        told.append(f"{metric} **{own['score']:.2f}** ({others})")
    pairs = (" + ".join(f"`{part}`" for part in str(flow).rsplit("+", 1)) for flow in found.index)
    shown = zip(pairs, found["seeds"], found["score"], found[metrics].to_numpy(), strict=True)
    rows = ([pair, int(n), f"{score:.4f}", *(f"{v:.4g}" for v in values)] for pair, n, score, values in shown)
    return {
        "spearman": "; ".join(told),
        "agreement": features.corr("spearman").iloc[0, 1] if len(features.columns) == 2 else None,
        "table": markdown_table(["prior + coupling", "seeds", "score", *metrics], rows),
        "settings": len(found),
        "cells": int(found["seeds"].sum()),
    }
