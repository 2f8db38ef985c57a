"""What is read off the stored studies: values and verdicts, which the templates put into tables and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import linear_regression
from typing import Any

import numpy as np
import pandas

from benchmarks.studies.alike import means
from flowprior.evaluation.result import REAL_DATA
from flowprior.registry import parse_spec
from flowprior.report.markdown import markdown_table, spread
from flowprior.study.table import DataFrame, Series, select, trained

BASE = "gaussian+condot"
RIVALS = (BASE, "torchcfm", "torchcfm-ot", "flow_matching")
OTHERS = ("gaussian+batchot", "ddpm")
FEATURES = ("fid-cnn128", "fid-lite0")
FID, NFES = FEATURES[0], (1, 4, 15)
GOALS = {1: 0.35, 2: 0.6, 4: 0.8, 15: 0.95, 30: 0.95}
"""NFE -> what a design's distance over the best rival's is to be at most."""
PAPER_ORDER = ("gmm+condot", "torchcfm-ot", BASE, "ddpm")
WITHIN = "sliced_w2_squared_within"
CELL_METRICS = ("raw", "debiased", "energy", "sliced")
COSTS = ["fit_seconds", "fit_peak_bytes", "state_bytes", "sample_seconds", "log_prob_seconds"]


def over_rivals(table: DataFrame, metric: str, split: str = "test") -> DataFrame:
    """Means over the best mean of the rivals: a row for each flow, a column for each NFE; NaN without one."""
    found = means(table, metric, split)
    return found / found.reindex(list(RIVALS)).min()


def rows_asked(data: Iterable[str]) -> list[int]:
    """What specs of data sets ask for as ``n``, the number of training rows."""
    return [int(parse_spec(spec, "data").options["n"]) for spec in data]


def embedded(table: DataFrame) -> DataFrame:
    """Mean distance within conditions: a row for each (training rows, NFE from 1 on), flows across."""
    own = trained(table, WITHIN)
    own = own[own["nfe"] > 0].assign(rows=lambda part: rows_asked(part["data"]))
    return own.pivot_table(index=["rows", "nfe"], columns="flow", values="value", sort=False).sort_index()


def chosen_setting(table: DataFrame) -> str | None:
    """The designed setting whose worst ratio over its goal, on the validation split, is least.

    Of the designs only those with the most seeds: the best of many single runs is partly luck.
    """
    own = table[~table["flow"].isin([*RIVALS, *OTHERS, REAL_DATA])]
    seeds = own.groupby("flow", sort=False)["seed"].nunique()
    places = {"index": seeds.index[seeds == seeds.max()], "columns": list(GOALS)}
    found = (over_rivals(table, metric, "validation").reindex(**places) for metric in FEATURES)
    worst = pandas.concat([ratio / list(GOALS.values()) for ratio in found], axis=1).max(axis=1).dropna()
    return None if worst.empty else str(worst.idxmin())


def curves(table: DataFrame, metric: str) -> DataFrame:
    """Means on the way: a row for each (flow, NFE), a column for each step; flows in their order."""
    own = table[table["step"].notna() & (table["metric"] == metric)]
    return own.groupby(["flow", "nfe", "step"], sort=False)["value"].mean().unstack("step").sort_index(axis=1)


def first_step(curve: DataFrame, setting: str, nfe: int) -> str:
    """The first evaluated step whose mean is no worse than the base's at the last step; "never"."""
    reached = curve.columns[curve.loc[(setting, nfe)] <= curve.loc[(BASE, nfe)].iloc[-1]]
    return str(reached[0]) if len(reached) else "never"


def paper_orders(table: DataFrame) -> dict[str, tuple[Series, bool]]:
    """Features -> the means at 15 evaluations, least first, and whether that is the paper's order.

    DDPM may lack; nothing where others do.
    """
    orders = {}
    for metric in FEATURES:
        found = means(table, metric)
        if not {*PAPER_ORDER} <= {*found.index, "ddpm"}:
            return {}
        at_15 = found[15].filter(PAPER_ORDER).sort_values()
        first = at_15["gmm+condot"] < min(at_15["torchcfm-ot"], at_15[BASE])
        orders[metric] = at_15, first and at_15.get("ddpm", at_15.max()) == at_15.max()
    return orders


def called(table: DataFrame, priors: Mapping[str, str]) -> DataFrame:
    """The Fréchet distances of these priors in their order, each flow called what ``priors`` calls it."""
    own = trained(table, FID, prior=list(priors.values()))
    own = own.assign(flow=own["prior"].map({prior: name for name, prior in priors.items()}))
    return own.sort_values("flow", kind="stable", key=lambda flows: flows.map(list(priors).index))


def worse_than(found: DataFrame, flow: str) -> list[str]:
    """The places where another flow's mean is above this one's; none where it did not run."""
    above = found[list(NFES)].gt(found.reindex([flow]).iloc[0]).stack()
    return [f"{name} at NFE {nfe}" for name, nfe in above[above].index]


def density(values: Iterable[float], digits: int) -> str:
    """Log-densities as text: those far from 0 in powers of ten."""
    found = list(values)
    return spread(found, digits) if min(found) > -1000 else f"{sum(found) / len(found):.1e}"


def best_shrinkage(table: DataFrame) -> Series:
    """The shrinkage under which the diagonal prior is likeliest, by number of examples of each class."""
    own = trained(table, "log_density")
    own = own[own["flow"].str.startswith("gmm:covariance=diag,")]
    best = own.pivot_table(index="flow", columns="count", values="value").idxmax()
    return best.str.rsplit("=").str[-1].astype(float)


def corrupted(table: DataFrame, runs: DataFrame | None = None) -> DataFrame:
    """Fréchet distances with a column for the ``kind`` of corruption that the prior was fitted to.

    ``started`` says of a flow that it was trained with the clean prior and only started from this one.

    Args:
        table: of the study.
        runs: of cells whose data say the kind; None where their variant does.
    """
    own = trained(table, FID)
    base = own["flow"].str.split(", started from ", expand=True)
    kind = own["variant"] if runs is None else own["cell"].map(_kinds(runs))
    found = own.assign(flow=base[0], started=base[1].notna(), kind=base[1].fillna(kind))
    return found if runs is None else found[~(found["started"] & (found["kind"] == "none"))]


def _kinds(runs: DataFrame) -> Any:
    """Cell -> kind of corruption."""
    return runs.set_index("cell")["data"].str.rsplit("kind=", n=1).str[1]


def fitted_over_plain(table: DataFrame) -> DataFrame:
    """Distance of each source fitted as a mixture over N(0, I)'s at the most evaluations; may be empty."""
    at_most = means(table, FID).iloc[:, -1]
    fitted = [name for name in at_most.index if name.startswith("gmm") and not name.endswith("+ot")]
    return at_most[fitted] / at_most["gaussian"] if "gaussian" in at_most.index else at_most.head(0)


def trained_over_fixed(table: DataFrame, metric: str) -> DataFrame:
    """Means of flows "name, what is trained" over those of "name": flows by evaluations from 1 on."""
    found = means(table, metric)
    own = [flow for flow in found.index if ", " in flow and flow.partition(", ")[0] in found.index]
    fixed = found.loc[[flow.partition(", ")[0] for flow in own]].set_axis(own)
    return (found.loc[own] / fixed).drop(columns=0, errors="ignore")


def costs(table: DataFrame, runs: DataFrame, axis: str) -> DataFrame:
    """What priors cost along one axis: a row for each measurement, NaN where it failed."""
    values = table.pivot_table(index="cell", columns="metric", values="value")
    return select(runs, axis=axis).join(values, on="cell").sort_values(axis)


def growth(sizes: Sequence[float], costs: Sequence[float]) -> str | None:
    """Exponent p of cost ∝ size^p by least squares of logarithms, and in brackets of the last two."""
    points = np.column_stack([sizes, costs])
    kept = [some[some[:, 1] > 0] for some in (points, points[-2:])]
    slopes = [f"{linear_regression(*np.log(some.T)).slope:.2f}" for some in kept if len(some) > 1]
    return " ".join([*slopes[:1], *(f"[{last}]" for last in slopes[1:])]) or None


def having(pictures: Mapping[int, DataFrame], *flows: str) -> dict[int, DataFrame]:
    """The tables in which all of these flows ran, by steps."""
    return {steps: table for steps, table in pictures.items() if {*flows} <= {*table["flow"]}}


def ratio_table(pictures: Mapping[int, DataFrame], ours: str, theirs: str, nfes: list[int]) -> str:
    """Means of one flow over another's, of the seeds that both have, by steps and features."""
    rows = []
    for steps, table in having(pictures, ours, theirs).items():
        for metric in FEATURES:
            own = trained(table, metric, flow=[ours, theirs])
            found = own.pivot_table(index=["nfe", "seed"], columns="flow", values="value").dropna()
            mean = found.groupby("nfe").mean().loc[nfes]
            rows.append([f"{steps:,}", metric, *(mean[ours] / mean[theirs]).map("{:.2f}".format)])
    return markdown_table(["steps", "features", *nfes], rows)


def worse_than_prior(table: DataFrame) -> DataFrame:
    """How many designs are worse at 4 evaluations than their prior alone (``sum``), of ``size``."""
    found = means(table, FID)
    return (found[4] > found[0]).groupby(found.index.str.rsplit("+", n=1).str[-1]).agg(["sum", "size"])
