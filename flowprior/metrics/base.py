"""Measure: what a metric must offer, the registry, and the names that ``metrics=`` understands."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor

from flowprior.errors import OptionError
from flowprior.metrics.description import Metric
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.trajectories import Trajectories
from flowprior.registry import Registered, Registry
from flowprior.samplers import Sampler

GROUPS = ("quick", "all")


class Measure(Registered, abc.ABC):
    """Base class of metrics. One may give several figures, such as one for each set of features.

    Subclass one of :class:`SampleMeasure`, :class:`StepMeasure` and :class:`FlowMeasure`.
    """

    registry: ClassVar[Registry[Any]] = Registry("metric", "flowprior.metrics")
    quick: ClassVar[bool] = False
    """Part of the default set: at most about as dear as generating the samples."""
    needs_judge: ClassVar[bool] = True
    """Whether it may look at ``setup.classifier`` or its features; where none does, none is trained."""

    @property
    def name(self) -> str:
        """Registered name, or that of the class."""
        return next((r.name for r in self.registry.records() if r.factory is type(self)), type(self).__name__)

    @abc.abstractmethod
    def columns(self, setup: Setup) -> dict[str, Metric]:
        """Name and description of each figure that this data allows; none of them is computed.

        A stored figure is used again where its description, sample count, reference and features are equal,
        so they must say everything that decides it.
        """

    def lacks(self, setup: Setup) -> str:
        """What is missing where :meth:`columns` is empty."""
        return "something"


class SampleMeasure(Measure):
    """A figure of samples, generated or real."""

    @abc.abstractmethod
    def figures(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        """The figures of ``drawn``, by name."""

    floor: ClassVar[Literal["training", "held-out", "none"]] = "training"
    """The real samples whose figure is the floor."""


class StepMeasure(Measure):
    """A figure of a sampler's steps, against trajectories that were solved to a tight tolerance."""

    needs_judge = False

    @abc.abstractmethod
    def figures(
        self,
        setup: Setup,
        sampler: Sampler,
        nfe: int | None,
        guidance: float,
        x: Tensor,
        trajectories: Trajectories,
    ) -> dict[str, float]:
        """The figures of a sampler whose samples are x ``[N, *event]``; empty where it has none."""


class FlowMeasure(Measure):
    """A figure of the flow itself, whatever the sampler."""

    needs_judge = False
    needs_trajectories: ClassVar[bool] = False

    @abc.abstractmethod
    def figures(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        """The figures at one guidance."""


def select(metrics: str | Measure | Sequence[str | Measure]) -> list[Measure]:
    """Measures by name: ``"quick"``, ``"all"``, a name or spec, an instance, or a list of these.

    Returns:
        Each once: the quick ones, then those of samples, of steps, of the flow. What is named with options
        takes the place of a group's.

    Raises:
        UnknownComponentError: no metric of that name.
        OptionError: none is given, or options that do not fit.
    """
    wanted = [metrics] if isinstance(metrics, str | Measure) else list(metrics)
    known = Measure.available()
    if not wanted:
        raise OptionError(f"metrics: none is given; choose of {', '.join((*GROUPS, *known))}")
    named = [Measure.registry.resolve(item) for item in wanted if item not in GROUPS]
    found: dict[str, Measure] = {measure.name: measure for measure in named}
    for record in Measure.registry.records():
        factory: Any = record.factory
        if record.name not in found and ("all" in wanted or ("quick" in wanted and factory.quick)):
            found[record.name] = factory()
    return sorted(found.values(), key=_place)


def _place(measure: Measure) -> tuple[bool, int, int]:
    kinds = (SampleMeasure, StepMeasure, FlowMeasure)
    kind = next((place for place, base in enumerate(kinds) if isinstance(measure, base)), len(kinds))
    names = [record.name for record in Measure.registry.records()]
    return not measure.quick, kind, names.index(measure.name) if measure.name in names else len(names)
