"""Result: the long table of an evaluation, one row a value, with the best values at a prompt."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.display.shown import Shown, Table, counted
from flowprior.errors import InputError
from flowprior.evaluation.summary import SIGNS, Row, frechet_names, grouped, means_over_seeds
from flowprior.metrics.base import MetricInfo
from flowprior.storage.writing import write_json

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    *("flow", "seed", "step", "sampler", "grid", "nfe", "guidance", "condition"),
    *("samples", "split", "reference", "features", "metric", "value"),
)
"""The columns of every row; one that does not apply is None."""
REAL_DATA = "real data"
"""The entry of the column ``flow`` where the value is the real-data score: that of as many real samples."""
SECONDS = "seconds"
"""The metric of the time that generating the samples took."""


def table_row(metric: str, value: float, info: MetricInfo | None = None, **columns: Any) -> dict[str, Any]:
    """One row of the long table.

    Args:
        metric: name of the metric.
        value: its value.
        info: gives ``samples``, ``reference`` and ``features`` where ``columns`` do not.
        columns: any other of :data:`COLUMNS`.
    """
    shared = () if info is None else ("samples", "reference", "features")
    known = {name: getattr(info, name) or None for name in shared}
    return dict.fromkeys(COLUMNS) | known | columns | {"metric": metric, "value": value}


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """Values of one flow or several, and in what terms they were measured.

    Attributes:
        rows: one for each value, with the columns :data:`COLUMNS`. The prior alone has ``nfe`` 0 and is
            repeated for every sampler and guidance. Values of the flow itself (curvature and others that no
            sampler changes) have neither ``sampler`` nor ``nfe``; real-data scores have the flow
            ``"real data"``.
        metrics: what each metric is: description, better side, sample count, reference and features.
        settings: data, parts of the flow, samplers, guidances, seeds, classifier, device, versions.
        notes: what was left out, and why.
    """

    rows: list[dict[str, Any]]
    metrics: dict[str, MetricInfo] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def fid_name(self) -> str | None:
        """Name of the Fréchet distance among the metrics, such as ``fid-cnn128``; None without one."""
        return next(iter(frechet_names(self.metrics)), None)

    @property
    def quality_metrics(self) -> dict[str, MetricInfo]:
        """The metrics that are there for each number of evaluations, without the seconds of generating."""
        found = {row["metric"] for row in self.rows if row["nfe"] is not None} - {SECONDS}
        return {name: info for name, info in self.metrics.items() if name in found}

    def select(self, **where: Any) -> list[dict[str, Any]]:
        """The rows whose columns have these values; a list, tuple or set allows each of its values.

        Raises:
            InputError: there is no column of that name.
        """
        for name in where:
            if name not in COLUMNS:
                raise InputError(f"evaluation: no column '{name}'; the columns are {', '.join(COLUMNS)}")
        several = (list, tuple, set, frozenset)
        wanted = {name: value if isinstance(value, several) else [value] for name, value in where.items()}
        return [row for row in self.rows if all(row[name] in values for name, values in wanted.items())]

    def value(self, metric: str, nfe: int | None = None, **where: Any) -> float:
        """The value of one metric; ``"fid"`` finds the Fréchet distance.

        Args:
            metric: its name.
            nfe: number of evaluations; None for values of the flow itself.
            where: further columns, where there are several samplers, guidances, seeds or splits.

        Raises:
            InputError: no such value, or several different ones.
        """
        rows = self.select(metric=self._full_name(metric), nfe=nfe, **where)
        rows = [row for row in rows if "flow" in where or row["flow"] != REAL_DATA]
        values = {row["value"] for row in rows}
        if len(values) == 1:
            return values.pop()
        if values:
            raise InputError(f"evaluation: several values of {metric} at nfe={nfe}; {_differing(rows)}")
        counts = dict.fromkeys(str(row["nfe"]) for row in self.rows if row["nfe"] is not None)
        place = ", ".join([f"nfe={nfe}", *(f"{name}={value!r}" for name, value in where.items())])
        raise InputError(
            f"evaluation: no {metric} at {place}; it has {', '.join(self.metrics)} at nfe {', '.join(counts)}"
        )

    def real_data_score(self, metric: str, split: str | None = None) -> float | None:
        """The metric of as many real training samples, mean over seeds; None where there is none.

        Args:
            metric: its name; ``"fid"`` finds the Fréchet distance.
            split: what they are compared with; None for the first there is.
        """
        rows = self.select(metric=self._full_name(metric), flow=REAL_DATA)
        split = split or next((row["split"] for row in rows), None)
        values = [row["value"] for row in rows if row["split"] == split]
        return statistics.fmean(values) if values else None

    def _full_name(self, metric: str) -> str | None:
        return self.fid_name if metric == "fid" else metric

    def heading(self) -> str:
        flows = list(dict.fromkeys(row["flow"] for row in self.rows if row["flow"] != REAL_DATA))
        nfe = list(dict.fromkeys(str(row["nfe"]) for row in self.rows if row["nfe"] is not None))
        of = ", ".join(map(str, flows[:3])) + (", …" if len(flows) > 3 else "")
        at = f", NFE {', '.join(nfe)}" if nfe else ""
        return f"Result of {of or 'nothing'}{at}: {counted(len(self.rows), 'value')}"

    def lines(self) -> list[str]:
        best = []
        for metric, own in grouped(self.means(), itemgetter("metric")).items():
            if metric in self.metrics and (better := self.metrics[metric].better):
                row = min(own, key=lambda row: SIGNS[better] * row["mean"])
                at = f"NFE {row['nfe']:g}, {row['sampler']}"
                best.append(f"{metric} {row['mean']:.4g} at {at} ({better} is better)")
        return [*best, *self.notes[:3]]

    def tables(self) -> list[Table]:
        metrics, means = self.quality_metrics, self.means()
        lines = grouped(means, itemgetter("sampler", "guidance", "nfe"))
        by_metric = {at: {row["metric"]: row["mean"] for row in own} for at, own in lines.items()}
        cells = [[*at, *map(own.get, metrics)] for at, own in by_metric.items()]
        values = [[row["metric"], row["value"]] for row in self.select(nfe=None) if row["flow"] != REAL_DATA]
        by_nfe = Table(("sampler", "guidance", "NFE", *metrics), cells)
        return [by_nfe, *([Table(("metric of the flow", "value"), values)] if values else [])]

    def means(self) -> list[Row]:
        """Return means over seeds of the values of samples against the first split."""
        first = next((row["split"] for row in self.rows if row["split"]), None)
        of_samples = (row for row in self.rows if row["nfe"] is not None)
        return means_over_seeds(row for row in of_samples if row["split"] in (None, first))

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas data frame (extra ``plot``), one a value."""
        import pandas

        return pandas.DataFrame(self.rows, columns=pandas.Index(COLUMNS))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        """Return a result from what :meth:`as_dict` gave."""
        metrics = {name: MetricInfo.from_dict(info) for name, info in values["metrics"].items()}
        return cls(list(values["rows"]), metrics, dict(values["settings"]), list(values["notes"]))

    def save(self, path: Path | str) -> None:
        """Write :meth:`as_dict` as JSON, making folders where they are missing.

        Raises:
            CheckpointError: the file cannot be written.
        """
        write_json(path, self.as_dict())


def _differing(rows: list[dict[str, Any]]) -> str:
    """Return the columns in which rows differ, in a sentence with what to do."""
    found = {name: list(dict.fromkeys(row[name] for row in rows)) for name in COLUMNS if name != "value"}
    choices = [f"{name}={' or '.join(map(repr, seen))}" for name, seen in found.items() if len(seen) > 1]
    return f"say which of {', '.join(choices)}"
