"""Measurement: what an evaluation was asked for, everything resolved, and the values that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from flowprior.errors import OptionError
from flowprior.evaluation import request
from flowprior.evaluation.assistants import Assistants
from flowprior.evaluation.cell import Cell, fitting_batch_size, sampler_times
from flowprior.evaluation.evaluator import Evaluator, Row
from flowprior.evaluation.request import Conditions
from flowprior.evaluation.result import Result
from flowprior.evaluation.store import Store
from flowprior.features.base import FeatureExtractor, short_identity
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.base import Metric
from flowprior.metrics.setup import Generate, Reference, Setup
from flowprior.progress import stage
from flowprior.samplers import Sampler, Solution

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Measurement:
    """What :func:`flowprior.evaluation.sweep` takes, resolved.

    Attributes:
        asked_metrics: the metrics as they were asked for.
        metrics: those that this means.
        classifier: of labelled data, or None.
        extractors: of features; the classifier comes first.
    """

    flow: Flow
    training: Reference
    splits: Mapping[str, Reference]
    samplers: Mapping[str, Sampler]
    nfe: Sequence[int]
    guidances: Sequence[float]
    seeds: Sequence[int]
    samples: int
    conditions: Conditions
    members: int
    asked_metrics: str | Metric | Sequence[str | Metric]
    metrics: list[Metric]
    classifier: Classifier | None
    extractors: list[FeatureExtractor]
    batch_size: int | Literal["auto"]
    folder: Path | str | None
    generate: Generate | None

    def taken(self, assistants: Assistants | None = None) -> Result:
        """The values, computed or read from the folder; assistants do their part of the samples.

        Raises:
            OptionError: no number of evaluations that any sampler can spend, or no metric that the data
                allow.
        """
        settings = self._settings()
        label, store = f"{settings['prior']} + {settings['coupling']}", Store(self.folder)
        times, base = sampler_times(self.samplers.values(), self.nfe), self._base(assistants)
        setups = [_setups(base, self.splits, seed) for seed in self.seeds]
        evaluators = [Evaluator(label, own, self.metrics, store, times) for own in setups]
        _refuse_nothing(evaluators[0])
        rows, notes = _quality(evaluators, self._cells())
        for evaluator in evaluators:
            with stage("values of the flow, its pairs and the data"):
                for guidance in self.guidances:
                    rows += evaluator.flow_values(guidance)
                rows += [*evaluator.transport(), *evaluator.real_data()]
        settings["batch_size"] = min(evaluator.setup.batch_size for evaluator in evaluators)
        notes = [*_missing_notes(evaluators[0], self.asked_metrics), *notes]
        return Result(rows, evaluators[0].described, settings, list(dict.fromkeys(notes)))

    def solve_in(self, group: ProcessGroup, *, seed: int, **terms: Any) -> Solution:
        """Samples that the processes of a group generate together."""
        generator = torch.Generator(self.flow.prior.event_dims.device).manual_seed(seed)
        return self.flow.solve(generator=generator, group=group, **terms)

    def _settings(self) -> dict[str, Any]:
        splits = list(self.splits.values())
        return request.describe_settings(self.flow, self.training.data.name, splits, self.classifier) | {
            "samplers": list(self.samplers),
            "guidances": list(self.guidances),
            "seeds": list(self.seeds),
            "samples": self.samples,
            "conditions": self.conditions,
            **({"members": self.members} if self.members > 1 else {}),
            "metrics": [metric.name for metric in self.metrics],
            "features": [short_identity(extractor) for extractor in self.extractors],
        }

    def _base(self, assistants: Assistants | None) -> Setup:
        """What metrics may look at, of no seed yet."""
        first = next(iter(self.splits.values()))
        size = self._fitting(first) if self.batch_size == "auto" else self.batch_size
        return Setup(
            self.flow,
            self.training,
            first,
            samples=self.samples,
            seed=0,
            classifier=self.classifier,
            extractors=self.extractors,
            batch_size=size,
            generate=self.generate,
            solve=None if assistants is None else assistants.solve,
            balanced=self.conditions == "balanced",
            members=self.members,
        )

    def _fitting(self, reference: Reference) -> int:
        _, cond = reference.data.batch(torch.arange(min(len(reference), 1)))
        guided = cond is not None and any(guidance != 1.0 for guidance in self.guidances)
        return fitting_batch_size(self.flow, cond, 2.0 if guided else 1.0)

    def _cells(self) -> list[Cell]:
        """Every way of generating samples: an adaptive sampler chooses its NFE, but for the prior alone."""
        chosen = [0, None] if 0 in self.nfe else [None]
        return [
            Cell(name, sampler, count, guidance)
            for name, sampler in self.samplers.items()
            for guidance in self.guidances
            for count in (chosen if sampler.adaptive else self.nfe)
        ]


def _setups(base: Setup, splits: Mapping[str, Reference], seed: int) -> dict[str, Setup]:
    """What the metrics of one seed may look at, for each split; the conditions are those of the first."""
    setups = {name: replace(base, reference=split, seed=seed) for name, split in splits.items()}
    first, *others = setups.values()
    for setup in others:
        setup.cond, setup.rows = first.cond, first.rows
    return setups


def _refuse_nothing(evaluator: Evaluator) -> None:
    """Refuse an evaluation of which no value would come, before any sample is generated.

    Raises:
        OptionError: the message says what each metric needs.
    """
    if not evaluator.measures:
        lacks = {metric.name: metric.lacks(evaluator.setup) for metric in evaluator.lacking}
        needs = "; ".join(f"{name} needs {what}" for name, what in lacks.items())
        raise OptionError(f"evaluate: none of the metrics can be computed: {needs}")


def _quality(evaluators: list[Evaluator], cells: list[Cell]) -> tuple[list[Row], list[str]]:
    """The rows of every cell and seed, and what was left out; an OptionError where no sampler spends any."""
    rows, notes = [], []
    spent = {cell.name for cell in cells} - {cell.name for cell in cells if cell.nfe != 0}
    with stage("evaluate", len(cells) * len(evaluators), everywhere=True) as evaluating:
        for done, (cell, evaluator) in enumerate(product(cells, evaluators)):
            evaluating.update(done, f"{cell}, seed {evaluator.setup.seed}")
            try:
                rows += evaluator.quality(cell)
                spent |= {cell.name} if cell.nfe != 0 else set()
            except OptionError as error:
                notes.append(f"nfe={cell.nfe} left out: {error}")
            evaluating.advance()
    if not spent:
        raise OptionError(notes[-1].split(": ", 1)[1])
    return [row for row in rows if row["sampler"] in spent], notes


def _missing_notes(evaluator: Evaluator, metrics: str | Metric | Sequence[str | Metric]) -> list[str]:
    """What was asked for but cannot be had of these data; the default set takes what there is."""
    by_default = "quick" in ([metrics] if isinstance(metrics, str | Metric) else metrics)
    lacking = [metric for metric in evaluator.lacking if not (by_default and metric.quick)]
    notes = [f"{metric.name} left out: it needs {metric.lacks(evaluator.setup)}" for metric in lacking]
    if not evaluator.setup.has_test:
        notes.append("no test split: samples are compared with the training data themselves")
    return notes
