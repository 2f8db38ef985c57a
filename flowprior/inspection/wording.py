"""What an inspection says of itself in a notebook: its pairings, best first, and its priors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowprior.display import Table
from flowprior.inspection.fitted_prior import FittedPrior


def pairing_records(pairings: Iterable[Any], priors: Iterable[FittedPrior]) -> list[dict[str, Any]]:
    """One record for each :class:`~flowprior.inspection.Pairing`, with what is known of its prior."""
    known = {prior.prior: prior_record(prior) for prior in priors}
    return [
        {
            "prior": pairing.prior,
            "coupling": pairing.coupling,
            "score": pairing.score,
            "transport_cost": pairing.transport_cost,
            "crossing": pairing.simulated_flow.crossing,
            "shift": pairing.simulated_flow.shift,
            **{name: value for name, value in known[pairing.prior].items() if name != "prior"},
        }
        for pairing in pairings
    ]


def prior_record(prior: FittedPrior) -> dict[str, Any]:
    """What a prior gives on held-out data."""
    return {
        "prior": prior.prior,
        "explained_variance": prior.closeness.explained_variance,
        "log_density": prior.closeness.log_density,
        "half_share": prior.half_share,
        "fit_seconds": prior.seconds,
    }


def table_of(records: Sequence[Mapping[str, Any]]) -> Table:
    """Records of the same keys as a table."""
    columns = list(records[0]) if records else []
    return Table(columns, [[record[name] for name in columns] for record in records])
