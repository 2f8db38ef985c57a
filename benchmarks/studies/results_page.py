"""Write docs/results.md from the stored cell files, and the generated sentences of docs/choosing.md.

    python -m benchmarks.studies.results_page

The prose of the page is in ``results.md.jinja``; tables and verdicts are made here. A study that has not run
has no section.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from math import log
from pathlib import Path
from typing import Any

import jinja2
from pandas import DataFrame, concat

from benchmarks.studies import choices
from benchmarks.studies.claims import fill
from benchmarks.studies.operator_timings import operators, timings
from flowprior.report import markdown
from flowprior.report.markdown import counted, framed, markdown_table, spread, spreads, worse_than_prior
from flowprior.study.table import means, read_runs, read_table, real_data_score, trained

RESULTS = Path(__file__).parents[1] / "results"
DOCS = Path(__file__).parents[2] / "docs"
TARGET = DOCS / "results.md"
WITH_CLAIMS = DOCS / "choosing.md"
FID, PLAIN = "fid-cnn128", "gaussian+condot"
MIXTURE = "gmm:reg_covar=0.01"
ABLATIONS = {
    "sigma": {str(s): f"learned-mean:sigma={s}" for s in (0.001, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0)},
    "components": {"1": MIXTURE} | {str(2**k): f"gmm:components={2**k},reg_covar=0.01" for k in range(1, 7)},
    "covariance": {
        "spherical": "gmm:covariance=spherical,reg_covar=0.01",
        "diag": MIXTURE,
        "tied": "gmm:covariance=tied,reg_covar=0.01",
        "full": "gmm:covariance=full,reg_covar=0.01",
        "lowrank, 8": "gmm:covariance=lowrank,rank=8,reg_covar=0.01",
        "lowrank, 8, floor 0.4": "gmm:covariance=lowrank,rank=8,reg_covar=0.16",
    },
    "kind": {
        "gaussian": "gaussian",
        "gmm": MIXTURE,
        "latent-gmm": "latent-gmm:rank=8",
        "learned-mean": "learned-mean:sigma=0.7",
        "vae": "vae:latent=8,steps=300",
        "flow": "flow:rank=16,transforms=4,hidden=64,steps=300",
    },
}
"""What is varied -> its value -> the prior."""
FASHION_GOALS = {
    ("gmm+condot", 15): 0.95,
    ("lowrank64+posterior", 1): 0.2,
    ("lowrank64+posterior", 4): 0.4,
    ("lowrank64+posterior", 15): 0.9,
    ("lowrank64+ot", 4): 0.6,
    ("lowrank64+ot", 15): 0.6,
}
CELL_METRICS, CELL_GOAL, FOLLOWED = ("raw", "debiased", "energy", "sliced"), 0.6, (50, 100, 200)
COSTS = (
    ("fit_seconds", 1.0, 2),
    ("fit_peak_bytes", 2.0**-20, 0),
    ("state_bytes", 2.0**-20, 2),
    ("sample_seconds", 1e3, 2),
    ("log_prob_seconds", 1e3, 2),
)


class Study:
    """The values and the runs of a stored study, or of a part of it."""

    def __init__(self, table: DataFrame, runs: DataFrame) -> None:
        self.table = table
        self.runs = runs

    def only(self, **where: Any) -> Study | None:
        """The cells whose setting has these values; None where there are none."""
        runs = self.runs
        for name, value in where.items():
            runs = runs[runs[name].isin(value if isinstance(value, tuple) else (value,))]
        return Study(self.table[self.table.cell.isin(runs.cell)], runs) if len(runs) else None

    @property
    def first(self) -> Any:
        """Setting and run of the first cell."""
        return self.runs.iloc[0]

    @property
    def flows(self) -> list[str]:
        """The labels in their order."""
        return list(self.runs.label.unique())

    @property
    def evaluated_by(self) -> str:
        """Names the evaluator."""
        return markdown.evaluated_by(self.table)

    @property
    def machine(self) -> str:
        """Threads, processor, torch."""
        return f"{counted(self.first.threads, 'thread')} of {self.first.processor}, torch {self.first.torch}"

    @property
    def minutes(self) -> float:
        """Of all cells together."""
        return self.runs.seconds.sum() / 60

    def pivot(self, metric: str, nfes: Iterable[int], digits: int = 1, title: str = "setting, at NFE") -> str:
        """One metric as a Markdown table."""
        return markdown.pivot(self.table, metric, list(nfes), digits=digits, title=title)

    def worse(self, metric: str, nfes: Iterable[int]) -> str:
        """Where flows lose to their own prior."""
        return worse_than_prior(self.table, metric, nfes, higher=metric == "accuracy")

    def real_data(self, metric: str) -> float:
        """Real-data score of the first cell."""
        return real_data_score(self.table[self.table.cell == self.first.cell], metric)

    def evaluations(self, metric: str) -> list[int]:
        """The numbers of evaluations at which there is a metric."""
        return [int(nfe) for nfe in means(self.table, metric).columns]


def read_study(folder: Path) -> Study | None:
    """A folder of cell files; None where it has none."""
    if not any(folder.glob("*.json")):
        return None
    return Study(read_table(folder), read_runs(folder))


# -- pictures -----------------------------------------------------------------------------------------------


def meaning(run: Any) -> str:
    """What a setting's name stands for."""
    if run.peer:
        return f"{run.peer} as it is installed from PyPI"
    path = "" if run.path == "condot" else f", path `{run.path}`"
    prediction = "" if run.prediction == "velocity" else f", prediction `{run.prediction}`"
    return f"`{run.prior}` + `{run.coupling}`{path}{prediction}"


def settings(study: Study) -> str:
    """The settings with their seeds and meanings."""
    groups = study.runs.groupby("label", sort=False)
    return "; ".join(f"`{n}` ({counted(len(g), 'seed')}) is {meaning(g.iloc[0])}" for n, g in groups)


def rivals(study: Study) -> str:
    """The rivals that ran."""
    return ", ".join(f"`{name}`" for name in choices.RIVALS if name in study.flows)


def picture_metrics(study: Study) -> list[str]:
    """The metrics of generated pictures, in the order of the table."""
    return list(study.table[study.table.nfe.notna()].metric.unique())


def dropped(root: Path, name: str, study: Study) -> dict[str, Any]:
    """The cells that another evaluator had evaluated and that have not been trained again."""
    path = root / "dropped.json"
    told = json.loads(path.read_text(encoding="utf-8")).get(name) if path.exists() else None
    there = {f"{label}-seed{seed}" for label, seed in zip(study.runs.label, study.runs.seed, strict=True)}
    gone = [f"`{cell}`" for cell in told["cells"] if cell not in there] if told else []
    return {"evaluator": told["evaluator"], "cells": ", ".join(gone)} if gone else {}


def curve_table(study: Study) -> str:
    """fid-cnn128 against training steps, at 4 and 15 evaluations; "" where no training was followed."""
    table = study.table[study.table.step.notna() & (study.table.metric == FID)]
    if table.empty:
        return ""
    steps = sorted(table.step.unique())
    texts = {nfe: spreads(table[table.nfe == nfe], "step")[steps] for nfe in (4, 15)}
    rows = [[f"`{n}`", nfe, *text.loc[n]] for n in texts[4].index for nfe, text in texts.items()]
    return markdown_table(["setting", "NFE", *steps], rows)


def ratio_table(study: Study, metric: str, nfes: list[int]) -> str:
    """Ratios to the baseline of the same seed, averaged."""
    ratios = markdown.seed_ratios(trained(study.table, metric), PLAIN)
    return framed(spreads(ratios, digits=2)[nfes], ["setting, at NFE", *nfes])


def fashion_goals(study: Study) -> str:
    """The ratios that were to be reached, and whether they were."""
    found = {m: means(markdown.seed_ratios(trained(study.table, m), PLAIN), m) for m in choices.FEATURES}
    rows = []
    for (setting, nfe), goal in FASHION_GOALS.items():
        ratio = found[FID].loc[setting, nfe]
        rows.append([f"`{setting}` at {nfe}", f"≤ {goal}", f"{ratio:.2f}", choices.met(ratio <= goal)])
    for metric, ratios in found.items():
        ratio = ratios.loc["lowrank64-floor+ot", 4]
        rows.append([f"default at 4, {metric}", "< 1", f"{ratio:.2f}", choices.met(ratio < 1)])
    return markdown_table(["ratio of fid-cnn128", "goal", "measured", "met"], rows)


def source_samples(study: Study) -> str:
    """Transport cost, and the gap between the source samples of training and sampling."""
    rows = []
    for flow in study.flows:
        own = study.table[study.table.flow == flow]
        cost, gap, p = (
            trained(own, m).value
            for m in ("transport_cost", "source_gap_coefficient", "source_gap_p_value")
        )
        rows.append([f"`{flow}`", spread(cost, 0), spread(gap, 4), ", ".join(f"{v:.3f}" for v in p)])
    return markdown_table(["setting", "transport cost", "energy coefficient of the gap", "p-values"], rows)


def posterior_gap(study: Study) -> str:
    """fid-cnn128 from inferred and from drawn source samples, by NFE."""
    text = spreads(study.table, index="nfe", columns="flow")
    return framed(text, ["NFE", "inferred source samples", "drawn source samples"], code=False)


def ranking(study: Study) -> dict[str, str]:
    """What `inspect` said beside what was trained, and the rank correlations."""
    table = study.table
    found = table[table.flow == "all"].set_index("metric").value
    metrics = [name.removeprefix("spearman of score and ") for name in found.index if " of score " in name]
    rows = []
    for flow, own in table[table.flow != "all"].groupby("flow", sort=False):
        value = own.set_index("metric").value
        prior, coupling = str(flow).rsplit("+", 1)
        trained_values = (f"{value[metric]:.4g}" for metric in metrics)
        rows.append(
            [f"`{prior}` + `{coupling}`", int(value["seeds"]), f"{value['score']:.4f}", *trained_values]
        )
    told = [f"{metric} {_correlations(found, metric)}" for metric in metrics]
    agreement = found.get("spearman of both features")
    agree = "" if agreement is None else f" The two features agree with each other by {agreement:.2f}."
    few = " Of so few settings a correlation says little." if len(rows) < 8 else ""
    header = ["prior + coupling", "seeds", "score", *metrics]
    return {"correlations": f"{'; '.join(told)}.{few}{agree}", "table": markdown_table(header, rows)}


def _correlations(found: Any, metric: str) -> str:
    said = {"simulated": "simulated flow", "crossing": "crossing", "transport_cost": "transport cost"}
    others = (f"{word} alone {found[f'spearman of {name} and {metric}']:.2f}" for name, word in said.items())
    return f"**{found[f'spearman of score and {metric}']:.2f}** ({', '.join(others)})"


# -- points -------------------------------------------------------------------------------------------------


def costs_of_modes(study: Study) -> str:
    """Transport cost and curvature."""
    names = ["transport_cost", "curvature"]
    text = spreads(study.table[study.table.metric.isin(names)], "metric", digits=3)
    return framed(text[names], ["setting", "transport cost", "curvature"])


def designed_over_plain(study: Study) -> dict[str, float]:
    """What the designed prior alone does to transport cost, truncation error and W2² at 4 evaluations."""
    if not {PLAIN, "designed+condot"} <= {*study.flows}:
        return {}
    ratios = {m: means(study.table, m)[4] for m in ("global_error", "w2_squared")}
    ratios["transport_cost"] = trained(study.table, "transport_cost").groupby("flow").value.mean()
    return {name: float(own["designed+condot"] / own[PLAIN]) for name, own in ratios.items()}


def moons(study: Study) -> str:
    """W2² of 8gaussians → moons beside the literature's."""
    literature = {"FM": "2.573 / 0.059", "OT": "0.483 / 0.462", "C2OT, within": "0.048 / 0.018"}
    text = spreads(study.table, "sampler", digits=3)
    runs = {name: own for name, own in study.runs.groupby("label")}
    rows = [
        [n, f"`{runs[n].iloc[0].coupling}`", *text.loc[n, ["euler", "dopri5"]], len(runs[n]), said]
        for n, said in literature.items()
    ]
    header = ["method", "coupling", "Euler, 1 step", "dopri5", "seeds", "C²OT paper, Euler-1 / dopri5"]
    return markdown_table(header, rows)


# -- digits -------------------------------------------------------------------------------------------------


def ablation(study: Study, name: str) -> dict[str, Any]:
    """One ablation: its table, and what each coupling's half of it says."""
    values = {prior: value for value, prior in ABLATIONS[name].items()}
    own = trained(study.table, FID).assign(flow=lambda t: t.prior.map(values)).dropna(subset="flow")
    pairs = [("condot", 0), *((coupling, nfe) for coupling in ("condot", "ot") for nfe in (1, 4, 15))]
    text = spreads(own, ["coupling", "nfe"]).reindex(index=list(values.values()), columns=pairs)
    header = [name, "NFE 0, the prior alone", *(f"{coupling}, NFE {nfe}" for coupling, nfe in pairs[1:])]
    notes = [_ablation_note(name, coupling, own[own.coupling == coupling]) for coupling in ("condot", "ot")]
    return {"table": framed(text, header, code=False), "notes": " ".join(filter(None, notes))}


def _ablation_note(name: str, coupling: str, own: DataFrame) -> str:
    """Who is best at each NFE, who loses to its prior, and what the ablation asks."""
    if own.empty:
        return ""
    order = [value for value in ABLATIONS[name] if value in set(own.flow)]
    found = means(own, FID).loc[order]
    best = ", ".join(f"{nfe}: {found[nfe].idxmin()}" for nfe in (1, 4, 15))
    lost = worse_than_prior(own.assign(flow=own.flow.astype("category").cat.set_categories(order))
                            .sort_values("flow", kind="stable").astype({"flow": str}), FID, (1, 4, 15))  # fmt: skip
    asked = {"sigma": _sigma, "kind": _worse_than_plain}.get(name, lambda _: "")(found)
    return " ".join(filter(None, [f"`{coupling}`: best at NFE {best}.", lost, asked]))


def _sigma(found: DataFrame) -> str:
    """How the σ of the authors' code compares with the best one."""
    if "0.7" not in found.index:
        return ""
    said = [f"{found.loc['0.7', nfe] / found[nfe].min():.2f} times the best at NFE {nfe}" for nfe in (4, 15)]
    return f"σ = 0.7, the authors' value, is at {' and '.join(said)}."


def _worse_than_plain(found: DataFrame) -> str:
    """Where the plain Gaussian is not beaten."""
    if "gaussian" not in found.index:
        return ""
    plain = found.loc["gaussian"]
    worse = [f"{n} at NFE {nfe}" for n, row in found.iterrows() for nfe in (1, 4, 15) if row[nfe] > plain[nfe]]
    if not worse:
        return "Every other prior beats `gaussian` at every NFE."
    return f"**Worse than `gaussian`, against the paper's claim: {', '.join(worse)}.**"


def count_names(study: Study) -> dict[int, str]:
    """Examples of each class -> how they are called."""
    counts = sorted(int(count) for count in study.runs["count"].unique())
    return {count: str(count) for count in counts[:-1]} | {counts[-1]: "all"}


def few_priors(study: Study) -> dict[str, str]:
    """Log-densities of priors by examples of each class, and the best shrinkage of the diagonal one."""
    own, names = trained(study.table, "log_density"), count_names(study)
    found = own.groupby(["flow", "count"], sort=False).value
    text = found.agg(lambda v: spread(v, 2) if min(v) > -1000 else f"{sum(v) / len(v):.1e}").unstack("count")
    text = text.reindex(index=own.flow.unique(), columns=list(names))
    parts = [flow.removeprefix("gmm:covariance=").split(",shrinkage=") for flow in text.index]
    lines = zip(parts, text.to_numpy(), strict=True)
    rows = [[covariance, f"{float(shrinkage):g}", *line] for (covariance, shrinkage), line in lines]
    diagonal = own[own.flow.str.startswith("gmm:covariance=diag,")]
    best = diagonal.groupby(["count", "flow"], sort=False).value.mean().groupby("count").idxmax()
    told = {names[int(count)]: float(flow.split("=")[-1]) for count, (_, flow) in best.items()}
    return {
        "table": markdown_table(["covariance", "shrinkage", *names.values()], rows),
        "best": ", ".join(f"{count}: {shrinkage:g}" for count, shrinkage in told.items()),
    }


def by_count(study: Study, metric: str, nfe: int, digits: int) -> str:
    """One metric at one NFE: settings × examples of each class."""
    own, names = trained(study.table, metric), count_names(study)
    text = spreads(own[own.nfe == nfe], "count", digits=digits)[list(names)]
    return framed(text, ["setting, examples of each class", *names.values()])


def few_worse(study: Study) -> str:
    """Where a flow loses to its own prior, for each setting and count."""
    own, names = trained(study.table, FID).sort_values(["flow", "count"], kind="stable"), count_names(study)
    own = own.set_index("flow").loc[study.flows].reset_index()
    return worse_than_prior(own.assign(flow=own.flow + ", " + own["count"].map(names)), FID, (1, 4, 15))


def shrinkage_effect(study: Study) -> str:
    """Ratio of the shrunk prior's distance to the plain one's at 4 evaluations, by examples of each class."""
    own, names = trained(study.table, FID), count_names(study)
    found = own[own.nfe == 4].pivot_table(index="flow", columns="count", values="value")
    said = []
    for plain, shrunk in (("gmm+ot", "gmm-shrunk+ot"), ("lowrank8+ot", "lowrank8-shrunk+ot")):
        if {plain, shrunk} <= {*found.index}:
            ratios = (found.loc[shrunk] / found.loc[plain]).dropna()
            told = ", ".join(f"{names[int(count)]}: {ratio:.2f}" for count, ratio in ratios.items())
            said.append(f"`{shrunk}` over `{plain}`, {told}")
    return "; ".join(said)


# -- out of distribution ------------------------------------------------------------------------------------


def unseen(study: Study, label: int) -> str:
    """What flows make of a label that they were not trained on."""
    rows = []
    for flow in study.flows:
        own = study.table[(study.table.flow == flow) & (study.table.condition == label)]
        value = own.groupby("metric", sort=False).value
        shares = value.mean().filter(like="share_seen_as_")
        top = shares.idxmax().rsplit("_", 1)[1]
        seen = f"{100 * shares[f'share_seen_as_{label}']:.0f} %"
        w2 = [spread(value.get_group(f"w2_squared_{name}")) for name in ("unseen_class", "seen_classes")]
        rows.append([f"`{flow}`", seen, f"{top} ({100 * shares.max():.0f} %)", *w2])
    header = ["setting", f"seen as {label}", "seen mostly as", f"W2² to the {label}s", "W2² to all seen"]
    return markdown_table(header, rows)


def gap_table(study: Study) -> str:
    """W2² and error inside and outside the interval that was left out, at 15 evaluations."""
    text = spreads(study.table[study.table.nfe == 15], ["condition", "metric"], digits=2)
    columns = [(place, metric) for place in ("inside", "outside") for metric in ("w2_squared", "error")]
    header = ["setting", "W2² in the gap", "error in the gap", "W2² outside", "error outside"]
    return framed(text[columns], header)


def densities(study: Study) -> dict[str, Any]:
    """How well log-densities tell corrupted inputs from clean ones, and which priors are fooled."""
    own = study.table[(study.table.metric == "auroc") & (study.table.condition != "none")]
    text = spreads(own, "condition", digits=3)[list(own.condition.unique())]
    mean = own.groupby(["flow", "condition"], sort=False).value.mean()
    fooled = [f"{prior} by {kind}" for (prior, kind), value in mean.items() if value < 0.5]
    return {"table": framed(text, ["prior", *text.columns]), "fooled": ", ".join(fooled)}


def corrupted(study: Study) -> dict[str, str]:
    """Priors fitted to corrupted digits: trained with them, and only started from them."""
    own = trained(study.table, FID)
    own = own.assign(base=own.flow.str.split(", started from ").str[0])
    with_it = own[own.flow == own.base].assign(kind=lambda t: t.variant)
    from_it = own[own.flow != own.base].assign(kind=lambda t: t.flow.str.split(" from ").str[1])
    texts, ratios = [], []
    for setting, group in with_it.groupby("base", sort=False):
        start = from_it[from_it.base == setting]
        kinds = list(dict.fromkeys(["none", *group.variant]))
        both = [spreads(group, index="kind")[[0, 1, 4, 15]], spreads(start, index="kind")[[1, 4, 15]]]
        text = concat(both, axis=1).reindex(kinds)
        texts += [[f"`{setting}`", kind, *line] for kind, line in zip(kinds, text.to_numpy(), strict=True)]
        trained_at, started_at = (t[t.nfe == 15].groupby("kind").value.mean() for t in (group, start))
        for kind in kinds[1:]:
            both_ratios = [own[kind] / trained_at["none"] for own in (trained_at, started_at)]
            ratios.append(f"`{setting}`, {kind}: {both_ratios[0]:.2f} trained with it, "
                          f"{both_ratios[1]:.2f} only started from it")  # fmt: skip
    header = ["setting", "prior fitted to", "NFE 0, the prior alone"]
    header += [f"{how}, NFE {n}" for how in ("trained with it", "only started from it") for n in (1, 4, 15)]
    named = with_it.assign(flow=with_it.base + ", " + with_it.variant)
    worse = worse_than_prior(named, FID, (1, 4, 15))
    return {"table": markdown_table(header, texts), "ratios": "; ".join(ratios), "worse": worse}


def coinciding(study: Study) -> dict[str, str]:
    """Two classes with one mean, or apart."""
    own = trained(study.table, "w2_squared")
    text = {kind: spreads(own[own.variant == kind], digits=2)[[0, 1, 4, 15]] for kind in ("apart", "moved")}
    rows = [[f"`{flow}`", kind, *text[kind].loc[flow]] for flow in study.flows for kind in text]
    at_4 = own[own.nfe == 4].groupby(["flow", "variant"], sort=False).value.mean().unstack()
    ratios = (f"`{flow}` {at_4.loc[flow, 'moved'] / at_4.loc[flow, 'apart']:.2f}" for flow in study.flows)
    header = ["setting", "means", *(f"NFE {nfe}" for nfe in (0, 1, 4, 15))]
    return {"table": markdown_table(header, rows), "ratios": ", ".join(ratios)}


def fitted_over_plain(study: Study) -> dict[str, Any]:
    """Each fitted source's distance over N(0, I)'s at the most evaluations, and how many are worse."""
    found = means(study.table, FID)
    most = max(found.columns)
    fitted = [name for name in found.index if name.startswith("gmm") and not name.endswith("+ot")]
    if "gaussian" not in found.index or not fitted:
        return {}
    ratios = found.loc[fitted, most] / found.loc["gaussian", most]
    worse = int((ratios > 1).sum())
    verdict = "SourceFM's negative result holds for some sources only"
    verdict = {len(ratios): "as SourceFM reports", 0: "**which contradicts SourceFM**"}.get(worse, verdict)
    listed = ", ".join(f"`{name}` {ratio:.2f}" for name, ratio in ratios.items())
    seeds = counted(int((study.runs.label == "gaussian").sum()), "seed")
    said = {"worse": worse, "all": len(ratios), "verdict": verdict, "seeds": seeds}
    return {"most": int(most), "ratios": listed, **said}


# -- blood cells --------------------------------------------------------------------------------------------


def blood_table(result: Study) -> str:
    """Distances of each setting, of real cells, and of the types' means repeated."""
    places = [(m, n) for m in ("raw", "debiased") for n in (0, 1, 2, 4, 15)]
    places += [("energy", 4), ("sliced", 4)]
    digits = {"raw": 1, "debiased": 1, "energy": 2, "sliced": 2}
    texts = {m: spreads(trained(result.table, m).dropna(subset="nfe"), digits=digits[m]) for m in digits}
    seeds = result.runs.label.value_counts()
    rows = [[f"`{f}` ({seeds[f]})", *(texts[m].loc[f, n] for m, n in places)] for f in result.flows]
    for name, flow in (("real training cells", "real data"), ("type means repeated", "class means")):
        anchors = result.table[result.table.flow == flow].drop_duplicates(["seed", "metric"])
        text = anchors.groupby("metric").value.agg(lambda values: spread(values, 2))
        rows.append([name, *(text[m] for m, _ in places)])
    return markdown_table(["setting", *(f"{markdown.SPOKEN[m]}, NFE {n}" for m, n in places)], rows)


def anchors(result: Study) -> dict[str, float]:
    """Raw W2² of real cells and of the types' means repeated, mean over the cells of the study."""
    raw = result.table[result.table.metric == "raw"].groupby("flow").value.mean()
    return {"real": raw["real data"], "collapsed": raw["class means"]}


def blood_choice(choice: Study, result: Study) -> str:
    """For each distance the design that the held-out quarter chose, and its ratio to the plain one's."""
    rows = []
    for metric in CELL_METRICS:
        chosen = means(choice.table, metric)[4]
        name = chosen[[flow for flow in chosen.index if flow != PLAIN and flow in result.flows]].idxmin()
        own = trained(result.table, metric)
        pair = own[own.nfe == 4].pivot_table(index="seed", columns="flow", values="value")
        pair = pair[[name, PLAIN]].dropna()
        ratio, better = pair[name].mean() / pair[PLAIN].mean(), int((pair[name] < pair[PLAIN]).sum())
        seeds = f"{better} of {len(pair)}"
        goal = choices.met(ratio <= CELL_GOAL)
        rows.append([markdown.SPOKEN[metric], f"`{name}`", f"{ratio:.2f}", seeds, goal])
    header = ["distance", "chosen by it", f"ratio to `{PLAIN}`", "seeds better", f"≤ {CELL_GOAL}"]
    return markdown_table(header, rows)


def shorter(study: Study) -> str:
    """Distances after smaller budgets with their ratios to the plain flow's; "" where none has run."""
    parts = {steps: study.only(part=f"shorter-{steps}") for steps in FOLLOWED}
    whole = study.only(part="result")
    followed = {steps: own for steps, own in parts.items() if own is not None}
    if not followed or whole is None:
        return ""
    flows = next(iter(followed.values())).flows
    rows = []
    for steps, own in [*followed.items(), (int(whole.first.steps), whole)]:
        seeds = own.runs.label.value_counts()
        for flow in (flow for flow in own.flows if flow in flows):
            values = (_with_ratio(own, flow, metric) for metric in CELL_METRICS[:3])
            rows.append([steps, f"`{flow}` ({seeds[flow]})", *values])
    return markdown_table(["steps", "setting", *(markdown.SPOKEN[m] for m in CELL_METRICS[:3])], rows)


def _with_ratio(study: Study, flow: str, metric: str) -> str:
    own = trained(study.table, metric)
    own = own[own.nfe == 4]
    text = spread(own[own.flow == flow].value, 2)
    if flow == PLAIN:
        return text
    ratio = own[own.flow == flow].value.mean() / own[own.flow == PLAIN].value.mean()
    return f"{text} (**{ratio:.2f}**)" if ratio <= CELL_GOAL else f"{text} ({ratio:.2f})"


# -- costs --------------------------------------------------------------------------------------------------


def quiet(study: Study) -> int:
    """How many measurements are by the wall clock of a quiet machine."""
    clock, failed = (study.runs.get(name, study.runs.cell.map(lambda _: None)) for name in ("clock", "failed"))
    return int((clock.isna() & failed.isna()).sum())


def cost_table(study: Study, axis: str, title: str) -> str:
    """What priors cost along one axis, and how that grows."""
    values = study.table.pivot_table(index="cell", columns="metric", values="value")
    runs = study.runs[study.runs.axis == axis].join(values, on="cell")
    rows = []
    for prior, own in runs.groupby("label", sort=False):
        ordered = own.sort_values(axis)
        failed = ordered.failed if "failed" in ordered else [None] * len(ordered)
        for (_, run), reason in zip(ordered.iterrows(), failed, strict=True):
            told = [f"{run[key] * scale:.{digits}f}" for key, scale, digits in COSTS]
            told = [reason, *[None] * (len(COSTS) - 1)] if isinstance(reason, str) else told
            rows.append([prior, f"{run[axis]:,}", *told])
        done = ordered.dropna(subset=[key for key, *_ in COSTS])
        rows.append(["", "growth p", *(growth(done[axis], done[key]) for key, *_ in COSTS)])
    header = ["prior", title, "fit, s", "peak of the fit, MiB", "kept, MiB", "sample, ms", "log-density, ms"]
    return markdown_table(header, rows)


def growth(sizes: Iterable[float], costs: Iterable[float]) -> str | None:
    """Exponent p of cost ∝ size^p by least squares of the logarithms, and in brackets of the last two."""
    points = [(log(size), log(cost)) if cost > 0 else None for size, cost in zip(sizes, costs, strict=True)]
    known, last = ([p for p in some if p] for some in (points, points[-2:]))
    if len(known) < 2:
        return None
    whole = f"{_slope(known):.2f}"
    return whole if len(last) < 2 else f"{whole} [{_slope(last):.2f}]"


def _slope(points: list[tuple[float, float]]) -> float:
    x, y = zip(*points, strict=True)
    return statistics.linear_regression(x, y).slope


def page(root: Path = RESULTS) -> str:
    """The whole page from the results below a folder; studies without results are left out."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folders = sorted(path.name for path in root.glob("*-*") if path.is_dir())
    names = [name for name in folders if any(root.glob(f"{name}/*.json"))]
    found = {name: read_study(root / name) for name in names}
    conditional = {n: s for n, s in found.items() if s is not None and (s.table.split == "validation").any()}
    rankings = read_study(root / "inspect-ranking")
    text = environment.get_template("results.md.jinja").render(
        {**globals(), "conditional": conditional, "rankings": rankings, "root": root},
        study=lambda name: found.get(name) or read_study(root / name),
        timings=timings(root / "benchmarks.json"),
        operators=operators(root / "operators.json"),
    )
    return "\n".join(line.rstrip() for line in _single_blank_lines(text)) + "\n"


def _single_blank_lines(text: str) -> Iterable[str]:
    """The lines without blank ones at the end or beside another."""
    lines = text.strip().splitlines()
    return (line for line, before in zip(lines, ["", *lines], strict=False) if line.strip() or before.strip())


def main() -> None:
    """Write the page, and the sentences of others that say what it says."""
    TARGET.write_text(page(), encoding="utf-8")
    fill(WITH_CLAIMS, RESULTS)


if __name__ == "__main__":
    main()
