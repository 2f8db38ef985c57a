"""What an inspection found: figures by name, as JSON and as a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import CheckpointError
from flowprior.inspection.closeness import Closeness
from flowprior.inspection.rehearsal import Rehearsal
from flowprior.inspection.suggestion import Suggestion

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Fitted:
    """A prior after its fit.

    Attributes:
        prior: specification.
        seconds: of the fit.
        state_bytes: of everything that it keeps.
        closeness: its figures against held-out data.
        transport_cost_ot: E‖x1 − x0‖² after optimal transport within the condition, in batches of 256.
        picture: file, or None.
    """

    prior: str
    seconds: float
    state_bytes: int
    closeness: Closeness
    transport_cost_ot: float
    picture: str | None


@dataclass(frozen=True)
class Pairing:
    """A prior and a coupling.

    Attributes:
        prior: specification.
        coupling: specification.
        transport_cost: E‖x1 − x0‖² of the coupled pairs.
        starts_gap: values of :class:`flowprior.couplings.SourceGap`.
        rehearsal: what a flow without a network gave.
        seconds: that these figures took.
    """

    prior: str
    coupling: str
    transport_cost: float
    starts_gap: dict[str, Any]
    rehearsal: Rehearsal
    seconds: float

    @property
    def score(self) -> float:
        """What pairings are ranked by (:attr:`Rehearsal.score`); lower is better."""
        return self.rehearsal.score


@dataclass(frozen=True)
class Inspection:
    """Every prior and every pairing, the latter best first.

    Attributes:
        data: name of the data set.
        examples: how many were fitted on (``fit``), held out (``held_out``) and are there (``all``), and
            ``min``, ``median`` and ``max`` of a label.
        priors: in the order given.
        pairings: by their score.
        suggestion: mixtures by held-out log-density, or None.
        warnings: what to look out for.
        settings: seed, steps, torch's threads.
        seconds: of all of it.
    """

    data: str
    examples: dict[str, float]
    priors: list[Fitted]
    pairings: list[Pairing]
    suggestion: Suggestion | None
    warnings: list[str]
    settings: dict[str, Any]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists and numbers."""
        found = asdict(self)
        for written, pairing in zip(found["pairings"], self.pairings, strict=True):
            written["score"] = pairing.score
        return found

    def save(self, path: Path | str) -> None:
        """Write :meth:`as_dict` as JSON.

        Raises:
            CheckpointError: the file cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {error.strerror or error}; choose another directory"
            ) from error

    def tables(self) -> list[Table]:
        """Rich tables: the priors, the ranking, and the suggestion where there is one."""
        from flowprior.report.inspection_tables import pairings_table, priors_table, suggestion_table

        shown = [priors_table(self), pairings_table(self)]
        return [*shown, suggestion_table(self.suggestion)] if self.suggestion else shown
