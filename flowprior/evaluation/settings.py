"""Everything that has to be written down for a value to be reproduced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError
from flowprior.features.classifier import Classifier, accuracy_on
from flowprior.flow import Flow
from flowprior.metrics.reference import Reference
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registry, package_version, spec_of
from flowprior.samplers import Sampler
from flowprior.storage.digests import module_description, settings_digest, tensors_digest


def describe_settings(
    flow: Flow, data: str, references: Iterable[Reference], classifier: Classifier | None
) -> dict[str, Any]:
    """Parts of the flow, data, classifier by its weights and accuracy, device and versions."""
    references = list(references)
    return {
        "data": data,
        "reference": " and ".join(reference.describe() for reference in references),
        **{name: flow.specs[name] or _spec(*family) for name, family in _families(flow).items()},
        "model": flow.specs["model"] or type(flow.model).__name__,
        "classifier": None if classifier is None else classifier.describe(),
        "classifier_accuracy": None if classifier is None else accuracy_on(classifier, references[0].data),
        "device": str(flow.prior.event_dims.device),
        "torch": torch.__version__,
        "flowprior": package_version(),
    }


def flow_digest(flow: Flow) -> str | None:
    """sha256 over weights, prior and what the parts are; None where one of them cannot be told from others.

    That is a model that is a plain function, or a coupling or path that no name leads back to.
    """
    if not isinstance(flow.model, nn.Module):
        return None
    try:
        parts = {name: family for name, family in _families(flow).items() if not flow.specs[name]}
        unnamed: dict[str, Any] = {name: spec_of(*family) for name, family in parts.items()}
    except CheckpointError:
        return None
    if not flow.specs["model"]:
        unnamed["model"] = module_description(flow.model)
    tensors = {name: value for name, value in flow.state_dict().items() if isinstance(value, Tensor)}
    described = {
        **flow.specs,
        "prediction": flow.prediction,
        "classes": [type(part).__qualname__ for part in (flow.model, flow.prior, flow.coupling, flow.path)],
    }
    return settings_digest({"tensors": tensors_digest(tensors), **described, **unnamed})


def _families(flow: Flow) -> dict[str, tuple[Registry[Any], object]]:
    return {
        "prior": (Prior.registry, flow.prior),
        "coupling": (Coupling.registry, flow.coupling),
        "path": (Path.registry, flow.path),
    }


def sampler_name(sampler: str | Sampler) -> str:
    """A sampler as it was asked for, or the spec of an instance."""
    return sampler if isinstance(sampler, str) else _spec(Sampler.registry, sampler)


def _spec(registry: Registry[Any], component: object) -> str:
    try:
        return spec_of(registry, component)
    except CheckpointError:
        return type(component).__name__
