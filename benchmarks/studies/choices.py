"""What is read off the class-conditional studies: rivals, the design that validation chooses, steps needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprior.study.table import REAL_DATA, means

if TYPE_CHECKING:
    from pandas import DataFrame, Series

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
    own = table[~table.flow.isin([*RIVALS, *OTHERS, REAL_DATA])]
    seeds = own.groupby("flow", sort=False).seed.nunique()
    worst = {}
    for name in seeds[seeds == seeds.max()].index:
        ratios = [ratio_to_rivals(table, name, metric, "validation") for metric in FEATURES]
        shares = [ratio[nfe] / goal for ratio in ratios if ratio is not None for nfe, goal in GOALS.items()]
        if shares:
            worst[name] = max(shares)
    return min(worst, key=lambda name: worst[name]) if worst else None


def choice_rows(table: DataFrame, chosen: str) -> list[list[str]]:
    """For each goal: NFE, features, goal, the chosen design's ratio on the test split, whether it is met."""
    ratios = {metric: ratio_to_rivals(table, chosen, metric) for metric in FEATURES}
    return [
        [str(nfe), metric, f"≤ {goal}", f"{ratio[nfe]:.2f}", met(bool(ratio[nfe] <= goal))]
        for nfe, goal in GOALS.items()
        for metric, ratio in ratios.items()
        if ratio is not None
    ]


def met(reached: bool) -> str:
    """``yes``, or a bold no."""
    return "yes" if reached else "**no**"


def curves(table: DataFrame, metric: str) -> DataFrame:
    """Means on the way: a row for each (flow, NFE), a column for each step; flows in their order."""
    own = table[table.step.notna() & (table.metric == metric)]
    return own.groupby(["flow", "nfe", "step"], sort=False).value.mean().unstack("step").sort_index(axis=1)


def first_step(curve: DataFrame, setting: str, nfe: int) -> str:
    """The first evaluated step whose mean is no worse than the base's at the last step; "never"."""
    goal = curve.loc[(BASE, nfe)].iloc[-1]
    reached = curve.loc[(setting, nfe)].dropna()
    return next((str(step) for step, value in reached.items() if value <= goal), "never")


def steps_needed(table: DataFrame) -> list[list[str]]:
    """For each setting whose training was followed, and each feature: steps to the base's end, at 4 and 15."""
    found = {metric: curves(table, metric) for metric in FEATURES}
    flows = list(dict.fromkeys(found[FEATURES[0]].index.get_level_values("flow")))
    return [
        [f"`{name}`", metric, *(first_step(curve, name, nfe) for nfe in (4, 15))]
        for name in flows
        if BASE in flows and name != BASE
        for metric, curve in found.items()
    ]


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
