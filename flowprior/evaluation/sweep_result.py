"""What evaluations over samplers, guidances and seeds found, with mean and deviation over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flowprior.evaluation.prior_alone import worse_than_prior
from flowprior.evaluation.result import Evaluation, write_json
from flowprior.metrics.base import MetricInfo

if TYPE_CHECKING:
    from rich.table import Table


class Spread(NamedTuple):
    """Mean and standard deviation (unbiased) of a figure over seeds; no deviation of a single one."""

    mean: float
    std: float | None
    seeds: int


@dataclass(frozen=True)
class Line:
    """Mean figures of one sampler and guidance at one number of evaluations.

    Attributes:
        sampler: as it was asked for.
        guidance: strength of classifier-free guidance.
        nfe: evaluations spent; their mean where an adaptive sampler spent more on one seed.
        figures: by metric, and ``seconds``.
    """

    sampler: str
    guidance: float
    nfe: float
    figures: dict[str, Spread]


class Loss(NamedTuple):
    """Where the flow is worse than its prior alone by one metric, with one sampler and guidance.

    Attributes:
        sampler: as it was asked for.
        guidance: strength of classifier-free guidance.
        metric: name of the metric.
        nfe: the numbers of evaluations at which it is worse than at NFE 0.
    """

    sampler: str
    guidance: float
    metric: str
    nfe: list[float]


@dataclass(frozen=True)
class Sweep:
    """Evaluations of one flow.

    Attributes:
        evaluations: one for each sampler, guidance and seed.
        notes: what was left out, and why.
    """

    evaluations: list[Evaluation]
    notes: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, MetricInfo]:
        """What the figures of the rows are; floors are means over seeds."""
        return _averaged([evaluation.metrics for evaluation in self.evaluations])

    @property
    def flow_metrics(self) -> dict[str, MetricInfo]:
        """What the figures of the flow itself are."""
        return _averaged([evaluation.flow_metrics for evaluation in self.evaluations])

    @property
    def seeds(self) -> list[int]:
        """Seeds, in their order."""
        return list(dict.fromkeys(evaluation.settings["seed"] for evaluation in self.evaluations))

    def lines(self) -> list[Line]:
        """Means over seeds, one line for each sampler, guidance and number of evaluations."""
        groups: dict[tuple[str, float, int | None], list[dict[str, float]]] = {}
        for evaluation in self.evaluations:
            setting = (evaluation.settings["sampler"], evaluation.settings["guidance"])
            for row in evaluation.rows:
                # beside the prior's, an adaptive sampler has a single row, whatever it spent on each seed
                own = evaluation.settings.get("adaptive") and row["nfe"] > 0
                count = None if own else int(row["nfe"])
                groups.setdefault((*setting, count), []).append(row)
        return [
            Line(sampler, guidance, _spread(row["nfe"] for row in rows).mean, self._spreads(rows))
            for (sampler, guidance, _), rows in groups.items()
        ]

    def losses(self) -> list[Loss]:
        """Where the flow is worse than its prior alone, by means over seeds; empty without a row of NFE 0."""
        groups: dict[tuple[str, float], list[Line]] = {}
        for line in self.lines():
            groups.setdefault((line.sampler, line.guidance), []).append(line)
        found = []
        for (sampler, guidance), lines in groups.items():
            for name, metric in self.metrics.items():
                values = {line.nfe: line.figures[name].mean for line in lines if name in line.figures}
                found.append(Loss(sampler, guidance, name, worse_than_prior(values, metric.better)))
        return [loss for loss in found if loss.nfe]

    def flow_lines(self) -> dict[float, dict[str, Spread]]:
        """guidance -> figures of the flow itself, means over seeds."""
        found: dict[float, dict[int, dict[str, float]]] = {}
        for evaluation in self.evaluations:
            settings = evaluation.settings
            found.setdefault(settings["guidance"], {})[settings["seed"]] = evaluation.flow_figures
        return {
            guidance: {
                name: _spread(figures[name] for figures in seeds.values() if name in figures)
                for name in self.flow_metrics
                if any(name in figures for figures in seeds.values())
            }
            for guidance, seeds in found.items()
        }

    def transport(self) -> dict[str, float]:
        """Transport cost, mean over seeds."""
        parts = {e.settings["seed"]: e.transport for e in self.evaluations}
        first = next(iter(parts.values()))
        return {name: statistics.fmean(part[name] for part in parts.values()) for name in first}

    def as_dict(self) -> dict[str, Any]:
        """Rows of every seed, their summary, and what the figures are, as plain values."""
        first = self.evaluations[0].settings
        settings = {
            **first,
            "sampler": list(dict.fromkeys(e.settings["sampler"] for e in self.evaluations)),
            "guidance": list(dict.fromkeys(e.settings["guidance"] for e in self.evaluations)),
            "seed": self.seeds,
        }
        return {
            "rows": [
                {**{name: e.settings[name] for name in ("sampler", "guidance", "seed")}, **row}
                for e in self.evaluations
                for row in e.rows
            ],
            "summary": [
                {**asdict(line), "figures": {name: part._asdict() for name, part in line.figures.items()}}
                for line in self.lines()
            ],
            "flow": [
                {"guidance": guidance, "figures": {name: part._asdict() for name, part in figures.items()}}
                for guidance, figures in self.flow_lines().items()
            ],
            "metrics": {name: asdict(metric) for name, metric in self.metrics.items()},
            "flow_metrics": {name: asdict(metric) for name, metric in self.flow_metrics.items()},
            "transport": self.transport(),
            "settings": settings,
            "worse_than_prior": [loss._asdict() for loss in self.losses()],
            "notes": self.notes,
        }

    def save(self, path: Path | str) -> None:
        """Write :meth:`as_dict` as JSON.

        Raises:
            CheckpointError: the file cannot be written.
        """
        write_json(path, self.as_dict())

    def table(self) -> Table:
        """The lines as a rich table, mean ± deviation over seeds; the floor comes last."""
        from flowprior.report.evaluation_table import sweep_table

        return sweep_table(self)

    def plot(self, path: Path | str) -> None:
        """Draw every metric against the number of evaluations into a picture.

        Raises:
            OptionError: matplotlib is not installed, or a suffix that it cannot write.
            CheckpointError: the file cannot be written.
        """
        from flowprior.report.evaluation_plot import save_plot

        save_plot(self, path)

    def _spreads(self, rows: list[dict[str, float]]) -> dict[str, Spread]:
        return {
            name: _spread(row[name] for row in rows if name in row)
            for name in (*self.metrics, "seconds")
            if any(name in row for row in rows)
        }


def _spread(values: Iterable[float]) -> Spread:
    figures = list(values)
    std = statistics.stdev(figures) if len(figures) > 1 else None
    return Spread(statistics.fmean(figures), std, len(figures))


def _averaged(parts: list[dict[str, MetricInfo]]) -> dict[str, MetricInfo]:
    """The metrics of the first part, with the mean of all floors."""
    found = {}
    for name, metric in (parts[0] if parts else {}).items():
        floors = [part[name].real_data_score for part in parts if name in part]
        known = [floor for floor in floors if floor is not None]
        found[name] = replace(metric, real_data_score=statistics.fmean(known) if known else None)
    return found
