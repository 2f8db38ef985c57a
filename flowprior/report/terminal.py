"""Evaluations and inspections as tables for the terminal.

Made of plain rows, so that ``flowprior evaluate`` and ``flowprior inspect`` need no extra.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from flowprior.evaluation.result import ADAPTIVE, SECONDS, Result, worse_than_prior
from flowprior.inspection import FittedPrior, Inspection, Pairing
from flowprior.inspection.misfit import LEVEL as MISFIT_LEVEL
from flowprior.report.wording import ARROWS, comma_list
from flowprior.study.statistics import LEVEL, Spread, grouped, spread

if TYPE_CHECKING:
    from rich.table import Table

MOST_COLUMNS = 6
"""More metrics than these become rows."""
LEFT = ("", "sampler", "metric", "prior", "prior + coupling")
"""Columns that stand at the left, and those that are kept in one line."""
ONE_LINE = ("sampler", "guidance", "metric", "NFE")
STYLES = {"score": "bold", "real": "dim"}
PRIORS = (
    "explained: share of the variance; density: logarithm, nats per dimension; copies: share of draws nearer "
    "to the half of the data that was fitted than to the other, 0.5 where nothing is copied; test AUC: of a "
    "two-sample test of held-out data against draws, 0.5 by chance, *: significant for some label; "
    "{fit:g} examples fitted on, {held_out:g} held out, of {all:g}"
)
PAIRINGS = (
    "steps: energy distance to held-out data, 0 to 1, after Euler steps of the simulated flow, whose "
    "velocity is estimated without a network; score: geometric mean of the last one and of crossing × "
    "exp(shift), what there is to learn; it ranks, and does not say what a trained network will reach; "
    "*: a gap that chance gives in less than one of twenty cases"
)
Rows = list[list[str]]


def _table(title: str, columns: Iterable[str], sections: Iterable[Rows], caption: str, **look: Any) -> Table:
    """A table with a line between sections; a bracket in a user's text is no markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "table.title"), caption_justify="left", **look)
    table.caption = Text(caption, "table.caption")
    for name in columns:
        side, style = "left" if name in LEFT else "right", STYLES.get(name)
        table.add_column(Text(name), justify=side, no_wrap=name in ONE_LINE, overflow="fold", style=style)
    for rows in sections:
        table.add_section()
        for row in rows:
            table.add_row(*map(Text, row))
    return table


class Line(NamedTuple):
    """Values of one sampler and guidance at one number of evaluations.

    Attributes:
        sampler: as it was asked for.
        guidance: strength of classifier-free guidance.
        nfe: evaluations spent; their mean where an adaptive sampler spent more on one seed.
        values: by metric, over seeds.
    """

    sampler: str
    guidance: float
    nfe: float
    values: dict[str, Spread]

    def shown(self, metric: str) -> str:
        """``12.34``, or ``12.34 ± 0.56`` over seeds, of seconds the mean; empty where there is no value."""
        found = self.values.get(metric)
        return "" if found is None else f"{found.mean:.4g}" if metric == SECONDS else _as_text(found)

    def setting(self, keys: list[str]) -> list[str]:
        """Sampler and guidance as text, where they are among the keys."""
        texts = {"sampler": self.sampler, "guidance": f"{self.guidance:g}"}
        return [texts[key] for key in keys]


def lines_of(result: Result) -> list[Line]:
    """Means over seeds, one line for each sampler, guidance and number of evaluations; of the first split."""
    first = next((row["split"] for row in result.rows if row["split"]), None)
    rows = [row for row in result.rows if row["nfe"] is not None and row["split"] in (None, first)]
    found = []

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        """Beside the prior's, an adaptive sampler has a single line, whatever it spent on each seed."""
        return row["sampler"], row["guidance"], None if row["grid"] == ADAPTIVE and row["nfe"] else row["nfe"]

    for (sampler, guidance, _), own in grouped(rows, place).items():
        nfe = spread([row["nfe"] for row in own if row["metric"] == own[0]["metric"]]).mean
        found.append(Line(sampler, guidance, nfe, _spreads(own)))
    return found


def result_table(result: Result) -> Table:
    """Values by sampler, guidance and NFE; an arrow points to each metric's better side, real data come last.

    A few metrics are columns; more of them are rows, so that the table keeps to the width of a page.
    """
    metrics, groups = result.quality_metrics, grouped(lines_of(result), lambda line: line[:2])
    places = zip(("sampler", "guidance"), zip(*groups, strict=True), strict=False)
    keys = [name for name, seen in places if len(set(seen)) > 1]
    names = {name: name + ARROWS[info.better] for name, info in metrics.items()} | {SECONDS: SECONDS}
    scores = {name: result.real_data_score(name) for name in metrics} | {SECONDS: None}
    real = {name: "" if score is None else f"{score:.4g}" for name, score in scores.items()}
    title = title_of(result)
    caption = "\n".join([*_terms(result), *_prior_sentences(result, groups), *result.notes])
    if len(metrics) > MOST_COLUMNS:
        counts = sorted({line.nfe for lines in groups.values() for line in lines})
        columns = [*keys, "metric", *(f"NFE {count:g}" for count in counts), "real"]
        sections = [_metric_rows(lines, counts, keys, names, real) for lines in groups.values()]
        return _table(title, columns, sections, caption)
    sections = [
        [[*line.setting(keys), f"{line.nfe:g}", *map(line.shown, names)] for line in lines]
        for lines in groups.values()
    ]
    table = _table(title, [*keys, "NFE", *names.values()], sections, caption)
    if any(real.values()):
        table.add_section()
        table.add_row(*("" for _ in keys), "real", *real.values(), style="dim")
    return table


def _metric_rows(
    lines: list[Line], counts: list[float], keys: list[str], names: dict[str, str], real: dict[str, str]
) -> Rows:
    """One row a metric, of one sampler and guidance, which the first row names."""
    at = {line.nfe: line for line in lines}
    setting = [lines[0].setting(keys), *(["" for _ in keys] for _ in names)]
    return [
        [*start, heading, *(at[n].shown(name) if n in at else "" for n in counts), real[name]]
        for start, (name, heading) in zip(setting, names.items(), strict=False)
    ]


def title_of(result: Result) -> str:
    """Parts of the flow, its data, the samplers."""
    settings = result.settings
    samplers = ", ".join(settings["samplers"])
    return f"{settings['prior']} + {settings['coupling']} on {settings['data']}, {samplers}"


def _terms(result: Result) -> list[str]:
    """Return how most values were measured, other counts and references, and values of the flow itself."""
    settings, infos = result.settings, result.quality_metrics
    guidance = ", ".join(f"{value:g}" for value in settings["guidances"])
    seeds = ", ".join(map(str, settings["seeds"]))
    several = "mean ± standard deviation over seeds" if len(settings["seeds"]) > 1 else "seed"
    most = (settings["samples"], settings["reference"])
    lines = [f"{most[0]} samples against {most[1]}, guidance {guidance}, {several} {seeds}"]
    found = grouped(infos, lambda name: (infos[name].samples, infos[name].reference))
    for (samples, reference), names in found.items():
        if (samples, reference) != most:
            against = f" against {reference}" if reference else ""
            lines.append(f"{', '.join(names)}: {samples} samples{against}")
    costs = _spreads(result.select(metric=("transport_cost", "transport_cost_unpaired")))
    if len(costs) == 2:
        coupled, unpaired = (costs[name].mean for name in ("transport_cost", "transport_cost_unpaired"))
        lines.append(f"transport cost {coupled:.4g} coupled, {unpaired:.4g} unpaired")
    rows = [row for row in result.select(sampler=None) if row["guidance"] is not None]
    of_flow = grouped(rows, lambda row: row["guidance"])
    for value, own in of_flow.items():
        told = ", ".join(f"{name} {_as_text(values)}" for name, values in _spreads(own).items())
        lines.append(f"{told} at guidance {value:g}" if len(of_flow) > 1 else told)
    return lines


def _prior_sentences(result: Result, groups: dict[Any, list[Line]]) -> list[str]:
    """Where the flow is worse than its prior alone: one sentence for each sampler and guidance."""
    found = []
    samplers, guidances = ({key[part] for key in groups} for part in (0, 1))
    for (sampler, guidance), lines in groups.items():
        places = []
        for name, info in result.quality_metrics.items():
            by_nfe = {line.nfe: line.values[name].mean for line in lines if name in line.values}
            if counts := worse_than_prior(by_nfe, info.better):
                places.append(f"{name} at NFE {comma_list(f'{count:g}' for count in counts)}")
        terms = [sampler] * (len(samplers) > 1) + [f"guidance {guidance:g}"] * (len(guidances) > 1)
        start = f"With {', '.join(terms)} the" if terms else "The"
        if places:
            found.append(f"{start} flow is worse than its prior alone (NFE 0) in {'; in '.join(places)}.")
    return found


def _spreads(rows: Iterable[dict[str, Any]]) -> dict[str, Spread]:
    """Mean and deviation of each metric."""
    groups = grouped(rows, lambda row: row["metric"])
    return {metric: spread([row["value"] for row in own]) for metric, own in groups.items()}


def _as_text(found: Spread) -> str:
    return f"{found.mean:.4g}" + ("" if found.std is None else f" ± {found.std:.2g}")


def inspection_tables(found: Inspection) -> list[Table]:
    """The priors, the ranking, and the suggestion where there is one."""
    places = {fitted.prior: str(place) for place, fitted in enumerate(found.priors, 1)}
    priors = [{"": places[fitted.prior]} | _prior_row(fitted) for fitted in found.priors]
    pairings = [{"": places[pairing.prior]} | _pairing_row(pairing) for pairing in found.pairings]
    tables: list[tuple[str, list[dict[str, Any]], str]] = [
        ("priors against held-out data", priors, PRIORS.format(**found.examples)),
        (f"prior + coupling on {found.data}, best first", pairings, PAIRINGS),
    ]
    if found.suggestion:
        rows = [{"prior": c.prior, "density": c.log_density, "seconds": c.seconds} for c in found.suggestion]
        tables.append(("mixtures by held-out log-density", rows, ""))
    look = {"title_justify": "left", "padding": (0, 1, 0, 0), "box": None}
    shown = []
    for title, rows, caption in tables:
        texts = [[v if isinstance(v, str) else f"{v:.3g}" for v in row.values()] for row in rows]
        shown.append(_table(title, rows[0], [texts], caption, **look))
    return shown


def _prior_row(fitted: FittedPrior) -> dict[str, str | float]:
    size, tested = fitted.state_bytes, list(fitted.misfit.values())
    flagged = "*" * any(of.p_value < MISFIT_LEVEL for of in tested)
    apart = sum(of.auc for of in tested) / max(len(tested), 1)
    return {
        "prior": fitted.prior,
        "explained": fitted.explained_variance,
        "density": fitted.log_density,
        "ot cost": fitted.transport_cost_ot,
        "copies": fitted.half_share,
        "test AUC": f"{apart:.3g}{flagged}" if tested else "",
        "fit s": fitted.seconds,
        "state": f"{size / 2**20:.3g} MiB" if size >= 2**20 else f"{size / 2**10:.3g} KiB",
    }


def _pairing_row(pairing: Pairing) -> dict[str, str | float]:
    flow, gap = pairing.simulated_flow, pairing.source_gap
    return {
        "prior + coupling": f"{pairing.prior.partition(':')[0]} + {pairing.coupling}",
        "score": pairing.score,
        **{f"{count} step{'s' * (count > 1)}": distance for count, distance in flow.distance.items()},
        "crossing": flow.crossing,
        "shift": flow.shift,
        "gap": f"{gap['coefficient']:.3g}" + "*" * (gap["p_value"] < LEVEL),
        "cost": pairing.transport_cost,
    }
