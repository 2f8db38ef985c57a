"""Evaluate a flow: quality of its samples against the number of evaluations of its velocity model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError
from flowprior.evaluation.request import BatchSize, Conditions, Features, ask
from flowprior.evaluation.result import Result
from flowprior.evaluation.values import compute
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.base import Metric
from flowprior.metrics.setup import Generate
from flowprior.processes.group import Group
from flowprior.progress.stages import showing, shows_progress
from flowprior.samplers import Sampler

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

NFE = (0, 1, 2, 4, 8, 15, 30)
"""The default numbers of evaluations; 0 is the prior alone."""


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
    members: int = 1,
    metrics: str | Metric | Sequence[str | Metric] = "quick",
    features: Features = (),
    batch_size: BatchSize = "auto",
    classifier: str | Classifier | None = "auto",
    generate: Generate | None = None,
    progress: bool | None = None,
    group: ProcessGroup | None = None,
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
        members: samples of each condition, one after the other, as the scores of ensembles take them
            (``crps``, ``energy-score``); they divide ``samples``.
        metrics: ``"quick"`` (Fréchet and kernel distance, accuracy, W2²), ``"all"``, or names or specs of
            ``Metric.available()``.
        features: feature extractors besides the classifier, such as ``"lite0"`` or a module of your own.
        batch_size: samples solved at once; ``"auto"`` takes at most 500, fewer of large events; it is halved
            where the memory of a GPU does not suffice.
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
        members=members,
        metrics=metrics,
        features=features,
        batch_size=batch_size,
        classifier=classifier,
        generate=generate,
        progress=progress,
        group=group,
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
    members: int = 1,
    metrics: str | Metric | Sequence[str | Metric] = "quick",
    features: Features = (),
    batch_size: BatchSize = "auto",
    classifier: str | Classifier | None = "auto",
    folder: Path | str | None = None,
    generate: Generate | None = None,
    progress: bool | None = None,
    group: ProcessGroup | None = None,
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
    processes = Group(group)
    shown = shows_progress(progress) and processes.rank == 0
    # The first process trains and keeps the classifier, which the others read.
    with showing(shown), processes.first_goes_ahead():
        request = ask(
            flow,
            data,
            reference=reference,
            references=references,
            nfe=nfe,
            samplers=samplers,
            guidances=guidances,
            seeds=seeds,
            samples=samples,
            conditions=conditions,
            members=members,
            metrics=metrics,
            features=features,
            batch_size=batch_size,
            classifier=classifier,
            generate=generate,
            group=group,
        )
    with showing(shown):
        return compute(request, folder, processes)


def sweep_each(flow: Flow, data: Any, references: Mapping[str, Any], **options: Any) -> dict[str, Result]:
    """Sweep for each reference: samples are generated for its own conditions and compared with it alone.

    :func:`sweep` with ``references`` generates for the conditions of the first one.

    Args:
        flow: as :func:`sweep`.
        data: as :func:`sweep`.
        references: name -> data.
        options: what else :func:`sweep` takes.

    Returns:
        name -> result; :func:`joined` puts them into one long table.

    Raises:
        OptionError: no reference; or as :func:`sweep`.
        InputError: as :func:`sweep`.
    """
    if not references:
        raise OptionError("evaluate: references={} is not possible; give one or more by name")
    return {name: sweep(flow, data, references={name: part}, **options) for name, part in references.items()}


def joined(results: Mapping[str, Result]) -> Result:
    """Return the results of :func:`sweep_each` as one, with the names of the references in ``split``.

    What belongs to no reference, such as transport cost and the seconds of generating, is that of the first.
    ``metrics`` describe the first one's values, where it has them; each row says its own reference.
    """
    first, *others = results.values()
    rows, metrics, notes = list(first.rows), dict(first.metrics), list(first.notes)
    for name, result in list(results.items())[1:]:
        rows += [row for row in result.rows if row["split"] == name]
        metrics = result.metrics | metrics
        notes += result.notes
    each = [result.settings for result in (first, *others)]
    settings = first.settings | {
        "reference": " and ".join(own["reference"] for own in each),
        "reference_digests": {
            name: digest for own in each for name, digest in own["reference_digests"].items()
        },
    }
    return Result(rows, metrics, settings, list(dict.fromkeys(notes)))
