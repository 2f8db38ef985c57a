"""The request of an evaluation: what is asked for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import torch

from flowprior.conditions import Condition
from flowprior.errors import CheckpointError, OptionError
from flowprior.features.base import short, short_identity
from flowprior.flow import Flow
from flowprior.metrics.base import QUICK, Metric, MetricInfo
from flowprior.metrics.setup import Setup
from flowprior.registry import Registered
from flowprior.registry.options import check_counts, choose
from flowprior.registry.plugins import package_version
from flowprior.registry.registry import spec_of
from flowprior.samplers import FixedStepSampler, Sampler, TimeGrid

Conditions = Literal["reference", "balanced"]
LARGEST_BATCH = 500
"""The largest number of samples that are generated at once by default."""
LARGEST_STATE = 1 << 21
"""The largest number of entries that the states of these samples have by default."""
MOST_SAMPLES = 1_000_000
"""The largest number of samples of one setting, which are held in memory together."""


@dataclass(frozen=True)
class Setting:
    """One way of generating samples.

    Attributes:
        name: of the sampler, as it was asked for.
        sampler: an instance.
        nfe: evaluations to spend; None for a sampler that chooses them, 0 for the prior alone.
        guidance: strength of classifier-free guidance.
    """

    name: str
    sampler: Sampler
    nfe: int | None
    guidance: float

    def __str__(self) -> str:
        count = "" if self.nfe is None else f", nfe {self.nfe}"
        return f"{self.name}{count}, guidance {self.guidance:g}"

    @property
    def grid(self) -> str | None:
        """Name of the grid of times that the sampler steps along; None where it has none."""
        grid = getattr(self.sampler, "grid", None)
        return grid.name if isinstance(grid, TimeGrid) else grid

    @property
    def times(self) -> set[float]:
        """The times between which a fixed-step sampler steps; none where it cannot spend its NFE."""
        with suppress(OptionError):
            if isinstance(self.sampler, FixedStepSampler):
                return set(self.sampler.times(self.nfe).tolist())
        return set()


@dataclass(frozen=True)
class Request:
    """A measurement that is asked for, with everything that it needs.

    Attributes:
        setups: what metrics may look at, one for each seed.
        settings: every way of generating samples.
        guidances: strengths at which values of the flow itself are computed.
        metrics: those to compute.
        is_default: whether metrics of the default set that the data do not allow are left out without a note.
    """

    setups: Sequence[Setup]
    settings: Sequence[Setting]
    guidances: Sequence[float]
    metrics: Sequence[Metric]
    is_default: bool

    @cached_property
    def columns(self) -> dict[Metric, dict[str, MetricInfo]]:
        """The values of each metric that the data allow, by name, with what they are.

        Raises:
            OptionError: the data allow no metric.
        """
        found = {metric: metric.columns(self.setups[0]) for metric in self.metrics}
        if not any(found.values()):
            needs = "; ".join(f"{metric.name} needs {metric.lacks(self.setups[0])}" for metric in found)
            raise OptionError(f"evaluate: none of the metrics can be computed: {needs}")
        return {metric: infos for metric, infos in found.items() if infos}

    def notes(self) -> Iterator[str]:
        """Yield which metrics the data do not allow, and whether there is no test split."""
        for metric in self.metrics:
            if metric not in self.columns and not (self.is_default and metric.name in QUICK):
                yield f"{metric.name} left out: it needs {metric.lacks(self.setups[0])}"
        if not self.setups[0].has_test:
            yield "no test split: samples are compared with the training data themselves"

    def describe(self) -> dict[str, Any]:
        """Return parts of the flow, data, reference, classifier with its accuracy, and versions."""
        setup = self.setups[0]
        flow, reference = setup.flow, setup.reference
        parts = {"prior": flow.prior, "coupling": flow.coupling, "path": flow.path}
        scorer = setup.classifier if setup.is_labelled else None
        accuracy = None if scorer is None else scorer.accuracy(setup.real.x, setup.real.labels)
        return {
            "data": setup.data.name,
            "reference": reference.describe(),
            "reference_digests": {reference.split: reference.digest},
            **{name: name_of(flow.specs[name] or part) for name, part in parts.items()},
            "model": flow.specs["model"] or type(flow.model).__name__,
            **({} if flow.encoder is None else {"encoder": short(flow.encoder.identity())}),
            "classifier": None if setup.classifier is None else short_identity(setup.classifier),
            "classifier_accuracy": accuracy,
            "device": str(setup.device),
            "torch": torch.__version__,
            "flowprior": package_version(),
            "samplers": list(dict.fromkeys(setting.name for setting in self.settings)),
            "guidances": list(self.guidances),
            "seeds": [each.seed for each in self.setups],
            "samples": setup.samples,
            "batch_size": setup.batch_size,
            "conditions": "balanced" if setup.balanced else "reference",
            **({"members": setup.members} if setup.members > 1 else {}),
            "metrics": [metric.name for metric in self.metrics],
            "features": [short_identity(extractor) for extractor in setup.extractors],
        }


def plain_numbers(option: str, values: Any) -> list[Any]:
    """Return one number or several as a list of Python's own, as JSON takes them.

    Raises:
        OptionError: none is given.
    """
    found = np.atleast_1d(values).tolist()
    if not found:
        raise OptionError(f"evaluate: {option}=[] is not possible; give one or more")
    return found


def whole_numbers(option: str, values: Any, least: int, most: int) -> list[int]:
    """Return one whole number or several as a list.

    Raises:
        OptionError: none is given, or one that is not within the limits.
    """
    found = plain_numbers(option, values)
    for value in found:
        check_counts("evaluate", least, most, **{option: value})
    return found


def check_sizes(samples: int, members: int, batch_size: int | None) -> None:
    """Refuse impossible numbers of samples.

    Raises:
        OptionError: the message says which, and what to choose.
    """
    check_counts("evaluate", 2, MOST_SAMPLES, samples=samples)
    check_counts("evaluate", 1, samples, members=members)
    if samples % members:
        raise OptionError(
            f"evaluate: members={members} does not divide samples={samples}; choose samples that are a "
            "multiple of it"
        )
    if batch_size is not None:
        check_counts("evaluate", batch_size=batch_size)


def check_conditions(conditions: str, condition: Condition) -> None:
    """Refuse conditions of samples that are unknown, or that a flow of this condition cannot have.

    Raises:
        OptionError: another name, or balanced conditions without labels.
    """
    choose("evaluate", "conditions", conditions, get_args(Conditions))
    if conditions == "balanced" and condition.kind != "labels":
        raise OptionError("evaluate: conditions='balanced' needs labels; choose 'reference' (as by default)")


def batch_size_for(flow: Flow) -> int:
    """Return the number of samples that are generated at once by default, fewer of large events."""
    return max(1, min(LARGEST_BATCH, LARGEST_STATE // flow.state_shape.numel()))


def settings_for(
    samplers: str | Sampler | Sequence[str | Sampler], nfe: Sequence[int], guidances: Sequence[float]
) -> list[Setting]:
    """Return every way of generating samples; a sampler that chooses its NFE is asked once, beside the prior.

    Raises:
        OptionError: no sampler, or none that can spend any of the numbers; it names the nearest one.
    """
    named = [samplers] if isinstance(samplers, str | Sampler) else samplers
    if not len(named):
        raise OptionError("evaluate: sampler=[] is not possible; give one or more")
    chosen = {name_of(sampler): Sampler.registry.resolve(sampler) for sampler in named}
    fixed = [sampler for sampler in chosen.values() if isinstance(sampler, FixedStepSampler)]
    if len(fixed) == len(chosen) and all(count % one.stages for one, count in product(fixed, nfe)):
        fixed[-1].steps(nfe[-1])  # refuses it, and names the nearest
    of_adaptive = [0, None] if 0 in nfe else [None]
    return [
        Setting(name, sampler, count, guidance)
        for name, sampler in chosen.items()
        for guidance in guidances
        for count in (of_adaptive if sampler.adaptive else nfe)
    ]


def name_of(component: str | Registered) -> str:
    """A text as it is; of a component its spec, or its class where no name leads back to it."""
    if isinstance(component, str):
        return component
    try:
        return spec_of(component.registry, component)
    except CheckpointError:
        return type(component).__name__
