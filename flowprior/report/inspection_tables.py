"""Rich tables of an inspection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowprior.inspection import FittedPrior, Inspection, Pairing
from flowprior.study.statistics import LEVEL

if TYPE_CHECKING:
    from rich.table import Table

PRIORS = (
    "explained: share of the variance; density: logarithm, nats per dimension; W2²: of Gaussians, averaged "
    "over conditions; real W2²: the same between training and held-out data; "
    "{fit:g} examples fitted on, {held_out:g} held out, of {all:g}"
)
PAIRINGS = (
    "steps: energy distance to held-out data, 0 to 1, after Euler steps of the simulated flow, whose "
    "velocity is estimated without a network; score: geometric mean of the last one and of crossing × "
    "exp(shift), what there is to learn; it ranks, and does not say what a trained network will reach; "
    "*: a gap that chance gives in less than one of twenty cases"
)


def inspection_tables(found: Inspection) -> list[Table]:
    """The priors, the ranking, and the suggestion where there is one."""
    places = {fitted.prior: str(place) for place, fitted in enumerate(found.priors, 1)}
    priors = [{"": places[fitted.prior]} | _prior_row(fitted) for fitted in found.priors]
    pairings = [{"": places[pairing.prior]} | _pairing_row(pairing) for pairing in found.pairings]
    shown = [
        _table("priors against held-out data", priors, PRIORS.format(**found.examples)),
        _table(f"prior + coupling on {found.data}, best first", pairings, PAIRINGS),
    ]
    if own := found.suggestion:
        title = f"mixtures by held-out log-density, {own.rows} examples, {own.seconds:.1f} s"
        rows = [{"prior": c.prior, "density": c.log_density, "seconds": c.seconds} for c in own.candidates]
        shown.append(_table(title, rows))
    return shown


def _prior_row(fitted: FittedPrior) -> dict[str, str | float]:
    close, size = fitted.closeness, fitted.state_bytes
    return {
        "prior": fitted.prior,
        "explained": close.explained_variance,
        "density": close.log_density,
        "W2²": _average(close.gaussian_w2),
        "real W2²": _average(close.gaussian_w2_real_data),
        "spread": close.spread,
        "ot cost": fitted.transport_cost_ot,
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


def _table(title: str, rows: Sequence[dict[str, str | float]], caption: str | None = None) -> Table:
    """A row each of ``rows``; numbers, and what is not named after a prior, stand at the right."""
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, "table.title")  # In a user's text, a bracket is no markup.
    table = Table(title=heading, title_justify="left", caption_justify="left", padding=(0, 1, 0, 0), box=None)
    table.caption = caption
    for name in rows[0]:
        if name == "" or name.startswith("prior"):
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", style="bold" if name == "score" else None)
    for row in rows:
        table.add_row(*(Text(value if isinstance(value, str) else f"{value:.3g}") for value in row.values()))
    return table


def _average(distances: dict[int, float]) -> float:
    return sum(distances.values()) / max(len(distances), 1)
