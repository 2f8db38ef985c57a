"""Everything that has to be written down for a figure to be reproduced."""

from __future__ import annotations

from typing import Any

import torch

from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.errors import CheckpointError
from flowprior.features.classifier import Classifier, accuracy_on
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registry, package_version, spec_of
from flowprior.samplers import Sampler


def describe_settings(
    flow: Flow, data: Data, reference: Data, sampler: str | Sampler, classifier: Classifier | None
) -> dict[str, Any]:
    """Parts of the flow, data, sampler, classifier by its weights and accuracy, device and versions."""
    families: dict[str, tuple[Registry[Any], object]] = {
        "prior": (Prior.registry, flow.prior),
        "coupling": (Coupling.registry, flow.coupling),
        "path": (Path.registry, flow.path),
    }
    return {
        "data": data.name,
        "reference": describe_reference(data, reference),
        **{name: flow.specs[name] or _spec(*family) for name, family in families.items()},
        "model": flow.specs["model"] or type(flow.model).__name__,
        "sampler": describe_sampler(sampler),
        "judge": None if classifier is None else classifier.describe(),
        "classifier_accuracy": None if classifier is None else accuracy_on(classifier, reference),
        "device": str(flow.prior.event_dims.device),
        "torch": torch.__version__,
        "flowprior": package_version(),
    }


def describe_sampler(sampler: str | Sampler) -> str:
    """A sampler as it was asked for, or the spec of an instance."""
    return sampler if isinstance(sampler, str) else _spec(Sampler.registry, sampler)


def describe_reference(data: Data, reference: Data) -> str:
    """Size, split and name of what samples are compared with."""
    split = "training" if reference is data else "test"
    return f"{len(reference)} {split} examples of {reference.name}"


def _spec(registry: Registry[Any], component: object) -> str:
    try:
        return spec_of(registry, component)
    except CheckpointError:
        return type(component).__name__
