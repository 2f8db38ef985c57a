"""The result of an evaluation: one long table with one row a value.

And what it shows of itself: the best values at a prompt, a table by NFE in a notebook.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.display import Shown, Table, counted
from flowprior.errors import InputError
from flowprior.metrics.base import MetricInfo
from flowprior.storage import write_json

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    *("flow", "seed", "step", "sampler", "grid", "nfe", "guidance", "condition"),
    *("samples", "split", "reference", "features", "metric", "value"),
)
"""The columns of every row; one that does not apply is None."""
REAL_DATA = "real data"
"""In the column ``flow``: the value is that of as many real samples, the metric's real-data score."""
ADAPTIVE = "adaptive"
"""In the column ``grid``: the sampler chose its own steps, and ``nfe`` is what it spent."""
SECONDS = "seconds"
"""The metric that says how long generating the samples took."""
MOST_METRICS = 6
"""Metrics of which a prompt shows the best value."""
BETTER = {"lower": min, "higher": max}
Rows = Iterable[Mapping[str, Any]]


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
        return next((name for name in self.metrics if name.startswith("fid-")), None)

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
        asked = ", ".join([f"nfe={nfe}", *(f"{name}={value!r}" for name, value in where.items())])
        raise InputError(
            f"evaluation: no {metric} at {asked}; it has {', '.join(self.metrics)} at nfe {', '.join(counts)}"
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

    def tagged(self, **columns: Any) -> Result:
        """The same with these columns set in every row, such as ``flow`` and ``step``.

        Real data keep their name and have no step.
        """
        kept = {"flow": REAL_DATA, "step": None}
        rows = [row | columns | (kept if row["flow"] == REAL_DATA else {}) for row in self.rows]
        return Result(rows, self.metrics, self.settings, self.notes)

    def heading(self) -> str:
        flows = list(dict.fromkeys(row["flow"] for row in self.rows if row["flow"] != REAL_DATA))
        nfe = list(dict.fromkeys(str(row["nfe"]) for row in self.rows if row["nfe"] is not None))
        of = ", ".join(map(str, flows[:3])) + (", …" if len(flows) > 3 else "")
        at = f", NFE {', '.join(nfe)}" if nfe else ""
        return f"Result of {of or 'nothing'}{at}: {counted(len(self.rows), 'value')}"

    def lines(self) -> list[str]:
        return [*_best_values(self._of_flows, self.quality_metrics), *self.notes[:3]]

    def tables(self) -> list[Table]:
        own = [row for row in self._of_flows if row["nfe"] is None]
        values = [[row["metric"], row["value"]] for row in own]
        metrics = self.quality_metrics
        means = [[*at, *(mean.get(name) for name in metrics)] for at, mean in _means(self._of_flows).items()]
        by_nfe = Table(("sampler", "guidance", "NFE", *metrics), means)
        return [by_nfe, *([Table(("metric of the flow", "value"), values)] if values else [])]

    @property
    def _of_flows(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["flow"] != REAL_DATA]

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas data frame (extra ``plot``), one a value."""
        import pandas

        return pandas.DataFrame(self.rows, columns=pandas.Index(COLUMNS))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        """What :meth:`as_dict` gave, back again."""
        metrics = {name: MetricInfo.from_dict(info) for name, info in values["metrics"].items()}
        return cls(list(values["rows"]), metrics, dict(values["settings"]), list(values["notes"]))

    def save(self, path: Path | str) -> None:
        """Write :meth:`as_dict` as JSON, making folders where they are missing.

        Raises:
            CheckpointError: the file cannot be written.
        """
        write_json(path, self.as_dict())


def worse_than_prior(by_nfe: Mapping[float, float], better: str) -> list[float]:
    """The numbers of evaluations at which a flow is worse than the prior alone (NFE 0), ascending.

    Args:
        by_nfe: number of evaluations -> value of a metric.
        better: ``"lower"`` or ``"higher"``; any other metric has no worse.

    Returns:
        None of them where there is no value at NFE 0.
    """
    sign = {"lower": 1, "higher": -1}.get(better)
    if sign is None or 0 not in by_nfe:
        return []
    return sorted(count for count, value in by_nfe.items() if count and sign * value > sign * by_nfe[0])


def _best_values(rows: Rows, metrics: Mapping[str, MetricInfo]) -> list[str]:
    """``fid-cnn128 1.93 at NFE 30, euler (lower is better)`` for each of the first few metrics."""
    means = _means(rows)
    lines = []
    for name, info in metrics.items():
        own = {place: values[name] for place, values in means.items() if name in values}
        if own and info.better in BETTER:
            sampler, _, nfe = place = BETTER[info.better](own, key=own.__getitem__)
            lines.append(f"{name} {own[place]:.4g} at NFE {nfe}, {sampler} ({info.better} is better)")
    more = len(lines) - MOST_METRICS
    return lines[:MOST_METRICS] + ([f"and {counted(more, 'metric')} more"] if more > 0 else [])


def _means(rows: Rows) -> dict[tuple[Any, ...], dict[str, float]]:
    """(sampler, guidance, NFE) -> metric -> mean over seeds, of the first split."""
    kept = [row for row in rows if row["nfe"] is not None and row["value"] is not None]
    first = next((row["split"] for row in kept if row["split"] is not None), None)
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for row in kept:
        if row["split"] in (None, first):
            place = (row["sampler"], row["guidance"], row["nfe"])
            found.setdefault(place, {}).setdefault(row["metric"], []).append(row["value"])
    return {place: {name: statistics.fmean(v) for name, v in own.items()} for place, own in found.items()}


def _differing(rows: list[dict[str, Any]]) -> str:
    """Which columns tell rows apart, in a sentence that says what to do."""
    found = {name: list(dict.fromkeys(row[name] for row in rows)) for name in COLUMNS if name != "value"}
    choices = [f"{name}={' or '.join(map(repr, seen))}" for name, seen in found.items() if len(seen) > 1]
    return f"say which of {', '.join(choices)}"
