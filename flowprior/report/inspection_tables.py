"""Rich tables of an inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprior.inspection import Inspection, Pairing, Suggestion

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

RARE = 0.05


def inspection_tables(found: Inspection) -> list[Table]:
    """The priors, the ranking, and the suggestion where there is one."""
    shown = [priors_table(found), pairings_table(found)]
    return [*shown, suggestion_table(found.suggestion)] if found.suggestion else shown


def priors_table(found: Inspection) -> Table:
    """Priors against held-out data."""
    numbers = ("explained", "density", "W2²", "real W2²", "spread", "ot cost", "fit s", "state")
    table = _table("priors against held-out data", ["", "prior"], numbers)
    for place, fitted in enumerate(found.priors, 1):
        close = fitted.closeness
        distances = [_average(close.gaussian_w2), _average(close.gaussian_w2_real_data)]
        values = [close.explained_variance, close.log_density, *distances, close.spread]
        values += [fitted.transport_cost_ot, fitted.seconds]
        table.add_row(str(place), _plain(fitted.prior), *map(_short, values), _bytes(fitted.state_bytes))
    count = found.examples
    table.caption = (
        "explained: share of the variance; density: logarithm, nats per dimension; W2²: of Gaussians, "
        "averaged over conditions; real W2²: the same between training and held-out data; "
        f"{count['fit']:g} examples fitted on, {count['held_out']:g} held out, of {count['all']:g}"
    )
    return table


def pairings_table(found: Inspection) -> Table:
    """Pairings by their score."""
    counts = list(found.pairings[0].simulated_flow.distance)
    numbers = ["score", *(f"{count} step{'s' * (count > 1)}" for count in counts)]
    numbers += ["crossing", "shift", "gap", "cost"]
    table = _table(f"prior + coupling on {found.data}, best first", ["", "prior + coupling"], numbers)
    table.columns[2].style = "bold"
    places = {fitted.prior: place for place, fitted in enumerate(found.priors, 1)}
    for pairing in found.pairings:
        flow = pairing.simulated_flow
        values = [pairing.score, *(flow.distance[count] for count in counts), flow.crossing, flow.shift]
        name = f"{pairing.prior.partition(':')[0]} + {pairing.coupling}"
        shown = [*map(_short, values), _gap(pairing), _short(pairing.transport_cost)]
        table.add_row(str(places[pairing.prior]), _plain(name), *shown)
    table.caption = (
        "steps: energy distance to held-out data, 0 to 1, after Euler steps of the simulated flow, whose "
        "velocity is estimated without a network; score: geometric mean of the last one and of crossing × "
        "exp(shift), what there is to learn; it ranks, and does not say what a trained network will reach; "
        "*: a gap that chance gives in less than one of twenty cases"
    )
    return table


def suggestion_table(suggestion: Suggestion) -> Table:
    """Mixtures by held-out log-density."""
    title = f"mixtures by held-out log-density, {suggestion.rows} examples, {suggestion.seconds:.1f} s"
    table = _table(title, ["prior"], ["density", "seconds"])
    for candidate in suggestion.candidates:
        table.add_row(_plain(candidate.prior), _short(candidate.log_density), _short(candidate.seconds))
    return table


def _table(title: str, names: list[str], numbers: list[str] | tuple[str, ...]) -> Table:
    """A table of named columns and, right of them, columns of numbers."""
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, "table.title")
    table = Table(title=heading, title_justify="left", caption_justify="left", padding=(0, 1, 0, 0), box=None)
    for name in names:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _plain(text: str) -> Text:
    """Text of a user's, in which a bracket is no markup."""
    from rich.text import Text

    return Text(text)


def _average(distances: dict[int, float]) -> float:
    return sum(distances.values()) / max(len(distances), 1)


def _short(value: float) -> str:
    return f"{value:.3g}"


def _gap(pairing: Pairing) -> str:
    """The gap between both sources, with a star where chance would hardly give it."""
    return _short(pairing.starts_gap["coefficient"]) + "*" * (pairing.starts_gap["p_value"] < RARE)


def _bytes(count: int) -> str:
    return f"{count / 2**20:.3g} MiB" if count >= 2**20 else f"{count / 2**10:.3g} KiB"
