"""What an evaluation found, as data, JSON and a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import InputError
from flowprior.metrics.base import MetricInfo
from flowprior.storage import write_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Evaluation:
    """Figures of one flow.

    Attributes:
        rows: one for each number of evaluations: ``nfe``, the metrics by name, ``seconds``.
        metrics: what each metric of the rows is.
        transport: E‖x1 − x0‖² of training pairs: ``paired`` by the coupling, ``unpaired`` with starts drawn
            from the prior, and from how many ``pairs``.
        settings: data, sampler, guidance, seed, parts of the flow, device, versions.
        notes: what was left out, and why.
        flow_figures: figures of the flow itself, which no sampler changes, such as ``curvature``.
        flow_metrics: what each of them is.
    """

    rows: list[dict[str, float]]
    metrics: dict[str, MetricInfo]
    transport: dict[str, float]
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    flow_figures: dict[str, float] = field(default_factory=dict)
    flow_metrics: dict[str, MetricInfo] = field(default_factory=dict)

    @property
    def fid_name(self) -> str | None:
        """Name of the Fréchet distance among the metrics, such as ``fid-cnn128``; None without one."""
        return next((name for name in self.metrics if name.startswith("fid-")), None)

    def value(self, metric: str, nfe: int) -> float:
        """The figure of one metric at one number of evaluations; ``"fid"`` finds the Fréchet distance.

        Raises:
            InputError: no such row or metric.
        """
        name = self.fid_name if metric == "fid" else metric
        for row in self.rows:
            if row["nfe"] == nfe and name in row:
                return row[name]
        raise InputError(
            f"evaluation: no {metric} at nfe={nfe}; it has {', '.join(self.metrics)} "
            f"at nfe {', '.join(str(row['nfe']) for row in self.rows)}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists and numbers."""
        return asdict(self)

    def save(self, path: Path | str) -> None:
        """Write :meth:`as_dict` as JSON.

        Raises:
            CheckpointError: the file cannot be written.
        """
        write_json(path, self.as_dict())

    def table(self) -> Table:
        """The rows as a rich table: an arrow points to each metric's better side, the floor comes last."""
        from flowprior.evaluation.sweep_result import Sweep

        return Sweep([self], self.notes).table()


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as JSON in one move, making folders where they are missing.

    Raises:
        CheckpointError: the file cannot be written.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")
