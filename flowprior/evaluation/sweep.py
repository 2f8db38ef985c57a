"""Evaluate a flow: quality of its samples against the number of evaluations of its velocity model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flowprior.data import as_data
from flowprior.errors import OptionError
from flowprior.evaluation import request
from flowprior.evaluation.batch_size import fitting_batch_size
from flowprior.evaluation.cell import Cell, sampler_times
from flowprior.evaluation.evaluator import Evaluator, Row
from flowprior.evaluation.request import Conditions, Features
from flowprior.evaluation.result import Result
from flowprior.evaluation.store import Store
from flowprior.features.base import short_identity
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.base import Metric, select
from flowprior.metrics.reference import Reference
from flowprior.metrics.setup import Generate, Setup
from flowprior.samplers import Sampler

NFE = (0, 1, 2, 4, 8, 15, 30)
"""Numbers of evaluations where nobody says which; 0 is the prior alone."""


def evaluate(
    flow: Flow,
    data: Any,
    *,
    reference: Any = None,
    nfe: Sequence[int] = NFE,
    sampler: str | Sampler | None = None,
    samples: int = 2000,
    guidance: float = 1.0,
    seed: int = 0,
    conditions: Conditions = "reference",
    metrics: str | Metric | Sequence[str | Metric] = "quick",
    features: Features = (),
    batch_size: int | Literal["auto"] = "auto",
    classifier: str | Classifier | None = "auto",
    generate: Generate | None = None,
    progress: bool = False,
) -> Result:
    """Generate ``samples`` samples at each number of evaluations and compare them with real ones.

    The source samples are the same at every ``nfe``. Pictures are clamped to [-1, 1], the range of the data,
    before they are compared. For several samplers, guidances or seeds, and to keep finished values on disk,
    see :func:`flowprior.evaluation.sweep`.

    Args:
        flow: what training left.
        data: the training split: classifier, transport cost and real-data scores come from it.
        reference: the test split that samples are compared with; None takes ``data``.
        nfe: numbers of evaluations; 0 is the prior alone, which shows what the flow adds. Those that the
            sampler cannot spend exactly are left out with a note; an adaptive sampler is asked once, and its
            rows say what it spent.
        sampler: a name, ``name:key=value,…`` or an instance; None takes ``flow.default_sampler``.
        samples: how many to generate.
        guidance: strength of classifier-free guidance; 1 is none.
        seed: of conditions, source samples and the subsets of real data.
        conditions: what samples are generated for: ``"reference"`` takes the conditions of the reference in
            its proportions, ``"balanced"`` the labels 0, 1, … in turn, so that each comes equally often.
        metrics: ``"quick"`` (Fréchet and kernel distance, accuracy, W2²), ``"all"``, or names or specs of
            ``Metric.available()``.
        features: feature extractors besides the classifier, such as ``"lite0"`` or a module of your own.
        batch_size: samples solved at once; ``"auto"`` takes what memory allows, at most 500.
        classifier: recognises the samples of labelled data; ``"auto"`` trains one on ``data`` (kept in a
            cache), ``"none"`` or None leaves accuracy and its features out; or the file of one
            (:func:`flowprior.features.save_classifier`).
        generate: gives the samples in place of ``flow.solve`` and takes the same, such as a function that
            calls it and keeps what it gave; everything else is asked of ``flow``.
        progress: show a progress bar on stderr.

    Raises:
        InputError: data that do not fit the flow.
        OptionError: an unknown sampler or metric, impossible counts, or no ``nfe`` that the sampler can
            spend.
    """
    return sweep(
        flow,
        data,
        reference=reference,
        nfe=nfe,
        samplers=None if sampler is None else [sampler],
        guidances=[guidance],
        seeds=[seed],
        samples=samples,
        conditions=conditions,
        metrics=metrics,
        features=features,
        batch_size=batch_size,
        classifier=classifier,
        generate=generate,
        progress=progress,
    )


def sweep(
    flow: Flow,
    data: Any,
    *,
    reference: Any = None,
    references: Mapping[str, Any] | None = None,
    nfe: Sequence[int] = NFE,
    samplers: Sequence[str | Sampler] | None = None,
    guidances: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    samples: int = 2000,
    conditions: Conditions = "reference",
    metrics: str | Metric | Sequence[str | Metric] = "quick",
    features: Features = (),
    batch_size: int | Literal["auto"] = "auto",
    classifier: str | Classifier | None = "auto",
    folder: Path | str | None = None,
    generate: Generate | None = None,
    progress: bool = False,
) -> Result:
    """Generate samples at every setting and compare them with real ones.

    Source samples and conditions depend on the seed alone, so settings are compared on the same ones. The
    deviation over seeds is that of the measurement; it says nothing of trainings with other seeds.

    What is not named here is as in :func:`flowprior.evaluate`.

    Args:
        references: in place of ``reference`` several splits by name, as in ``{"validation": …}``;
            samples are generated once, for the conditions of the first, and compared with each.
        nfe: numbers of evaluations; the prior alone (0) is the same for every guidance and for every sampler
            of one temperature.
        samplers: names, ``name:key=value,…`` or instances; None takes ``flow.default_sampler``.
        guidances: strengths of classifier-free guidance; 1 is none.
        seeds: of conditions, source samples and the subsets of real data.
        folder: where finished values are kept, and read again by the next call; None keeps none.

    Raises:
        InputError: data that do not fit the flow.
        OptionError: unknown or impossible options, or no ``nfe`` that any sampler can spend.
    """
    request.check_counts(samples, nfe, guidances, seeds, batch_size)
    data = as_data(data)
    training, splits = request.references_for(data, reference, references)
    request.check_flow(flow, guidances, conditions, [training, *splits.values()])
    samplers = [flow.default_sampler] if samplers is None else samplers
    chosen = {request.name_of(sampler): Sampler.registry.resolve(sampler) for sampler in samplers}
    wanted = select(metrics)
    known = request.classifier_for(classifier, data, wanted)
    extractors = request.extractors_for(known, features, flow)
    settings = request.describe_settings(flow, data.name, list(splits.values()), known) | {
        "samplers": list(chosen),
        "guidances": list(guidances),
        "seeds": list(seeds),
        "samples": samples,
        "conditions": conditions,
        "metrics": [metric.name for metric in wanted],
        "features": [short_identity(extractor) for extractor in extractors],
    }
    first = next(iter(splits.values()))
    size = _batch_size(flow, first, guidances) if batch_size == "auto" else batch_size
    base = Setup(
        flow, training, first, samples, 0, known, extractors, size, generate, conditions == "balanced"
    )
    label, store = f"{settings['prior']} + {settings['coupling']}", Store(folder)
    times = sampler_times(chosen.values(), nfe)
    evaluators = [Evaluator(label, _setups(base, splits, seed), wanted, store, times) for seed in seeds]
    rows, notes = _quality(evaluators, _cells(chosen, guidances, nfe), progress)
    for evaluator in evaluators:
        for guidance in guidances:
            rows += evaluator.flow_values(guidance)
        rows += [*evaluator.transport(), *evaluator.real_data()]
    settings["batch_size"] = min(evaluator.setup.batch_size for evaluator in evaluators)
    notes = [*_missing_notes(evaluators[0], metrics), *notes]
    return Result(rows, evaluators[0].described, settings, list(dict.fromkeys(notes)))


def _setups(base: Setup, splits: Mapping[str, Reference], seed: int) -> dict[str, Setup]:
    """What the metrics of one seed may look at, for each split; the conditions are those of the first."""
    setups = {name: replace(base, reference=split, seed=seed) for name, split in splits.items()}
    first, *others = setups.values()
    for setup in others:
        setup.cond, setup.rows = first.cond, first.rows
    return setups


def _cells(samplers: Mapping[str, Sampler], guidances: Sequence[float], nfe: Sequence[int]) -> list[Cell]:
    """Every way of generating samples: an adaptive sampler chooses its NFE, but for the prior alone."""
    chosen = [0, None] if 0 in nfe else [None]
    return [
        Cell(name, sampler, count, guidance)
        for name, sampler in samplers.items()
        for guidance in guidances
        for count in (chosen if sampler.adaptive else nfe)
    ]


def _quality(evaluators: list[Evaluator], cells: list[Cell], progress: bool) -> tuple[list[Row], list[str]]:
    """The rows of every cell and seed, and what was left out; an OptionError where no sampler spends any."""
    rows, notes = [], []
    spent = {cell.name for cell in cells} - {cell.name for cell in cells if cell.nfe != 0}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    shown = {"console": Console(stderr=True), "transient": True, "disable": not progress}
    with Progress(*columns, TimeRemainingColumn(), **shown) as bar:
        task = bar.add_task("evaluate", total=len(cells) * len(evaluators))
        for cell, evaluator in product(cells, evaluators):
            bar.update(task, description=f"{cell}, seed {evaluator.setup.seed}")
            try:
                rows += evaluator.quality(cell)
                spent |= {cell.name} if cell.nfe != 0 else set()
            except OptionError as error:
                notes.append(f"nfe={cell.nfe} left out: {error}")
            bar.advance(task)
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


def _batch_size(flow: Flow, reference: Reference, guidances: Sequence[float]) -> int:
    _, cond = reference.data.batch(torch.arange(min(len(reference), 1)))
    guided = cond is not None and any(guidance != 1.0 for guidance in guidances)
    return fitting_batch_size(flow, cond, 2.0 if guided else 1.0)
