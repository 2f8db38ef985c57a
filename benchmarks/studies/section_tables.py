"""What is read off the studies of digits, points, cells and costs: tables and verdicts of the page."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from math import log
from typing import Any

from benchmarks.studies.picture_tables import BASE, met
from flowprior.evaluation.result import REAL_DATA
from flowprior.report.markdown import SPOKEN, cross, lost_to_prior, markdown_table, spread, spreads
from flowprior.study.table import DataFrame, means, select, trained

FID, COUPLINGS, NFES = "fid-cnn128", ("condot", "ot"), (1, 4, 15)
CELL_METRICS, CELL_GOAL, FOLLOWED = ("raw", "debiased", "energy", "sliced"), 0.6, (50, 100, 200)
COSTS = {
    "fit_seconds": (1.0, 2),
    "fit_peak_bytes": (2.0**-20, 0),
    "state_bytes": (2.0**-20, 2),
    "sample_seconds": (1e3, 2),
    "log_prob_seconds": (1e3, 2),
}
"""Metric of a prior's cost -> scale and digits of what is shown."""


def moons(table: DataFrame, runs: DataFrame, literature: dict[str, str]) -> str:
    """W2² of one Euler step and of dopri5, beside the literature's."""
    text, own = spreads(table, "sampler", digits=3), runs.groupby("label")["coupling"]
    rows = (
        [name, f"`{own.first()[name]}`", *text.loc[name, ["euler", "dopri5"]], own.size()[name], said]
        for name, said in literature.items()
    )
    header = ["method", "coupling", "Euler, 1 step", "dopri5", "seeds", "C²OT paper, Euler-1 / dopri5"]
    return markdown_table(header, rows)


def designed_over_plain(table: DataFrame) -> dict[str, float]:
    """What the designed prior alone does to transport cost, truncation error and W2² at 4 evaluations."""
    if not {BASE, "designed+condot"} <= {*table["flow"]}:
        return {}
    found = {metric: means(table, metric)[4] for metric in ("global_error", "w2_squared")}
    found["transport_cost"] = trained(table, "transport_cost").groupby("flow")["value"].mean()
    return {name: float(own["designed+condot"] / own[BASE]) for name, own in found.items()}


def ablation(table: DataFrame, name: str, priors: dict[str, str]) -> dict[str, str]:
    """One ablation: its table, and who is best, who loses to its prior, and what else is asked.

    Args:
        table: the study's.
        name: what is varied.
        priors: its values -> the prior.
    """
    values = {prior: value for value, prior in priors.items()}
    own = trained(table, FID, prior=list(values))
    own = own.assign(flow=own["prior"].map(values)).sort_values(
        "flow", kind="stable", key=lambda flows: flows.map(list(priors).index)
    )
    wanted = [("condot", 0), *((coupling, nfe) for coupling in COUPLINGS for nfe in NFES)]
    header = [name, "NFE 0, the prior alone", *(f"{coupling}, NFE {nfe}" for coupling, nfe in wanted[1:])]
    notes = (_note(name, coupling, select(own, coupling=coupling)) for coupling in COUPLINGS)
    return {"table": cross(own, ["coupling", "nfe"], wanted, header), "notes": " ".join(filter(None, notes))}


def _note(name: str, coupling: str, own: DataFrame) -> str:
    if own.empty:
        return ""
    found = means(own, FID)
    best = ", ".join(f"{nfe}: {found[nfe].idxmin()}" for nfe in NFES)
    asked = {"sigma": _authors_sigma, "kind": _worse_than_plain}.get(name, lambda _: "")(found)
    said = (f"`{coupling}`: best at NFE {best}.", lost_to_prior(own, FID, NFES), asked)
    return " ".join(filter(None, said))


def _authors_sigma(found: DataFrame) -> str:
    """How the σ of the authors' code compares with the best one."""
    if "0.7" not in found.index:
        return ""
    said = (f"{found.loc['0.7', nfe] / found[nfe].min():.2f} times the best at NFE {nfe}" for nfe in (4, 15))
    return f"σ = 0.7, the authors' value, is at {' and '.join(said)}."


def _worse_than_plain(found: DataFrame) -> str:
    """Where the plain Gaussian is not beaten."""
    if "gaussian" not in found.index:
        return ""
    worse = found[found > found.loc["gaussian"]]
    told = [f"{name} at NFE {nfe}" for name, row in worse.iterrows() for nfe in NFES if row[nfe] > 0]
    if not told:
        return "Every other prior beats `gaussian` at every NFE."
    return f"**Worse than `gaussian`, against the paper's claim: {', '.join(told)}.**"


def density(values: Iterable[float], digits: int) -> str:
    """Log-densities as text: those far from 0 in powers of ten."""
    found = list(values)
    return spread(found, digits) if min(found) > -1000 else f"{sum(found) / len(found):.1e}"


def best_shrinkage(table: DataFrame, counts: dict[int, str]) -> str:
    """At each number of examples the shrinkage under which the diagonal prior is likeliest."""
    own = trained(table, "log_density")
    own = own[own["flow"].str.startswith("gmm:covariance=diag,")]
    best = own.groupby(["flow", "count"])["value"].mean().unstack("count").idxmax()
    return ", ".join(f"{name}: {float(best[n].rsplit('=')[-1]):g}" for n, name in counts.items() if n in best)


def few_worse(table: DataFrame, counts: dict[int, str]) -> str:
    """Where a flow loses to its own prior, for each setting and count."""
    parts = [trained(table, FID, flow=flow, count=n) for flow in table["flow"].unique() for n in counts]
    own = table.loc[[row for part in parts for row in part.index]]
    return lost_to_prior(own.assign(flow=own["flow"] + ", " + own["count"].map(counts)), FID, NFES)


def shrinkage_effect(table: DataFrame, counts: dict[int, str], pairs: dict[str, str]) -> str:
    """Ratio of the shrunk prior's distance to the plain one's at 4 evaluations, by examples of each class."""
    found = trained(table, FID, nfe=4).pivot_table(index="flow", columns="count", values="value")
    said = []
    for plain, shrunk in pairs.items():
        if {plain, shrunk} <= {*found.index}:
            ratios = (found.loc[shrunk] / found.loc[plain]).dropna()
            told = ", ".join(f"{counts[n]}: {ratio:.2f}" for n, ratio in ratios.items())
            said.append(f"`{shrunk}` over `{plain}`, {told}")
    return "; ".join(said)


def unseen(table: DataFrame, label: int) -> str:
    """What flows make of a label that they were not trained on."""
    rows = []
    for flow, own in select(table, condition=label).groupby("flow", sort=False):
        value = own.groupby("metric")["value"]
        shares = value.mean().filter(like="share_seen_as_").rename(lambda name: int(name.rsplit("_")[-1]))
        w2 = (
            spread(value.get_group(f"w2_squared_{classes}")) for classes in ("unseen_class", "seen_classes")
        )
        seen = f"{shares.sort_index().idxmax()} ({100 * shares.max():.0f} %)"
        rows.append([f"`{flow}`", f"{100 * shares[label]:.0f} %", seen, *w2])
    header = ["setting", f"seen as {label}", "seen mostly as", f"W2² to the {label}s", "W2² to all seen"]
    return markdown_table(header, rows)


def fooled(auroc: DataFrame) -> str:
    """The priors whose log-density finds a kind of corrupted inputs likelier than clean ones."""
    mean = auroc.groupby(["flow", "condition"], sort=False)["value"].mean()
    return ", ".join(f"{prior} by {kind}" for (prior, kind), value in mean.items() if value < 0.5)


def corrupted(table: DataFrame) -> dict[str, str]:
    """Priors fitted to corrupted digits: flows trained with them, and flows only started from them."""
    own = trained(table, FID)
    base = own["flow"].str.split(", started from ", expand=True)
    own = own.assign(flow=base[0], how=base[1].notna(), kind=base[1].fillna(own["variant"]))
    wanted = [(False, 0), *((how, nfe) for how in (False, True) for nfe in NFES)]
    header = ["setting", "prior fitted to", "NFE 0, the prior alone"]
    header += [f"{how}, NFE {n}" for how in ("trained with it", "only started from it") for n in NFES]
    shown = cross(own, ["how", "nfe"], wanted, header, index=["flow", "kind"])
    at_15 = own[own["nfe"] == 15].groupby(["flow", "kind", "how"], sort=False)["value"].mean().unstack("how")
    over = at_15.div(at_15[False].xs("none", level="kind"), axis="index", level="flow").drop(
        "none", level="kind"
    )
    ratios = (
        f"`{flow}`, {kind}: {row[False]:.2f} trained with it, {row[True]:.2f} only started from it"
        for (flow, kind), row in over.iterrows()
    )
    with_it = own[~own["how"]]
    worse = lost_to_prior(with_it.assign(flow=with_it["flow"] + ", " + with_it["kind"]), FID, NFES)
    return {"table": shown, "ratios": "; ".join(ratios), "worse": worse}


def moved_over_apart(table: DataFrame) -> str:
    """W2² of two classes with one mean over that of two apart, at 4 evaluations."""
    own = trained(table, "w2_squared", nfe=4)
    found = own.groupby(["flow", "variant"], sort=False)["value"].mean().unstack()
    return ", ".join(f"`{flow}` {row['moved'] / row['apart']:.2f}" for flow, row in found.iterrows())


def fitted_over_plain(table: DataFrame) -> dict[str, Any]:
    """Each fitted source's distance over N(0, I)'s at the most evaluations, and if SourceFM is right."""
    at_most = means(table, FID).iloc[:, -1]
    fitted = [name for name in at_most.index if name.startswith("gmm") and not name.endswith("+ot")]
    if "gaussian" not in at_most.index or not fitted:
        return {}
    ratios = at_most[fitted] / at_most["gaussian"]
    worse = int((ratios > 1).sum())
    verdict = "SourceFM's negative result holds for some sources only"
    verdict = {len(ratios): "as SourceFM reports", 0: "**which contradicts SourceFM**"}.get(worse, verdict)
    listed = ", ".join(f"`{name}` {ratio:.2f}" for name, ratio in ratios.items())
    return {"most": at_most.name, "ratios": listed, "worse": worse, "all": len(ratios), "verdict": verdict}


def blood_table(table: DataFrame) -> str:
    """Distances of each setting, of real cells, and of the types' means repeated."""
    places = [(metric, nfe) for metric in ("raw", "debiased") for nfe in (0, 1, 2, 4, 15)]
    places += [("energy", 4), ("sliced", 4)]
    digits = {"raw": 1, "debiased": 1, "energy": 2, "sliced": 2}
    texts = {
        metric: spreads(select(table, metric=metric, step=None), digits=n) for metric, n in digits.items()
    }
    rows = []
    for flow, own in table[table["nfe"].notna()].groupby("flow", sort=False):
        values = (texts[metric].loc[flow, nfe] for metric, nfe in places)
        rows.append([f"`{flow}` ({own['seed'].nunique()})", *values])
    for name, flow in (("real training cells", REAL_DATA), ("type means repeated", "class means")):
        own = select(table, flow=flow).drop_duplicates(["seed", "metric"])
        text = own.groupby("metric")["value"].agg(lambda values: spread(values, 2))
        rows.append([name, *(text[metric] for metric, _ in places)])
    return markdown_table(["setting", *(f"{SPOKEN[metric]}, NFE {nfe}" for metric, nfe in places)], rows)


def blood_choice(choice: DataFrame, result: DataFrame) -> str:
    """For each distance the design that the held-out quarter chose, and its ratio to the plain one's."""
    rows = []
    for metric in CELL_METRICS:
        own = trained(result, metric, nfe=4).pivot_table(index="seed", columns="flow", values="value")
        chosen = means(choice, metric)[4].filter([flow for flow in own if flow != BASE]).idxmin()
        pair = own[[chosen, BASE]].dropna()
        ratio, better = pair[chosen].mean() / pair[BASE].mean(), (pair[chosen] < pair[BASE]).sum()
        seeds, reached = f"{better} of {len(pair)}", met(ratio <= CELL_GOAL)
        rows.append([SPOKEN[metric], f"`{chosen}`", f"{ratio:.2f}", seeds, reached])
    header = ["distance", "chosen by it", f"ratio to `{BASE}`", "seeds better", f"≤ {CELL_GOAL}"]
    return markdown_table(header, rows)


def smaller_budgets(table: DataFrame) -> str:
    """Distances at 4 evaluations after smaller budgets, their ratios to the plain flow's; "" for none."""
    shorter = [f"shorter-{steps}" for steps in FOLLOWED]
    own = select(table, nfe=4, flow=list(select(table, part=shorter)["flow"].unique()))
    own = select(own, part=[*shorter, "result"], metric=list(CELL_METRICS[:3]))
    rows = []
    for (steps, flow), group in own.groupby(["steps", "flow"]):
        plain = select(own, steps=steps, flow=BASE)
        values = (_with_ratio(group, plain, metric) for metric in CELL_METRICS[:3])
        rows.append([steps, f"`{flow}` ({group['seed'].nunique()})", *values])
    return markdown_table(["steps", "setting", *(SPOKEN[m] for m in CELL_METRICS[:3])], rows) if rows else ""


def _with_ratio(group: DataFrame, plain: DataFrame, metric: str) -> str:
    values, base = (select(one, metric=metric)["value"] for one in (group, plain))
    ratio = values.mean() / base.mean()
    shown = f"**{ratio:.2f}**" if ratio <= CELL_GOAL else f"{ratio:.2f}"
    return spread(values, 2) + ("" if values.equals(base) else f" ({shown})")


def cost_table(table: DataFrame, runs: DataFrame, axis: str, title: str) -> str:
    """What priors cost along one axis, and how that grows."""
    values = table.pivot_table(index="cell", columns="metric", values="value")
    runs = select(runs, axis=axis).join(values, on="cell").sort_values(axis)
    rows = []
    for prior, own in runs.groupby("label"):
        rows += ([prior, f"{run[axis]:,}", *_costs(run)] for run in own.to_dict("records"))
        done = own.dropna(subset=list(COSTS))
        rows.append(["", "growth p", *(growth(done[axis], done[cost]) for cost in COSTS)])
    header = ["prior", title, "fit, s", "peak of the fit, MiB", "kept, MiB", "sample, ms", "log-density, ms"]
    return markdown_table(header, rows)


def _costs(run: dict[str, Any]) -> list[str | None]:
    if isinstance(run.get("failed"), str):
        return [run["failed"], *[None] * (len(COSTS) - 1)]
    return [f"{run[cost] * scale:.{digits}f}" for cost, (scale, digits) in COSTS.items()]


def growth(sizes: Iterable[float], costs: Iterable[float]) -> str | None:
    """Exponent p of cost ∝ size^p by least squares of logarithms, and in brackets of the last two."""
    points = [(log(size), log(cost)) if cost > 0 else None for size, cost in zip(sizes, costs, strict=True)]
    every, last = ([point for point in some if point] for some in (points, points[-2:]))
    slopes = [
        statistics.linear_regression(*zip(*some, strict=True)).slope for some in (every, last) if some[1:]
    ]
    return " ".join(f"[{p:.2f}]" if turn else f"{p:.2f}" for turn, p in enumerate(slopes)) or None
