"""Request: what an evaluation is asked for, checked before anything is computed.

:func:`ask` checks what a user gives and makes a :class:`Request` of it: ways of generating samples
(:class:`Setting`), splits that they are compared with, metrics and seeds. Last the evaluation classifier is
read or trained, for the features that metrics compare are its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from flowprior.conditions import Condition
from flowprior.data.base import HIGHEST_SEED, as_data
from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.features.base import FeatureExtractor, as_extractor, short, short_identity
from flowprior.features.classifier import Classifier, accuracy_on, data_classifier, load_classifier
from flowprior.flow import Flow
from flowprior.flow.conditioning import check_guidance
from flowprior.flow.readers import check_identity
from flowprior.metrics.base import Metric, SampleMetric, StepMetric, select
from flowprior.metrics.setup import Generate, Reference, Setup
from flowprior.registry import Registered
from flowprior.registry.options import check_count, choose, is_whole
from flowprior.registry.plugins import package_version
from flowprior.registry.registry import spec_of
from flowprior.samplers import FixedStepSampler, Sampler, TimeGrid
from flowprior.samplers.base import MOST_EVALUATIONS
from flowprior.storage.user_paths import expanded
from flowprior.streams.data import Annotation, Data

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Features = Sequence[str | nn.Module | FeatureExtractor]
Conditions = Literal["reference", "balanced"]
BatchSize = int | Literal["auto"]
LARGEST_BATCH = 500
"""The largest number of samples that are generated at once by default."""
LARGEST_STATE = 1 << 21
"""The largest number of entries that the states of these samples have by default."""
MOST_SAMPLES = 1_000_000
"""The largest number of samples of one setting, which are held in memory together."""
CLOSE = 1e-6
"""The relative difference of two units up to which they are the same; files keep them in double precision."""
FEW = 100
"""The number of examples below which no metric of samples can be trusted: a share or mean of n of them has a
standard error of up to 1/√n of its scale, 10 % at 100, which is as much as good designs differ by."""
USUAL = {
    "fid": "10,000 or more",  # Heusel et al. 2017
    "kid": "1,000 or more",  # the subsets of Bińkowski et al. 2018
    "w2": "some hundred of each label",
    "precision-recall": "10,000 or more",  # Kynkäänniemi et al. 2019 take 50,000
}
"""Metric -> the number of test examples that it is usually taken against."""


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
    def kinds(self) -> tuple[type[Metric], ...]:
        """The kinds of metrics that apply: the prior alone takes no steps."""
        return (SampleMetric,) if self.nfe == 0 else (SampleMetric, StepMetric)

    @property
    def file_name(self) -> str:
        """The beginning of the names of its files."""
        if self.nfe == 0:
            return "prior"
        count = "" if self.nfe is None else f"-nfe{self.nfe}"
        return f"{self.sampler.name}{count}-g{self.guidance:g}"

    @property
    def terms(self) -> dict[str, Any] | None:
        """The terms of its samples besides flow, data and seed; None for a sampler without a name."""
        try:
            spec = spec_of(Sampler.registry, self.sampler)
        except CheckpointError:
            return None
        return {"sampler": spec, "nfe": self.nfe, "guidance": self.guidance}


@dataclass(frozen=True)
class Request:
    """A measurement that is asked for, with everything that it needs.

    Attributes:
        setup: what metrics may look at, of no seed yet.
        splits: what samples are compared with, by name; conditions are those of the first.
        settings: every way of generating samples.
        guidances: strengths at which values of the flow itself are computed.
        seeds: of conditions, source samples and the subsets of real data.
        metrics: those to compute.
        is_default: whether metrics of the default set that the data do not allow are left out without a note.
    """

    setup: Setup
    splits: Mapping[str, Reference]
    settings: Sequence[Setting]
    guidances: Sequence[float]
    seeds: Sequence[int]
    metrics: list[Metric]
    is_default: bool

    def setups(self, seed: int) -> dict[str, Setup]:
        """Return what metrics may look at with this seed, by split; all have the conditions of the first."""
        own = {name: replace(self.setup, reference=split, seed=seed) for name, split in self.splits.items()}
        first, *others = own.values()
        for setup in others:
            setup.cond, setup.rows = first.cond, first.rows
        return own

    def describe(self) -> dict[str, Any]:
        """Return parts of the flow, data, references, classifier with its accuracy, and versions."""
        setup, flow, own = self.setup, self.setup.flow, next(iter(self.splits.values())).data
        parts = {"prior": flow.prior, "coupling": flow.coupling, "path": flow.path}
        scorer = setup.classifier if own.condition.kind == "labels" else None
        return {
            "data": setup.data.name,
            "reference": " and ".join(split.describe() for split in self.splits.values()),
            "reference_digests": {split.split: split.digest for split in self.splits.values()},
            **{name: name_of(flow.specs[name] or part) for name, part in parts.items()},
            "model": flow.specs["model"] or type(flow.model).__name__,
            **({} if flow.encoder is None else {"encoder": short(flow.encoder.identity())}),
            "classifier": None if setup.classifier is None else short_identity(setup.classifier),
            "classifier_accuracy": None if scorer is None else accuracy_on(scorer, own),
            "device": str(setup.device),
            "torch": torch.__version__,
            "flowprior": package_version(),
            "samplers": list(dict.fromkeys(setting.name for setting in self.settings)),
            "guidances": list(self.guidances),
            "seeds": list(self.seeds),
            "samples": setup.samples,
            "conditions": "balanced" if setup.balanced else "reference",
            **({"members": setup.members} if setup.members > 1 else {}),
            "metrics": [metric.name for metric in self.metrics],
            "features": [short_identity(extractor) for extractor in setup.extractors],
        }


def ask(
    flow: Flow,
    data: Any,
    *,
    reference: Any,
    references: Mapping[str, Any] | None,
    nfe: Sequence[int],
    samplers: Sequence[str | Sampler] | None,
    guidances: Sequence[float],
    seeds: Sequence[int],
    samples: int,
    conditions: Conditions,
    members: int,
    metrics: str | Metric | Sequence[str | Metric],
    features: Features,
    batch_size: BatchSize,
    classifier: str | Classifier | None,
    generate: Generate | None,
    group: ProcessGroup | None,
) -> Request:
    """Return the request of these arguments of :func:`flowprior.evaluation.sweep`.

    Raises:
        InputError: data that do not fit the flow.
        OptionError: unknown or impossible options, or no ``nfe`` that any sampler can spend.
    """
    samplers = [flow.default_sampler] if samplers is None else samplers
    check_counts(samples, nfe, samplers, guidances, seeds, batch_size, members)
    data = as_data(data)
    training, splits = references_for(data, reference, references)
    check_flow(flow, guidances, conditions, [training, *splits.values()])
    nfe, guidances, seeds = map(plain_numbers, (nfe, guidances, seeds))
    samples, members = plain_numbers((samples, members))
    wanted, extractors = select(metrics), extractors_for(features, flow)
    settings = settings_for(samplers, nfe, guidances)
    warn_of_few(splits.values(), wanted)
    known = classifier_for(classifier, data, wanted)
    setup = Setup(
        flow,
        training,
        next(iter(splits.values())),
        samples=samples,
        seed=0,
        classifier=known,
        extractors=with_classifier(known, extractors),
        batch_size=batch_size_for(flow) if batch_size == "auto" else int(batch_size),
        generate=generate,
        solve=None if group is None else partial(flow.solve, group=group),
        balanced=conditions == "balanced",
        members=members,
    )
    is_default = "quick" in ([metrics] if isinstance(metrics, str | Metric) else metrics)
    return Request(setup, splits, settings, guidances, seeds, wanted, is_default)


def check_counts(
    samples: int,
    nfe: Sequence[int],
    samplers: Sequence[str | Sampler],
    guidances: Sequence[float],
    seeds: Sequence[int],
    batch_size: int | str,
    members: int,
) -> None:
    """Refuse impossible numbers.

    Raises:
        OptionError: the message says which, and what to choose.
    """
    given = {"nfe": nfe, "samplers": samplers, "guidances": guidances, "seeds": seeds}
    for name, values in given.items():
        if not len(values):  # which an array has, too
            raise OptionError(f"evaluate: {name}=[] is not possible; give one or more")
    check_count("evaluate", "samples", samples, 2, MOST_SAMPLES)
    check_count("evaluate", "members", members, 1, samples)
    if samples % members:
        raise OptionError(
            f"evaluate: members={members} does not divide samples={samples}; choose samples that are a "
            "multiple of it"
        )
    for count in nfe:
        check_count("evaluate", "nfe", count, 0, MOST_EVALUATIONS)
    for seed in seeds:
        check_count("evaluate", "seed", seed, 0, HIGHEST_SEED - 1)
    if batch_size != "auto" and (isinstance(batch_size, str) or batch_size < 1):
        raise OptionError(f"evaluate: batch_size={batch_size!r} is not possible; choose 'auto', or 1 or more")


def batch_size_for(flow: Flow) -> int:
    """Return the number of samples that are generated at once by default, fewer of large events."""
    return max(1, min(LARGEST_BATCH, LARGEST_STATE // flow.state_shape.numel()))


def plain_numbers(values: Sequence[Any]) -> list[Any]:
    """Return whole numbers as ``int`` and others as ``float``; NumPy's own types would not go into JSON."""
    return [int(value) if is_whole(value) else float(value) for value in values]


def references_for(
    data: Data, reference: Any, references: Mapping[str, Any] | None
) -> tuple[Reference, dict[str, Reference]]:
    """The training split, and the splits that samples are compared with by name.

    Raises:
        OptionError: both ``reference`` and ``references``, or no split in the latter.
        InputError: no data.
    """
    training = Reference(data, "training")
    if references is None:
        references = {"training" if reference is None else "test": data if reference is None else reference}
    elif reference is not None or not references:
        raise OptionError("evaluate: give either reference=…, or references={name: data, …} with one or more")
    splits = [
        training if part is data else Reference(as_data(part), name) for name, part in references.items()
    ]
    return training, {split.split: split for split in splits}


def check_flow(
    flow: Flow, guidances: Sequence[float], conditions: str, references: Iterable[Reference]
) -> None:
    """Refuse guidance that the flow was not trained for, and data and conditions that it was not made for.

    Raises:
        OptionError: see :func:`flowprior.flow.conditioning.check_guidance`; balanced conditions without
            labels.
        InputError: other events, another kind or width of condition, embeddings by another text encoder, or
            labels or units that mean something else.
    """
    for guidance in guidances:
        check_guidance(guidance, flow.condition, flow.metadata)
    choose("evaluate", "conditions", conditions, get_args(Conditions))
    if conditions == "balanced" and flow.condition.kind != "labels":
        raise OptionError("evaluate: conditions='balanced' needs labels; choose 'reference' (as by default)")
    for reference in references:
        data = reference.data
        check_events("evaluate", flow.event_shape, flow.condition, data)
        check_identity(flow.metadata, data.text_encoder_identity, f"evaluate, '{data.name}'")
        check_comparable(flow, data)


def check_events(owner: str, event_shape: Sequence[int], condition: Condition, data: Data) -> None:
    """Refuse ``data`` of other events than a flow of this ``event_shape`` and ``condition`` makes.

    Raises:
        InputError: other events, or another kind or width of condition.
    """
    if tuple(data.event_shape) != tuple(event_shape) or not _fit(data.condition, condition):
        raise InputError(
            f"{owner}: the flow makes events {list(event_shape)} from {condition.describe()}, "
            f"but '{data.name}' has events {list(data.event_shape)} and {data.condition.describe()}"
        )


def _fit(given: Condition, expected: Condition) -> bool:
    """Return whether conditions are of one kind and, but for labels, of one width; labels may be missing."""
    if given.kind == "parts" and given.names == expected.names:
        return all(_fit(part, expected[name]) for name, part in given.parts)
    return given.kind == expected.kind and (given.kind == "labels" or given == expected)


def check_comparable(flow: Flow, data: Data) -> None:
    """Refuse ``data`` whose numbers or labels mean something else than those of the flow's own data.

    Raises:
        InputError: another order of the labels' names, or other units or names of the numbers.
    """
    names = flow.words.label_names()
    given = list(data.class_names or ())
    if names and given and given != names[: len(given)]:
        raise InputError(
            f"evaluate: expected labels {', '.join(names)} in this order, got '{data.name}' with "
            f"{', '.join(given)}; compare with data that number their labels alike"
        )
    own = Annotation.of_facts(flow.metadata.get("data"), flow.event_shape.numel())
    if own is not None and data.annotation is not None and not _alike(own, data.annotation):
        raise InputError(
            f"evaluate: expected events in the units of the flow's data ({_units(own)}), got '{data.name}' "
            f"with {_units(data.annotation)}; compare with the test split of that file by the same options"
        )


def _alike(own: Annotation, other: Annotation) -> bool:
    """Return whether numbers have the same names and units; a single unit stands for all numbers."""
    units = (own.scale, other.scale), (own.shift, other.shift)
    return (own.key, own.names) == (other.key, other.names) and all(
        np.allclose(first, second, rtol=CLOSE, atol=CLOSE) for first, second in units
    )


def _units(annotation: Annotation) -> str:
    scale = f"divided by {annotation.scale[0]:.4g}" if len(annotation.scale) == 1 else "standardised"
    return f"{annotation.key}, {len(annotation.names)} numbers, {scale}"


def settings_for(
    samplers: Sequence[str | Sampler], nfe: Sequence[int], guidances: Sequence[float]
) -> list[Setting]:
    """Return every way of generating samples; a sampler that chooses its NFE is asked once, beside the prior.

    Raises:
        OptionError: no sampler can spend any of the numbers of evaluations; it names the nearest one.
    """
    chosen = {name_of(sampler): Sampler.registry.resolve(sampler) for sampler in samplers}
    tried = list(product(chosen.values(), nfe))
    refused = [error for sampler, count in tried if (error := _refusal(sampler, count)) is not None]
    if len(refused) == len(tried):
        raise refused[-1]
    of_adaptive = [0, None] if 0 in nfe else [None]
    return [
        Setting(name, sampler, count, guidance)
        for name, sampler in chosen.items()
        for guidance in guidances
        for count in (of_adaptive if sampler.adaptive else nfe)
    ]


def _refusal(sampler: Sampler, nfe: int) -> OptionError | None:
    """Return why a sampler cannot spend so many evaluations; None if it can."""
    if nfe and isinstance(sampler, FixedStepSampler):
        try:
            sampler.steps(nfe)
        except OptionError as error:
            return error
    return None


def warn_of_few(references: Iterable[Reference], metrics: Iterable[Metric]) -> None:
    """Warn once of each split with fewer than 100 examples, where metrics compare samples with it.

    Args:
        references: that samples are compared with.
        metrics: that are asked for.

    Warns:
        RuntimeWarning: how many examples there are, what such metrics usually take, and what to do.
    """
    names = [metric.name for metric in metrics if isinstance(metric, SampleMetric)]
    usual = [f"{name} {USUAL[name]}" for name in names if name in USUAL]
    needs = f" (usual are: {', '.join(usual)})" if usual else ""
    for reference in references if names else ():
        message = (
            f"evaluate: expected {FEW} or more examples to compare samples with, got {reference.describe()}: "
            f"values against so few say little{needs}; hold more out (test_fraction=) or name larger data "
            "(--reference), or take the values as a sign that it runs, and no more"
        )
        if len(reference) < FEW:
            warn_once(message)


@cache
def warn_once(message: str) -> None:
    """Warn of something unless the same was said before."""
    warnings.warn(message, RuntimeWarning, stacklevel=6)


def classifier_for(
    classifier: str | Classifier | None, data: Data, metrics: Sequence[Metric]
) -> Classifier | None:
    """The classifier to use; none by itself for data without labels or with a single one.

    One that is given serves data of other conditions, too: by its features.

    Raises:
        InputError: one of other events or labels.
        OptionError: neither ``"auto"``, a classifier, nor a file.
        CheckpointError: a file that holds no classifier of these data, or other weights than it promises.
    """
    unused = classifier == "auto" and not any(metric.needs_classifier for metric in metrics)
    labelled = data.condition.kind == "labels" and data.condition.size > 1
    if classifier in (None, "none") or unused or (classifier == "auto" and not labelled):
        return None
    if not isinstance(classifier, str):
        if not classifier.serves(data.event_shape, data.condition):
            raise InputError(f"evaluate: the classifier is not one for '{data.name}': other events or labels")
        return classifier
    if classifier == "auto":
        return data_classifier(data)
    if not expanded(classifier, "evaluate").is_file():
        raise OptionError(
            f"evaluate: classifier='{classifier}' is not possible; pass 'auto', 'none', a Classifier, or the "
            "file of one"
        )
    return load_classifier(classifier, data)


def extractors_for(features: Features, flow: Flow) -> list[FeatureExtractor]:
    """The extractors that are asked for; those built here go to the flow's device.

    Raises:
        UnknownComponentError: no extractor of that name.
        OptionError: two of one name, or options that do not fit.
    """
    found = [as_extractor(item) for item in features]
    for item, extractor in zip(features, found, strict=True):
        if isinstance(item, str) and isinstance(extractor, nn.Module):
            extractor.to(flow.prior.event_dims.device)
    return with_classifier(None, found)


def with_classifier(
    classifier: Classifier | None, extractors: Sequence[FeatureExtractor]
) -> list[FeatureExtractor]:
    """The classifier's features first, then the others.

    Raises:
        OptionError: two of one name.
    """
    found = [*([] if classifier is None else [classifier]), *extractors]
    names = [extractor.features_name for extractor in found]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(
                f"evaluate: features '{name}' are given twice; leave one out, or name "
                "a module by NetworkFeatures(module, name)"
            )
    return found


def name_of(component: str | Registered) -> str:
    """A text as it is; of a component its spec, or its class where no name leads back to it."""
    if isinstance(component, str):
        return component
    try:
        return spec_of(component.registry, component)
    except CheckpointError:
        return type(component).__name__
