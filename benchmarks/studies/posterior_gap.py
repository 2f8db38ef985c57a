"""How much of `posterior`'s error comes from its source samples: sample a flow from inferred ones, too.

    values = "benchmarks.studies.posterior_gap:values"

The source samples of training are inferred from data, those of sampling are drawn from the prior; the
difference of the two Fréchet distances is what a better law of the latents could win. An inferred one also
knows its picture, so it is inferred from pictures that were held out of training, where the study holds any.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import FASHION_CLASSIFIER, Row, everything, rows_of
from flowprior.features import FeatureExtractor, Lite0Features, load_classifier
from flowprior.features.base import short_identity
from flowprior.flow import Flow
from flowprior.metrics import FeatureMoments
from flowprior.pictures import first_of_each
from flowprior.priors import latents_of
from flowprior.samplers import Sampler

NFES = (1, 4, 15)
SAMPLES, BATCH = 2000, 250


@torch.no_grad()
def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Fréchet distances from inferred and from drawn source samples; nothing for priors without latents."""
    if latents_of(flow.prior) is None:
        return []
    classifier = load_classifier(FASHION_CLASSIFIER, data.train)
    real = [(e, _moments(e, everything(data.test)[0])) for e in (classifier, Lite0Features())]
    x1, labels = everything(data.validation or data.train)
    classes = len(labels.unique())
    chosen = first_of_each(labels, len(x1), SAMPLES // classes, classes)
    x1, labels = x1[chosen], labels[chosen]
    only = list(cell.variant.samplers.values()) if len(cell.variant.samplers) == 1 else []
    spec, rows = only[0] if only else flow.default_sampler, []
    told = {"split": "test", "reference": f"{len(data.test)} test examples of {data.test.name}"}
    for nfe in NFES:
        for name, x0 in _source_samples(flow, x1, labels, cell.seed).items():
            x = _carried(flow, spec, x0, labels, nfe)
            told |= {"flow": f"{cell.variant.label}, {name} source samples", "samples": len(x)}
            for extractor, moments in real:
                found = {f"fid-{extractor.features_name}": _moments(extractor, x).distance(moments)}
                rows += rows_of(found, sampler=spec, nfe=nfe, features=short_identity(extractor), **told)
    return rows


def _source_samples(flow: Flow, x1: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inferred = flow.prior.infer(x1, labels, generator=generator)
    return {"inferred": inferred, "drawn": flow.prior.sample(labels, generator=generator)}


def _carried(flow: Flow, spec: str, x0: Tensor, labels: Tensor, nfe: int) -> Tensor:
    """Samples that the flow makes of source samples x0."""
    sampler = Sampler.registry.resolve(spec)
    parts = zip(x0.split(BATCH), labels.split(BATCH), strict=True)
    return torch.cat([sampler.integrate(flow.velocity, x, c, nfe=nfe) for x, c in parts]).clamp(-1, 1)


def _moments(extractor: FeatureExtractor, x: Tensor) -> FeatureMoments:
    return FeatureMoments.of([extractor.features(part) for part in x.split(BATCH)])
