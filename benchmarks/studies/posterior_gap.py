"""How much of `posterior`'s error comes from its source samples: sample a flow from inferred ones, too.

    values = "benchmarks.studies.posterior_gap:values"

The source samples of training are inferred from data, those of sampling are drawn from the prior; the
difference of the two Fréchet distances is what a better law of the latents could win. An inferred one also
knows its picture.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.studies import CLASSIFIERS, Row, everything, rows_of
from flowprior.features import load_classifier
from flowprior.flow import Flow
from flowprior.metrics import FeatureMoments
from flowprior.samplers import Sampler

NFES = (1, 4, 15)
SAMPLES, BATCH = 2000, 250
EULER = Sampler.create("euler")


@torch.no_grad()
def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Fréchet distances from inferred and from drawn source samples; nothing for priors without latents."""
    if not hasattr(flow.prior, "infer"):
        return []
    classifier = load_classifier(CLASSIFIERS / "fashion-mnist-train55000-3e318618.safetensors", data.train)
    real = FeatureMoments.of([classifier.features(everything(data.test)[0])])
    x1, labels = data.train.batch(torch.arange(SAMPLES))
    generator, rows = torch.Generator(), []
    for nfe in NFES:
        generator.manual_seed(cell.seed)
        inferred = flow.prior.infer(x1, labels, generator=generator)
        drawn = flow.prior.sample(labels, generator=generator)
        for name, x0 in (("inferred", inferred), ("drawn", drawn)):
            parts = zip(x0.split(BATCH), labels.split(BATCH), strict=True)
            x = torch.cat([EULER.integrate(flow.velocity, a, c, nfe=nfe) for a, c in parts]).clamp(-1, 1)
            distance = FeatureMoments.of([classifier.features(x)]).distance(real)
            columns = {"flow": f"{cell.variant.label}, {name} source samples", "sampler": "euler", "nfe": nfe}
            found = {f"fid-{classifier.features_name}": distance}
            rows += rows_of(found, **columns, samples=SAMPLES)
    return rows
