"""Evaluate a flow: quality of its samples against the number of evaluations of its velocity model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from flowprior.evaluation.request import Conditions, Features
from flowprior.evaluation.result import Result
from flowprior.evaluation.sweep import NFE, sweep
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.base import Metric
from flowprior.metrics.setup import Generate
from flowprior.samplers import Sampler


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
        sampler: a name, ``name:key=value,…`` or an instance.
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
            cache), None leaves accuracy and its features out; or the file of one
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
        samplers=[sampler],
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
