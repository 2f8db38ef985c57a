"""Evaluate a flow: quality of its samples against the number of evaluations of its velocity model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from flowprior.data import as_data
from flowprior.data.base import Data
from flowprior.errors import InputError, OptionError
from flowprior.evaluation.classifier import Classifier
from flowprior.evaluation.classifier_training import data_classifier
from flowprior.evaluation.conditions import draw_indices
from flowprior.evaluation.measures import Measures
from flowprior.evaluation.result import Evaluation
from flowprior.evaluation.settings import describe_settings
from flowprior.evaluation.transport import measure_transport
from flowprior.flow import Flow
from flowprior.samplers import Sampler, Solution

NFE = (1, 2, 4, 8, 15, 30)


def evaluate(
    flow: Flow,
    data: Any,
    *,
    reference: Any = None,
    nfe: Sequence[int] = NFE,
    sampler: str | Sampler = "euler",
    samples: int = 2000,
    guidance: float = 1.0,
    seed: int = 0,
    batch_size: int = 500,
    classifier: Literal["auto"] | Classifier | None = "auto",
    progress: bool = False,
) -> Evaluation:
    """Generate ``samples`` samples at each number of evaluations and compare them with real ones.

    The conditions are the reference's, in its proportions; the starts are the same at every ``nfe``.
    Pictures are clamped to [-1, 1], the range of the data, before they are judged.

    Args:
        flow: what training left.
        data: the training split: classifier, transport cost and floor come from it.
        reference: the test split that samples are compared with; None takes ``data``.
        nfe: numbers of evaluations. Those that the sampler cannot spend exactly are left out with a note;
            an adaptive sampler gives one row with what it spent.
        sampler: a name, ``name:key=value,…`` or an instance.
        samples: how many to generate.
        guidance: strength of classifier-free guidance; 1 is none.
        seed: of conditions, starts and the subsets of real data.
        batch_size: samples solved at once.
        classifier: judge of labelled data; ``"auto"`` trains one on ``data`` (kept in a cache), None leaves
            accuracy and Fréchet distance out.
        progress: show a progress bar on stderr.

    Raises:
        InputError: data that do not fit the flow.
        OptionError: an unknown sampler, impossible counts, or no ``nfe`` that the sampler can spend.
    """
    _check_counts(samples, nfe, guidance)
    data = as_data(data)
    reference = data if reference is None else as_data(reference)
    _check_fit(flow, data)
    _check_fit(flow, reference)
    solver: Sampler = Sampler.registry.resolve(sampler)
    judge = _judge(classifier, data)
    device = flow.prior.event_dims.device
    generator = torch.Generator().manual_seed(seed)
    _, cond = reference.batch(draw_indices(reference, samples, generator))
    transport = measure_transport(flow, data, samples, generator=_generator(seed, device))
    measures = Measures(data, reference, cond, samples, judge, generator)
    rows, notes = [], []
    for count in _shown([None] if solver.adaptive else list(nfe), progress):
        options = {"nfe": count, "sampler": solver, "guidance": guidance, "batch_size": batch_size}
        try:
            solution, seconds = _timed(flow, cond, samples, _generator(seed, device), options)
        except OptionError as error:
            notes.append(f"nfe={count} left out: {error}")
            continue
        rows.append({"nfe": solution.nfe, **measures.of(solution.x), "seconds": seconds})
    if not rows:
        raise OptionError(notes[0].split(": ", 1)[1] if notes else "evaluate: no nfe is given")
    settings = describe_settings(flow, data, reference, sampler, judge)
    settings |= {"samples": samples, "guidance": guidance, "seed": seed, "batch_size": batch_size}
    return Evaluation(rows, measures.metrics, transport, settings, [*measures.notes, *notes])


def _check_counts(samples: int, nfe: Sequence[int], guidance: float) -> None:
    if not math.isfinite(guidance):
        raise OptionError(f"evaluate: guidance={guidance} is not possible; choose a finite one (--guidance)")
    if samples < 2:
        raise OptionError(f"evaluate: samples={samples} is not possible; choose 2 or more (--samples)")
    if not nfe or any(count < 1 for count in nfe):
        raise OptionError(f"evaluate: nfe={list(nfe)} is not possible; give one or more numbers from 1 on")


def _check_fit(flow: Flow, data: Data) -> None:
    if torch.Size(data.event_shape) != flow.event_shape or data.condition.kind != flow.condition.kind:
        raise InputError(
            f"evaluate: the flow makes events {list(flow.event_shape)} from {flow.condition.describe()}, but "
            f"'{data.name}' has events {list(data.event_shape)} and {data.condition.describe()}"
        )


def _judge(classifier: str | Classifier | None, data: Data) -> Classifier | None:
    """The classifier to use; none for data without labels or with a single one."""
    if classifier is None or data.condition.kind != "labels" or data.condition.size < 2:
        return None
    if not isinstance(classifier, str):
        if not classifier.fits(data.event_shape, data.condition):
            raise InputError(f"evaluate: the classifier is not one for '{data.name}': other events or labels")
        return classifier
    if classifier != "auto":
        raise OptionError(
            f"evaluate: classifier='{classifier}' is not possible; pass 'auto', None or a Classifier"
        )
    return data_classifier(data)


def _timed(
    flow: Flow, cond: Tensor | None, samples: int, generator: torch.Generator, options: dict[str, Any]
) -> tuple[Solution, float]:
    """The solution and the seconds it took."""
    start = time.perf_counter()
    solution = flow.solve(cond, samples, generator=generator, **options)
    if solution.x.is_cuda:
        torch.cuda.synchronize(solution.x.device)
    return solution, time.perf_counter() - start


def _generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _shown(counts: list[int | None], progress: bool) -> Iterable[int | None]:
    if not progress:
        return counts
    from rich.console import Console
    from rich.progress import track

    return track(counts, "evaluate", console=Console(stderr=True), transient=True)
