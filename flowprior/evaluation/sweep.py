"""Evaluate a flow: quality of its samples against the number of evaluations of its velocity model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from flowprior.data import as_data
from flowprior.errors import OptionError
from flowprior.evaluation import request
from flowprior.evaluation.assistants import Assistants
from flowprior.evaluation.evaluator import Evaluator, Row
from flowprior.evaluation.request import Conditions, Features
from flowprior.evaluation.result import Result
from flowprior.evaluation.setting import Setting, fitting_batch_size, step_times_of
from flowprior.evaluation.store import Store
from flowprior.features.base import short_identity
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.base import Metric, select
from flowprior.metrics.setup import Generate, Reference, Setup
from flowprior.processes.group import group_of
from flowprior.progress import showing, shows_progress, stage
from flowprior.samplers import Sampler, Solution

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

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
    members: int = 1,
    metrics: str | Metric | Sequence[str | Metric] = "quick",
    features: Features = (),
    batch_size: int | Literal["auto"] = "auto",
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
        batch_size: samples solved at once; ``"auto"`` takes what memory allows, at most 500.
        classifier: recognises the samples of labelled data; ``"auto"`` trains one on ``data`` (kept in a
            cache), ``"none"`` or None leaves accuracy and its features out; or the file of one
            (:func:`flowprior.features.save_classifier`).
        generate: gives the samples in place of ``flow.solve`` and takes the same, such as a function that
            calls it and keeps what it gave; everything else is asked of ``flow``.
        progress: show how far it has come, in a terminal, a notebook or a log; None does, unless the
            environment variable ``FLOWPRIOR_PROGRESS`` is 0.
        group: processes of ``torch.distributed`` that call this together, with the same arguments. They share
            samples out, the first one computes the metrics, and each gets the result.

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
    batch_size: int | Literal["auto"] = "auto",
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
    request.check_counts(samples, nfe, guidances, seeds, batch_size, members)
    data = as_data(data)
    training, splits = request.references_for(data, reference, references)
    request.check_flow(flow, guidances, conditions, [training, *splits.values()])
    nfe, guidances, seeds = map(request.plain_numbers, (nfe, guidances, seeds))
    samples, members = request.plain_numbers((samples, members))
    batch_size = "auto" if batch_size == "auto" else request.plain_numbers([batch_size])[0]
    samplers = [flow.default_sampler] if samplers is None else samplers
    chosen = {request.name_of(sampler): Sampler.registry.resolve(sampler) for sampler in samplers}
    request.check_spendable(chosen.values(), nfe)
    wanted, extractors = select(metrics), request.extractors_for(features, flow)
    processes = group_of(group)
    if processes.rank == 0:
        request.warn_of_few(splits.values(), wanted)
    shown = shows_progress(progress) and processes.rank == 0
    # The first process trains and keeps the classifier, which the others read.
    with showing(shown), processes.first_goes_ahead():
        known = request.classifier_for(classifier, data, wanted)
    first = next(iter(splits.values()))
    base = Setup(
        flow,
        training,
        first,
        samples=samples,
        seed=0,
        classifier=known,
        extractors=request.with_classifier(known, extractors),
        generate=generate,
        balanced=conditions == "balanced",
        members=members,
    )
    chosen_counts = [0, None] if 0 in nfe else [None]  # of a sampler that chooses its NFE, but for the prior
    settings = [
        Setting(name, sampler, count, guidance)
        for name, sampler in chosen.items()
        for guidance in guidances
        for count in (chosen_counts if sampler.adaptive else nfe)
    ]
    by_default = "quick" in ([metrics] if isinstance(metrics, str | Metric) else metrics)
    options = {"guidances": guidances, "seeds": seeds, "metrics": wanted, "by_default": by_default}
    options |= {"batch_size": batch_size, "folder": folder}
    with showing(shown):
        if group is None:
            return _measured(base, splits, settings, **options)
        assistants = Assistants(group, partial(_solve_together, flow, group))
        base = replace(base, solve=assistants.solve)
        return assistants.run(partial(_measured, base, splits, settings, **options))


def _solve_together(flow: Flow, group: ProcessGroup, *, seed: int, **terms: Any) -> Solution:
    """Return samples that the processes of a group generate together."""
    generator = torch.Generator(flow.prior.event_dims.device).manual_seed(seed)
    return flow.solve(generator=generator, group=group, **terms)


def _measured(
    base: Setup,
    splits: Mapping[str, Reference],
    settings: Sequence[Setting],
    *,
    guidances: Sequence[float],
    seeds: Sequence[int],
    metrics: list[Metric],
    by_default: bool,
    batch_size: int | Literal["auto"],
    folder: Path | str | None,
) -> Result:
    """Compute the values, or read them from the folder.

    Args:
        base: what metrics may look at, of no seed yet.
        splits: that samples are compared with; conditions are those of the first.
        settings: every way of generating samples.
        guidances: at which values of the flow itself are computed.
        seeds: of conditions, source samples and the subsets of real data.
        metrics: those that are asked for.
        by_default: whether metrics of the default set that the data do not allow are left out silently.
        batch_size: samples at once.
        folder: where finished values are kept.

    Raises:
        OptionError: no number of evaluations that any sampler can spend, or no metric that the data allow.
    """
    size = _fitting(base, guidances) if batch_size == "auto" else batch_size
    described = request.describe_settings(
        base.flow, base.training.data.name, list(splits.values()), base.classifier
    ) | {
        "samplers": list(dict.fromkeys(setting.name for setting in settings)),
        "guidances": list(guidances),
        "seeds": list(seeds),
        "samples": base.samples,
        "conditions": "balanced" if base.balanced else "reference",
        **({"members": base.members} if base.members > 1 else {}),
        "metrics": [metric.name for metric in metrics],
        "features": [short_identity(extractor) for extractor in base.extractors],
    }
    label, store = f"{described['prior']} + {described['coupling']}", Store(folder)
    times, evaluators = step_times_of(settings), []
    for seed in seeds:
        own = {name: replace(base, reference=r, seed=seed, batch_size=size) for name, r in splits.items()}
        first, *others = own.values()
        for setup in others:
            setup.cond, setup.rows = first.cond, first.rows
        evaluators.append(Evaluator(label, own, metrics, store, times))
    lacking = {metric: metric.lacks(evaluators[0].setup) for metric in evaluators[0].lacking}
    if not evaluators[0].measures:
        needs = "; ".join(f"{metric.name} needs {what}" for metric, what in lacking.items())
        raise OptionError(f"evaluate: none of the metrics can be computed: {needs}")
    notes = [
        f"{metric.name} left out: it needs {what}"
        for metric, what in lacking.items()
        if not (by_default and metric.quick)
    ]
    if not base.has_test:
        notes.append("no test split: samples are compared with the training data themselves")
    rows, left_out = _quality(evaluators, settings)
    for evaluator in evaluators:
        with stage("values of the flow, its pairs and the data"):
            for guidance in guidances:
                rows += evaluator.flow_values(guidance)
            rows += [*evaluator.transport(), *evaluator.real_data()]
    described["batch_size"] = min(evaluator.setup.batch_size for evaluator in evaluators)
    return Result(rows, evaluators[0].described, described, list(dict.fromkeys([*notes, *left_out])))


def _fitting(base: Setup, guidances: Sequence[float]) -> int:
    """Return how many samples at once fit into memory, with guidance where any is asked for."""
    _, cond = base.reference.data.batch(torch.arange(min(len(base.reference), 1)))
    guided = cond is not None and any(guidance != 1.0 for guidance in guidances)
    return fitting_batch_size(base.flow, cond, 2.0 if guided else 1.0)


def _quality(evaluators: list[Evaluator], settings: Sequence[Setting]) -> tuple[list[Row], list[str]]:
    """Return the rows of every setting and seed, and what was left out.

    Raises:
        OptionError: no number of evaluations that any sampler can spend.
    """
    rows, notes = [], []
    spent = {own.name for own in settings} - {own.name for own in settings if own.nfe != 0}
    with stage("evaluate", len(settings) * len(evaluators), everywhere=True) as evaluating:
        for done, (setting, evaluator) in enumerate(product(settings, evaluators)):
            evaluating.update(done, f"{setting}, seed {evaluator.setup.seed}")
            try:
                rows += evaluator.quality(setting)
                spent |= {setting.name} if setting.nfe != 0 else set()
            except OptionError as error:
                notes.append(f"nfe={setting.nfe} left out: {error}")
            evaluating.advance()
    if not spent:
        raise OptionError(notes[-1].split(": ", 1)[1])
    return [row for row in rows if row["sampler"] in spent], notes


def sweep_each(flow: Flow, data: Any, references: Mapping[str, Any], **options: Any) -> dict[str, Result]:
    """A sweep for each reference: samples are generated for its own conditions and compared with it alone.

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
    """The results of :func:`sweep_each` as one, told apart by the column ``split``.

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
