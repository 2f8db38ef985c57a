"""Metric: what a metric must offer, the registry, and the names that ``metrics=`` understands."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from flowprior.errors import OptionError
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.trajectories import Trajectories
from flowprior.registry import Registered, Registry
from flowprior.samplers import Sampler

GROUPS = ("quick", "all")


@dataclass(frozen=True)
class MetricInfo:
    """What a value is.

    Attributes:
        description: what was computed.
        samples: how many generated samples it is computed from.
        reference: name, split and size of what they are compared with.
        better: ``"lower"``, ``"higher"`` or ``""``.
        real_data_score: the same value of as many real samples; None where there is none.
        features: name and weights of the features that it compares; empty where it takes the events.
    """

    description: str
    samples: int
    reference: str = ""
    better: str = ""
    real_data_score: float | None = None
    features: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetricInfo:
        """From JSON; older files say ``floor`` for ``real_data_score``."""
        values = dict(values)
        if "floor" in values:
            values["real_data_score"] = values.pop("floor")
        return cls(**values)


class Metric(Registered, abc.ABC):
    """Base class of metrics. One may give several figures, such as one for each set of features.

    Subclass one of :class:`SampleMetric`, :class:`StepMetric` and :class:`FlowMetric`.
    """

    registry: ClassVar[Registry[Any]] = Registry("metric", "flowprior.metrics")
    quick: ClassVar[bool] = False
    """Part of the default set: at most about as dear as generating the samples."""
    needs_classifier: ClassVar[bool] = True
    """Whether it may look at ``setup.classifier`` or its features; where none does, none is trained."""

    @property
    def name(self) -> str:
        """Registered name, or that of the class."""
        return next((r.name for r in self.registry.records() if r.factory is type(self)), type(self).__name__)

    @abc.abstractmethod
    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        """Name and description of each figure that this data allows; none of them is computed.

        A stored figure is used again where its description, sample count, reference and features are equal,
        so they must say everything that decides it.
        """

    def lacks(self, setup: Setup) -> str:
        """What is missing where :meth:`columns` is empty."""
        return "something"


class SampleMetric(Metric):
    """A figure of samples, generated or real."""

    @abc.abstractmethod
    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        """The figures of ``drawn``, by name."""

    real_data: ClassVar[Literal["training", "held-out", "none"]] = "training"
    """The real samples whose value is the real-data score."""


class StepMetric(Metric):
    """A figure of a sampler's steps, against trajectories that were solved to a tight tolerance."""

    needs_classifier = False

    @abc.abstractmethod
    def values(
        self,
        setup: Setup,
        sampler: Sampler,
        nfe: int | None,
        guidance: float,
        x: Tensor,
        trajectories: Trajectories,
    ) -> dict[str, float]:
        """The figures of a sampler whose samples are x ``[N, *event]``; empty where it has none."""


class FlowMetric(Metric):
    """A figure of the flow itself, whatever the sampler."""

    needs_classifier = False
    needs_trajectories: ClassVar[bool] = False

    @abc.abstractmethod
    def values(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        """The figures at one guidance."""


def select(metrics: str | Metric | Sequence[str | Metric]) -> list[Metric]:
    """Measures by name: ``"quick"``, ``"all"``, a name or spec, an instance, or a list of these.

    Returns:
        Each once: the quick ones, then those of samples, of steps, of the flow. What is named with options
        takes the place of a group's.

    Raises:
        UnknownComponentError: no metric of that name.
        OptionError: none is given, or options that do not fit.
    """
    wanted = [metrics] if isinstance(metrics, str | Metric) else list(metrics)
    known = Metric.available()
    if not wanted:
        raise OptionError(f"metrics: none is given; choose of {', '.join((*GROUPS, *known))}")
    named = [Metric.registry.resolve(item) for item in wanted if item not in GROUPS]
    found: dict[str, Metric] = {measure.name: measure for measure in named}
    for record in Metric.registry.records():
        factory: Any = record.factory
        if record.name not in found and ("all" in wanted or ("quick" in wanted and factory.quick)):
            found[record.name] = factory()
    return sorted(found.values(), key=_place)


def _place(measure: Metric) -> tuple[bool, int, int]:
    kinds = (SampleMetric, StepMetric, FlowMetric)
    kind = next((place for place, base in enumerate(kinds) if isinstance(measure, base)), len(kinds))
    names = [record.name for record in Metric.registry.records()]
    return not measure.quick, kind, names.index(measure.name) if measure.name in names else len(names)
