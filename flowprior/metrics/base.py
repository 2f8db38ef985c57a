"""The base classes of metrics, their registry, and the names that ``metrics=`` understands."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import joined
from flowprior.errors import InputError, OptionError
from flowprior.features.base import FeatureExtractor, short_identity
from flowprior.metrics.setup import Drawn, Setup
from flowprior.registry import Registered, Registry
from flowprior.samplers import Sampler

GROUPS = ("quick", "all")
QUICK = ("fid", "kid", "accuracy", "w2")
"""The default set: at most about as expensive as generating the samples."""
ORDER = (
    *(*QUICK, "fid-within", "image-text", "precision-recall", "memorisation", "c2st", "sliced-w2"),
    *("crps", "energy-score", "member-spread", "spread-skill"),
    *("truncation", "curvature", "path-energy", "nll"),
)
"""The order of results of samples, of steps and of the flow, quick ones first; others follow, by name."""


@dataclass(frozen=True)
class MetricInfo:
    """The description of a value.

    Attributes:
        description: of what was computed.
        samples: how many generated samples it is computed from.
        reference: name, split and size of what they are compared with.
        better: ``"lower"``, ``"higher"`` or ``""``.
        features: name and weights of the features that it compares; empty where it takes the events.
    """

    description: str
    samples: int
    reference: str = ""
    better: str = ""
    features: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetricInfo:
        """Create it from JSON; unknown keys, such as the ``floor`` of older files, are dropped."""
        known = [field.name for field in fields(cls)]
        return cls(**{name: value for name, value in values.items() if name in known})


class Metric(Registered, abc.ABC):
    """Base class of metrics. One may give several values, such as one for each set of features.

    Subclass one of :class:`SampleMetric`, :class:`StepMetric` and :class:`FlowMetric`.
    """

    registry: ClassVar[Registry[Any]] = Registry("metric", "flowprior.metrics")
    needs_classifier: ClassVar[bool] = False
    """True if it may use ``setup.classifier`` or its features; if no metric does, none is trained."""
    names: ClassVar[tuple[str, ...] | None] = None
    """The names of its values of samples of which more or less is better, without those of the features;
    None if they are not known before there are data."""

    @abc.abstractmethod
    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        """Return name and description of each value that this data allows; none of them is computed."""

    def lacks(self, setup: Setup) -> str:
        """Return the requirement that is not met if :meth:`columns` is empty."""
        return "something"


class SampleMetric(Metric):
    """A metric of samples, generated or real."""

    real_data: ClassVar[Literal["training", "held-out", "none"]] = "training"
    """The real samples whose value is the real-data score."""

    @abc.abstractmethod
    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        """Return the values of ``drawn``, by name."""


class TwoSampleMetric(SampleMetric):
    """A metric that compares generated samples with real ones and needs to know nothing else.

    In your own loop::

        metric = Metric.create("w2")
        metric.update(x_real, labels, real=True)      # as many batches as you like
        metric.update(x_generated, labels, real=False)
        metric.compute()                              # {"w2_squared": …}
        metric.reset()
    """

    _batches: dict[bool, list[tuple[Tensor, Conditions | None]]] | None = None

    @abc.abstractmethod
    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        """Return the values of ``generated``, by name; ``seed`` is that of random subsets."""

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        return self.compare(setup.real, drawn, setup.seed)

    def reset(self) -> None:
        """Forget every batch."""
        self._batches = None

    def update(self, x: Tensor, cond: Conditions | None = None, *, real: bool) -> None:
        """Add a batch.

        Args:
            x: events ``[B, *event]``; features ``[B, F]`` where the metric compares features.
            cond: their conditions; labels are compared each on its own where the metric does so.
            real: True for real samples, False for generated ones.
        """
        self._batches = self._batches or {True: [], False: []}
        copied = None if cond is None else cond.detach().cpu().clone()  # a caller may fill its buffer anew
        self._batches[real].append((x.detach().cpu().clone(), copied))

    def compute(self) -> dict[str, float]:
        """Return the values of all batches since the last :meth:`reset`, by name.

        Raises:
            InputError: no real or no generated samples yet, or samples that do not fit each other.
        """
        if self._batches is None or not all(self._batches.values()):
            raise InputError(f"metric '{self.name}': expected real and generated samples; call update first")
        return self.compare(_joined(self._batches[True]), _joined(self._batches[False]))


class FeatureMetric(TwoSampleMetric):
    """A metric that compares features, with its values for each set of them (``fid-lite0``)."""

    needs_classifier = True
    better: ClassVar[str] = "lower"

    @abc.abstractmethod
    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        """Return descriptions of the value ``name`` and of the data that samples are compared with."""

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        found = {}
        for extractor, name in product(setup.extractors, self.names or ()):
            what, reference = self.describe(setup, name)
            own = " of the data set's classifier" if extractor is setup.classifier else ""
            found[f"{name}-{extractor.features_name}"] = MetricInfo(
                f"{what} of {extractor.features_name} features{own}",
                setup.samples,
                reference,
                self.better,
                short_identity(extractor),
            )
        return found

    def lacks(self, setup: Setup) -> str:
        return "features: pass some (--features), or labelled data, whose classifier gives them"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        found = {}
        for extractor in setup.extractors:
            for name, value in self.values_of(setup, drawn, extractor).items():
                stem, dash, deviation = name.partition("-std")
                found[f"{stem}-{extractor.features_name}{dash}{deviation}"] = value
        return found

    def values_of(self, setup: Setup, drawn: Drawn, extractor: FeatureExtractor) -> dict[str, float]:
        """Return the values under one set of features, by default against as many real ones."""
        real = Drawn(setup.reference.features(extractor, setup.samples))
        return self.compare(real, Drawn(drawn.features(extractor)), setup.seed)


class StepMetric(Metric):
    """A metric of a sampler's steps, against trajectories that were solved to a tight tolerance."""

    @abc.abstractmethod
    def values(
        self, setup: Setup, sampler: Sampler, nfe: int | None, guidance: float, x: Tensor
    ) -> dict[str, float]:
        """Return the values of a sampler whose samples are x ``[N, *event]``; empty where it has none."""


class FlowMetric(Metric):
    """A metric of the flow itself, whatever the sampler."""

    names = ()

    @abc.abstractmethod
    def values(self, setup: Setup, guidance: float) -> dict[str, float]:
        """Return the values at one guidance."""


def select(metrics: str | Metric | Sequence[str | Metric]) -> list[Metric]:
    """Return metrics by name: ``"quick"``, ``"all"``, a name or spec, an instance, or a list of these.

    Returns:
        Each once: those of samples, of steps and of the flow, each in the order of :data:`ORDER`. What is
        named with options takes the place of a group's.

    Raises:
        UnknownComponentError: no metric of that name.
        OptionError: none is given, or options that do not fit.
    """
    wanted = [metrics] if isinstance(metrics, str | Metric) else list(metrics)
    if not wanted:
        raise OptionError(f"metrics: none is given; choose of {', '.join((*GROUPS, *Metric.available()))}")
    groups = Metric.available() if "all" in wanted else QUICK if "quick" in wanted else ()
    found = [Metric.registry.resolve(item) for item in (*groups, *wanted) if item not in GROUPS]
    return sorted({metric.name: metric for metric in found}.values(), key=_place)


def _place(metric: Metric) -> tuple[bool, bool, int, str]:
    """Return what metrics are sorted by: their kind, their place in :data:`ORDER`, and their name."""
    place = ORDER.index(metric.name) if metric.name in ORDER else len(ORDER)
    return isinstance(metric, FlowMetric), isinstance(metric, StepMetric), place, metric.name


def as_clouds(owner: str, x: Tensor, y: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    """Return clouds x ``[N, *event]`` and y ``[M, *event]`` as float64 rows ``[·, D]``, on the CPU.

    Raises:
        InputError: other shapes of an event, fewer than ``least`` rows, or numbers that are not finite.
    """
    if x.dim() < 2 or x.shape[1:] != y.shape[1:] or min(len(x), len(y)) < least:
        size = "non-empty" if least == 1 else f"of at least {least} rows"
        raise InputError(
            f"{owner}: expected two sets of one event shape, {size}, got {list(x.shape)} and {list(y.shape)}"
        )
    for name, cloud in (("first", x), ("second", y)):
        if not torch.isfinite(cloud).all():
            raise InputError(f"{owner}: expected finite numbers, got NaN or infinity in the {name} set")
    return x.detach().double().cpu().flatten(1), y.detach().double().cpu().flatten(1)


def per_condition(
    distance: Callable[[Tensor, Tensor], float],
    x: Tensor,
    cond: Conditions | None,
    y: Tensor,
    cond_y: Conditions | None,
) -> dict[int, float]:
    """Return ``distance`` of each label's points, or of everything pooled under the key ``-1``.

    Pooled unless both conditions are labels.

    Raises:
        InputError: a label of ``cond`` that ``cond_y`` does not have.
    """
    if not isinstance(cond, Tensor) or not isinstance(cond_y, Tensor) or cond.is_floating_point():
        return {-1: distance(x, y)}
    missing = sorted(set(cond.unique().tolist()) - set(cond_y.unique().tolist()))
    if missing:
        raise InputError(
            f"distance per condition: label {missing[0]} was generated but is not in the reference"
        )
    return {label: distance(x[cond == label], y[cond_y == label]) for label in cond.unique().tolist()}


def _joined(batches: Sequence[tuple[Tensor, Conditions | None]]) -> Drawn:
    """Join all batches into one; the type of the numbers stays."""
    x = torch.cat([part for part, _ in batches])
    return Drawn(x, joined([cond for _, cond in batches if cond is not None]), dtype=x.dtype)
