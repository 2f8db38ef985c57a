"""Evaluate a flow over samplers, guidances, numbers of evaluations and seeds; finished figures are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from flowprior.data import as_data
from flowprior.errors import OptionError
from flowprior.evaluation.batch_size import fitting_batch_size
from flowprior.evaluation.evaluator import Cell, Evaluator, sampler_times
from flowprior.evaluation.request import (
    Features,
    check_counts,
    check_fit,
    check_guidances,
    extractors_of,
    judge_of,
)
from flowprior.evaluation.result import Evaluation
from flowprior.evaluation.settings import describe_sampler, describe_settings
from flowprior.evaluation.store import FigureStore
from flowprior.evaluation.sweep_result import Sweep
from flowprior.features.base import short_identity
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.base import FlowMetric, Metric, SampleMetric, StepMetric, select
from flowprior.metrics.reference import Reference
from flowprior.metrics.setup import Generate, Setup
from flowprior.samplers import Sampler

NFE = (0, 1, 2, 4, 8, 15, 30)
"""Numbers of evaluations where nobody says which; 0 is the prior alone."""


def sweep(
    flow: Flow,
    data: Any,
    *,
    reference: Any = None,
    nfe: Sequence[int] = NFE,
    samplers: Sequence[str | Sampler] = ("euler",),
    guidances: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    samples: int = 2000,
    metrics: str | Metric | Sequence[str | Metric] = "quick",
    features: Features = (),
    batch_size: int | Literal["auto"] = "auto",
    classifier: Literal["auto"] | Classifier | None = "auto",
    folder: Path | str | None = None,
    generate: Generate | None = None,
    progress: bool = False,
) -> Sweep:
    """Generate samples at every setting and compare them with real ones.

    Starts and conditions depend on the seed alone, so settings are compared on the same ones. The deviation
    over seeds is that of the measurement; it says nothing of trainings with other seeds.

    Args:
        flow: what training left.
        data: the training split: classifier, transport cost and floor come from it.
        reference: the test split that samples are compared with; None takes ``data``.
        nfe: numbers of evaluations; those that a sampler cannot spend exactly are left out with a note. 0 is
            the prior alone, the same for every sampler and guidance.
        samplers: names, ``name:key=value,…`` or instances. An adaptive one gives one row with what it spent,
            beside that of the prior.
        guidances: strengths of classifier-free guidance; 1 is none.
        seeds: of conditions, starts and the subsets of real data.
        samples: how many to generate at each setting.
        metrics: ``"quick"``, ``"all"``, names or specs of :class:`Metric`, or instances.
        features: extractors besides the classifier: names or specs, or modules of your own.
        batch_size: samples at once; ``"auto"`` takes what memory allows, at most 500.
        classifier: judge of labelled data; ``"auto"`` trains one on ``data`` (kept in a cache).
        folder: where finished figures are kept, and read again by the next call; None keeps none.
        generate: gives the samples in place of ``flow.solve``, see :func:`flowprior.evaluate`.
        progress: show a progress bar on stderr.

    Raises:
        InputError: data that do not fit the flow.
        OptionError: unknown or impossible options, or no ``nfe`` that any sampler can spend.
    """
    check_counts(samples, nfe, guidances, seeds, batch_size)
    check_guidances(flow, guidances)
    data = as_data(data)
    reference = data if reference is None else as_data(reference)
    check_fit(flow, data)
    check_fit(flow, reference)
    chosen = {describe_sampler(sampler): Sampler.registry.resolve(sampler) for sampler in samplers}
    measures = select(metrics)
    if classifier == "auto" and not any(measure.needs_classifier for measure in measures):
        classifier = None
    judge = judge_of(classifier, data)
    extractors = extractors_of(judge, features, flow)
    training = Reference(data, "training")
    tested = training if reference is data else Reference(reference, "test")
    size = _batch_size(flow, tested, guidances) if batch_size == "auto" else batch_size
    store = FigureStore(None if folder is None else Path(folder))
    times = sampler_times(chosen.values(), nfe)
    evaluators = [
        Evaluator(
            Setup(flow, training, tested, samples, seed, judge, extractors, size, generate),
            measures,
            store,
            times,
        )
        for seed in seeds
    ]
    settings = describe_settings(flow, data, reference, "", judge) | {
        "samples": samples,
        "metrics": [measure.name for measure in measures],
        "features": [short_identity(extractor) for extractor in extractors],
    }
    found = _run(evaluators, chosen, list(nfe), guidances, settings, progress)
    notes = [*_missing_notes(evaluators[0], metrics), *(note for e in found for note in e.notes)]
    filled = [evaluation for evaluation in found if evaluation.rows]
    if not filled:
        raise OptionError(found[0].notes[-1].split(": ", 1)[1])
    return Sweep(filled, list(dict.fromkeys(notes)))


def _run(
    evaluators: list[Evaluator],
    samplers: dict[str, Sampler],
    nfe: list[int],
    guidances: Sequence[float],
    settings: dict[str, Any],
    progress: bool,
) -> list[Evaluation]:
    """One evaluation for each sampler, guidance and seed."""
    counts = {name: _counts(sampler, nfe) for name, sampler in samplers.items()}
    rows = sum(map(len, counts.values()))
    found = []
    with _progress(progress, len(evaluators) * len(guidances) * rows) as advance:
        for name, sampler in samplers.items():
            for guidance in guidances:
                for evaluator in evaluators:
                    cells = [Cell(sampler, count, guidance) for count in counts[name]]
                    own = settings | {"sampler": name, "guidance": guidance, "adaptive": sampler.adaptive}
                    found.append(_evaluate(evaluator, cells, own, advance))
    return found


def _counts(sampler: Sampler, nfe: list[int]) -> list[int | None]:
    """What a sampler is asked to spend: an adaptive one nothing, and whatever it chooses."""
    return list(nfe) if not sampler.adaptive else [*([0] if 0 in nfe else []), None]


def _evaluate(
    evaluator: Evaluator, cells: list[Cell], settings: dict[str, Any], advance: Callable[[str], None]
) -> Evaluation:
    """Every row of one sampler, guidance and seed."""
    seed, guidance = evaluator.setup.seed, settings["guidance"]
    rows, notes = [], []
    for cell in cells:
        count = "" if cell.nfe is None else f", nfe {cell.nfe}"
        advance(f"{settings['sampler']}{count}, guidance {guidance:g}, seed {seed}")
        try:
            rows.append(evaluator.row(cell))
        except OptionError as error:
            notes.append(f"nfe={cell.nfe} left out: {error}")
    settings = settings | {"seed": seed, "batch_size": evaluator.setup.batch_size}
    if not any(row["nfe"] for row in rows) and any(cell.nfe != 0 for cell in cells):
        return Evaluation([], {}, {}, settings, notes)
    if not evaluator.setup.has_test:
        notes.insert(0, "no test split: samples are compared with the training data themselves")
    return Evaluation(
        rows=rows,
        metrics=evaluator.described(evaluator.metrics(SampleMetric, StepMetric)),
        transport=evaluator.transport(),
        settings=settings,
        notes=notes,
        flow_figures=evaluator.flow_figures(guidance),
        flow_metrics=evaluator.metrics(FlowMetric),
    )


def _missing_notes(evaluator: Evaluator, metrics: str | Metric | Sequence[str | Metric]) -> list[str]:
    """What was asked for but cannot be had of these data; the default set takes what there is."""
    by_default = "quick" in ([metrics] if isinstance(metrics, str | Metric) else metrics)
    return [
        f"{measure.name} left out: it needs {measure.lacks(evaluator.setup)}"
        for measure, columns in evaluator.columns.items()
        if not columns and not (by_default and measure.quick)
    ]


def _batch_size(flow: Flow, reference: Reference, guidances: Sequence[float]) -> int:
    _, cond = reference.data.batch(torch.arange(min(len(reference), 1)))
    guided = cond is not None and any(guidance != 1.0 for guidance in guidances)
    return fitting_batch_size(flow, cond, 2.0 if guided else 1.0)


@contextmanager
def _progress(shown: bool, total: int) -> Iterator[Callable[[str], None]]:
    """A function to call before each of ``total`` rows; it moves a bar on stderr."""
    if not shown:
        yield lambda description: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("evaluate", total=total)
        begun = 0

        def advance(description: str) -> None:
            nonlocal begun
            bar.update(task, description=description, completed=begun)
            begun += 1

        yield advance
