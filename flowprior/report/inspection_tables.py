"""Rich tables of an inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprior.inspection.report import Inspection, Pairing
from flowprior.inspection.suggestion import Suggestion

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

RARE = 0.05


def pairings_table(found: Inspection) -> Table:
    """Pairings by their score."""
    counts = list(found.pairings[0].rehearsal.distance)
    table = _table(f"prior + coupling on {found.data}, best first", "", "prior + coupling")
    table.add_column("score", justify="right", style="bold")
    places = {fitted.prior: place for place, fitted in enumerate(found.priors, 1)}
    for count in counts:
        table.add_column(f"{count} step{'s' * (count > 1)}", justify="right")
    for name in ("crossing", "shift", "gap", "cost"):
        table.add_column(name, justify="right")
    for pairing in found.pairings:
        rehearsal = pairing.rehearsal
        figures = [pairing.score, *(rehearsal.distance[count] for count in counts)]
        figures += [rehearsal.crossing, rehearsal.shift]
        name = f"{pairing.prior.partition(':')[0]} + {pairing.coupling}"
        shown = [*map(_figure, figures), _gap(pairing), _figure(pairing.transport_cost)]
        table.add_row(str(places[pairing.prior]), _plain(name), *shown)
    table.caption = (
        "steps: energy distance to held-out data, 0 to 1, after Euler steps along a velocity estimated "
        "without a network; score: geometric mean of the last one and of crossing × exp(shift), what there "
        "is to learn; it ranks, and does not say what a trained network will reach; *: a gap that "
        "chance gives in less than one of twenty cases"
    )
    return table


def priors_table(found: Inspection) -> Table:
    """Priors against held-out data."""
    table = _table("priors against held-out data", "", "prior")
    for name in ("explained", "density", "W2²", "floor", "spread", "ot cost", "fit s", "state"):
        table.add_column(name, justify="right")
    for place, fitted in enumerate(found.priors, 1):
        close = fitted.closeness
        distances = [_average(close.gaussian_w2), _average(close.gaussian_w2_floor)]
        figures = [close.explained_variance, close.log_density, *distances, close.spread]
        figures += [fitted.transport_cost_ot, fitted.seconds]
        table.add_row(str(place), _plain(fitted.prior), *map(_figure, figures), _bytes(fitted.state_bytes))
    count = found.examples
    table.caption = (
        "explained: share of the variance; density: logarithm, nats per dimension; W2²: of Gaussians, "
        f"averaged over conditions; {count['fit']:g} examples fitted on, {count['held_out']:g} held out, of "
        f"{count['all']:g}"
    )
    return table


def suggestion_table(suggestion: Suggestion) -> Table:
    """Mixtures by held-out log-density."""
    title = f"mixtures by held-out log-density, {suggestion.rows} examples, {suggestion.seconds:.1f} s"
    table = _table(title, "prior")
    table.add_column("density", justify="right")
    table.add_column("seconds", justify="right")
    for candidate in suggestion.candidates:
        table.add_row(_plain(candidate.prior), _figure(candidate.log_density), _figure(candidate.seconds))
    return table


def _table(title: str, *names: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, "table.title")
    table = Table(title=heading, title_justify="left", caption_justify="left", padding=(0, 1, 0, 0), box=None)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _plain(text: str) -> Text:
    """Text of a user's, in which a bracket is no markup."""
    from rich.text import Text

    return Text(text)


def _average(distances: dict[int, float]) -> float:
    return sum(distances.values()) / max(len(distances), 1)


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _gap(pairing: Pairing) -> str:
    """The starts' gap, with a star where chance would hardly give it."""
    return _figure(pairing.starts_gap["coefficient"]) + "*" * (pairing.starts_gap["p_value"] < RARE)


def _bytes(count: int) -> str:
    return f"{count / 2**20:.3g} MiB" if count >= 2**20 else f"{count / 2**10:.3g} KiB"
