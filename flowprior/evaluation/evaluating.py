"""Evaluate a flow: quality of its samples against the number of evaluations of its velocity model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from flowprior.data.base import HIGHEST_SEED, as_data
from flowprior.evaluation.comparable import check_comparable, warn_of_few
from flowprior.evaluation.request import (
    Conditions,
    Request,
    batch_size_for,
    check_conditions,
    check_sizes,
    plain_numbers,
    settings_for,
    whole_numbers,
)
from flowprior.evaluation.result import Result
from flowprior.evaluation.values import compute
from flowprior.features.base import FeatureExtractor, check_names, extractors_on
from flowprior.features.classifier import Classifier, classifier_for
from flowprior.flow import Flow
from flowprior.flow.conditioning import check_guidance
from flowprior.metrics.base import Metric, select
from flowprior.metrics.setup import Generate, Reference, Setup
from flowprior.processes.group import Group
from flowprior.progress.stages import showing, shows_progress
from flowprior.samplers import Sampler
from flowprior.samplers.base import MOST_EVALUATIONS

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

NFE = (0, 1, 2, 4, 8, 15, 30)
"""The default numbers of evaluations; 0 is the prior alone."""


def evaluate(
    flow: Flow,
    data: Any,
    *,
    reference: Any = None,
    split: str = "test",
    nfe: int | Sequence[int] = NFE,
    sampler: str | Sampler | Sequence[str | Sampler] | None = None,
    guidance: float | Sequence[float] = 1.0,
    seed: int | Sequence[int] = 0,
    samples: int = 2000,
    conditions: Conditions = "reference",
    members: int = 1,
    metrics: str | Metric | Sequence[str | Metric] = "quick",
    features: Sequence[str | nn.Module | FeatureExtractor] = (),
    batch_size: int | None = None,
    classifier: str | Classifier | None = "auto",
    generate: Generate | None = None,
    progress: bool | None = None,
    group: ProcessGroup | None = None,
) -> Result:
    """Generate ``samples`` samples in each way that is asked for and compare them with real ones.

    ``nfe``, ``sampler``, ``guidance`` and ``seed`` are one value or several, and samples are generated for
    each combination. Source samples and conditions depend on the seed alone, so that all are compared on the
    same ones. The deviation over seeds is that of the measurement, not of trainings with other seeds. Images
    are clamped to [-1, 1], the range of the data, before they are compared.

    Args:
        flow: what training left.
        data: the training split: classifier, transport cost and real-data scores come from it.
        reference: the test split that samples are compared with; None takes ``data``.
        split: the name of the reference in the column ``split``; see :func:`joined` for several of them.
        nfe: numbers of evaluations; 0 is the prior alone, which shows what the flow adds, and is the same for
            every guidance and every sampler of one temperature. Those that a sampler cannot spend exactly are
            left out with a note; an adaptive sampler is asked once, and its rows say what it spent.
        sampler: names, ``name:key=value,…`` or instances; None takes ``flow.default_sampler``.
        guidance: strengths of classifier-free guidance; 1 is none.
        seed: of conditions, source samples and the subsets of real data.
        samples: how many to generate.
        conditions: what samples are generated for: ``"reference"`` takes the conditions of the reference in
            its proportions, ``"balanced"`` the labels 0, 1, … in turn, so that each comes equally often.
        members: samples of each condition, one after the other, as the scores of ensembles take them
            (``crps``, ``energy-score``); they divide ``samples``.
        metrics: ``"quick"`` (Fréchet and kernel distance, accuracy, W2²), ``"all"``, or names or specs of
            ``Metric.available()``.
        features: feature extractors besides the classifier, such as ``"lite0"`` or a module of your own.
        batch_size: samples solved at once; None takes at most 500, fewer of large events.
        classifier: recognises the samples of labelled data; ``"auto"`` trains one on ``data`` (kept in a
            cache), ``"none"`` or None leaves accuracy and its features out; or the file of one
            (:func:`flowprior.features.classifier.save_classifier`).
        generate: gives the samples in place of ``flow.solve`` and takes the same, such as a function that
            calls it and keeps what it gave; everything else is asked of ``flow``.
        progress: show how far it has come, in a terminal, a notebook or a log; None does, unless the
            environment variable ``FLOWPRIOR_PROGRESS`` is 0.
        group: processes of ``torch.distributed`` that call this together, with the same arguments. They share
            samples out, each computes the metrics, and each gets the result of the first one.

    Raises:
        InputError: data that do not fit the flow.
        OptionError: an unknown sampler or metric, impossible counts, or no ``nfe`` that a sampler can spend.
    """
    processes = Group(group)
    shown = shows_progress(progress) and processes.rank == 0
    # The first process trains and keeps the classifier, which the others read.
    with showing(shown), processes.first_goes_ahead():
        counts = whole_numbers("nfe", nfe, 0, MOST_EVALUATIONS)
        seeds = whole_numbers("seed", seed, 0, HIGHEST_SEED - 1)
        guidances = plain_numbers("guidance", guidance)
        check_sizes(samples, members, batch_size)
        for strength in guidances:
            check_guidance(strength, flow.condition, flow.metadata)
        training = Reference(as_data(data), "training")
        same = reference is None or reference is data
        against = training if same else Reference(as_data(reference), split)
        for part in (training, against):
            check_comparable(flow, part.data)
        check_conditions(conditions, flow.condition)
        settings = settings_for(flow.default_sampler if sampler is None else sampler, counts, guidances)
        asked, extractors = select(metrics), extractors_on(flow.prior.event_dims.device, features)
        warn_of_few(against, asked)
        known = classifier_for(classifier, training.data, any(metric.needs_classifier for metric in asked))
        setup = Setup(
            flow,
            training,
            against,
            samples=int(samples),
            seed=0,
            classifier=known,
            extractors=extractors if known is None else [known, *extractors],
            batch_size=int(batch_size or batch_size_for(flow)),
            generate=generate or partial(flow.solve, group=group),
            balanced=conditions == "balanced",
            members=int(members),
            times=frozenset().union(*(setting.times for setting in settings)),
        )
        check_names(setup.extractors)
        quick = "quick" in ([metrics] if isinstance(metrics, str | Metric) else metrics)
        request = Request([replace(setup, seed=one) for one in seeds], settings, guidances, asked, quick)
    with showing(shown):
        return compute(request, processes)


def joined(results: Mapping[str, Result]) -> Result:
    """Return the results of :func:`evaluate` for several references as one, by their names in ``split``.

    What belongs to no reference, such as transport cost and the seconds of generating, is that of the first.
    ``metrics`` describe the first one's values, where it has them; each row says its own reference.
    """
    every = list(results.values())
    first, *others = every
    rows = list(first.rows)
    for name, result in results.items():
        rows += [row for row in result.rows if result is not first and row["split"] == name]
    metrics = {name: info for result in others for name, info in result.metrics.items()} | first.metrics
    settings = first.settings | {
        "reference": " and ".join(result.settings["reference"] for result in every),
        "reference_digests": {
            name: digest for result in every for name, digest in result.settings["reference_digests"].items()
        },
    }
    notes = dict.fromkeys(note for result in every for note in result.notes)
    return Result(rows, metrics, settings, list(notes))
