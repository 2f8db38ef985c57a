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

from benchmarks.studies import CLASSIFIERS, Row, everything, rows_of
from flowprior.features import FeatureExtractor, Lite0Features, load_classifier
from flowprior.flow import Flow
from flowprior.metrics import FeatureMoments
from flowprior.samplers import Sampler

NFES = (1, 4, 15)
SAMPLES, BATCH = 2000, 250


@torch.no_grad()
def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Fréchet distances from inferred and from drawn source samples; nothing for priors without latents."""
    if not hasattr(flow.prior, "infer"):
        return []
    classifier = load_classifier(CLASSIFIERS / "fashion-mnist-train55000-3e318618.safetensors", data.train)
    extractors: list[FeatureExtractor] = [classifier, Lite0Features()]
    real = [_moments(extractor, everything(data.test)[0]) for extractor in extractors]
    x1, labels = _balanced(*everything(data.validation or data.train))
    only = list(cell.variant.samplers.values()) if len(cell.variant.samplers) == 1 else []
    spec = only[0] if only else flow.default_sampler
    sampler = Sampler.registry.resolve(spec)
    generator, rows = torch.Generator(), []
    for nfe in NFES:
        generator.manual_seed(cell.seed)
        inferred = flow.prior.infer(x1, labels, generator=generator)
        drawn = flow.prior.sample(labels, generator=generator)
        for name, x0 in (("inferred", inferred), ("drawn", drawn)):
            parts = zip(x0.split(BATCH), labels.split(BATCH), strict=True)
            x = torch.cat([sampler.integrate(flow.velocity, a, c, nfe=nfe) for a, c in parts]).clamp(-1, 1)
            columns = {
                "flow": f"{cell.variant.label}, {name} source samples",
                "sampler": spec,
                "nfe": nfe,
            }
            found = {
                f"fid-{extractor.features_name}": _moments(extractor, x).distance(reference)
                for extractor, reference in zip(extractors, real, strict=True)
            }
            rows += rows_of(found, **columns, samples=len(x))
    return rows


def _moments(extractor: FeatureExtractor, x: Tensor) -> FeatureMoments:
    return FeatureMoments.of([extractor.features(part) for part in x.split(BATCH)])


def _balanced(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The first ``SAMPLES`` rows, as many of each label."""
    each = SAMPLES // len(labels.unique())
    rows = torch.cat([(labels == label).nonzero()[:each, 0] for label in labels.unique()])
    return x[rows], labels[rows]
