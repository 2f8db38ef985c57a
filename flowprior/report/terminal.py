"""Evaluations and inspections as tables for the terminal.

Made of plain rows, so that ``flowprior evaluate`` and ``flowprior inspect`` need no extra.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from flowprior.evaluation.result import REAL_DATA, SECONDS, Result
from flowprior.evaluation.summary import Row, as_text, grouped, losses_of, means_over_seeds
from flowprior.inspection import Inspection
from flowprior.inspection.fitted_prior import FittedPrior
from flowprior.inspection.inspect import Pairing
from flowprior.report.wording import ARROWS, prior_sentence

if TYPE_CHECKING:
    from rich.table import Table

LEFT = ("", "sampler", "metric", "prior", "prior + coupling", "evaluations", "variant")
"""Columns that stand at the left, and those that are kept in one line."""
ONE_LINE = ("sampler", "guidance", "metric", "NFE")
SIGNIFICANT = 0.05
"""The p-value of a source mismatch below which a star is shown."""
STYLES = {"score": "bold", "real": "dim"}
PRIORS = (
    "explained: share of the variance; density: logarithm, nats per dimension; copies: share of draws nearer "
    "to the half of the data that was fitted than to the other, 0.5 where nothing is copied; "
    "{fit} examples fitted on, {held_out} held out, of {all}"
)
PAIRINGS = (
    "steps: energy distance to held-out data, 0 to 1, after Euler steps of the simulated flow, whose "
    "velocity is estimated without a network; score: geometric mean of the last one and of crossing × "
    "exp(shift), what there is to learn; it ranks, and does not say what a trained network will reach; "
    "*: a mismatch that chance gives in less than one of twenty cases"
)
Rows = Sequence[Sequence[Any]]


def rich_table(
    title: str, columns: Iterable[str], sections: Iterable[Rows], caption: str = "", **look: Any
) -> Table:
    """Return a table with a line between sections; a bracket in a user's text is no markup.

    Args:
        title: above it.
        columns: their names.
        sections: rows of cells, a text or a ``rich.text.Text`` each.
        caption: below it.
        look: further options of ``rich.table.Table``.
    """
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
            table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def result_table(result: Result) -> Table:
    """Return a line for each sampler, guidance and metric with its better side, and a column for each NFE.

    The last column has the real-data scores.
    """
    metrics, means = result.quality_metrics, result.means()
    names = {name: name + ARROWS[info.better] for name, info in metrics.items()} | {SECONDS: SECONDS}
    scores = {name: result.real_data_score(name) for name in metrics}
    real = {name: f"{score:.4g}" for name, score in scores.items() if score is not None}
    counts = sorted({row["nfe"] for row in means})
    keys = [name for name in ("sampler", "guidance") if len({row[name] for row in means}) > 1]
    sections = []
    for own in grouped(means, itemgetter("sampler", "guidance")).values():
        cells = {
            (row["metric"], row["nfe"]): f"{row['mean']:.4g}" if row["metric"] == SECONDS else as_text(row)
            for row in own
        }
        lines = [[names[name], *(cells.get((name, n), "") for n in counts)] for name in names]
        if real:
            lines = [[*line, real.get(name, "")] for name, line in zip(names, lines, strict=True)]
        start = [_named(own[0], keys), *([""] * len(keys) for _ in lines[1:])]
        sections.append([[*first, *line] for first, line in zip(start, lines, strict=True)])
    columns = [*keys, "metric", *(f"NFE {count:g}" for count in counts), *["real"] * bool(real)]
    losses = losses_of(means, {name: info.better for name, info in metrics.items()})
    worse = prior_sentence(losses, lambda loss: ", ".join([loss["metric"], *_named(loss, keys)]))
    caption = "\n".join([*_terms(result), *[worse] * bool(worse), *result.notes])
    return rich_table(title_of(result), columns, sections, caption, min_width=78)


def _named(row: Row, keys: list[str]) -> list[str]:
    """Return sampler and guidance of a row, if they are among the keys."""
    return [row[key] if key == "sampler" else f"{row[key]:g}" for key in keys]


def title_of(result: Result) -> str:
    """Return parts of the flow, its data and the samplers."""
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
    own = means_over_seeds(row for row in result.select(sampler=None) if row["flow"] != REAL_DATA)
    for value, rows in grouped(own, itemgetter("guidance")).items():
        texts = ", ".join(f"{row['metric']} {as_text(row)}" for row in rows)
        several = value is not None and len(settings["guidances"]) > 1
        lines.append(f"{texts} at guidance {value:g}" if several else texts)
    return lines


def inspection_tables(found: Inspection) -> list[Table]:
    """Return the table of the priors and the ranking of the pairings."""
    places = {fitted.prior: str(place) for place, fitted in enumerate(found.priors, 1)}
    priors = [{"": places[fitted.prior]} | _prior_row(fitted) for fitted in found.priors]
    pairings = [{"": places[pairing.prior]} | _pairing_row(pairing) for pairing in found.pairings]
    look = {"title_justify": "left", "padding": (0, 1, 0, 0), "box": None}
    shown = []
    for title, rows, caption in (
        ("priors against held-out data", priors, PRIORS.format(**found.examples)),
        (f"prior + coupling on {found.data}, best first", pairings, PAIRINGS),
    ):
        texts = [[v if isinstance(v, str) else f"{v:.3g}" for v in row.values()] for row in rows]
        shown.append(rich_table(title, rows[0], [texts], caption, **look))
    return shown


def _prior_row(fitted: FittedPrior) -> dict[str, str | float]:
    size = fitted.state_bytes
    return {
        "prior": fitted.prior,
        "explained": fitted.explained_variance,
        "density": fitted.log_density,
        "copies": fitted.half_share,
        "fit s": fitted.seconds,
        "state": f"{size / 2**20:.3g} MiB" if size >= 2**20 else f"{size / 2**10:.3g} KiB",
    }


def _pairing_row(pairing: Pairing) -> dict[str, str | float]:
    flow, mismatch = pairing.simulated_flow, pairing.source_mismatch
    return {
        "prior + coupling": f"{pairing.prior.partition(':')[0]} + {pairing.coupling}",
        "score": pairing.score,
        **{f"{count} step{'s' * (count > 1)}": distance for count, distance in flow.distance.items()},
        "crossing": flow.crossing,
        "shift": flow.shift,
        "mismatch": f"{mismatch['coefficient']:.3g}" + "*" * (mismatch["p_value"] < SIGNIFICANT),
        "cost": pairing.transport_cost,
    }
