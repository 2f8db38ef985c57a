"""What a flow makes of a source that moved after its training: by a shift, or in scale about its own mean.

values = "benchmarks.studies.moved_source:values"
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from benchmarks.studies import Row, digits, everything, generator, rows_of
from flowprior.flow import Flow
from flowprior.metrics.kernel import polynomial_mmd2
from flowprior.priors import Prior
from flowprior.samplers import Sampler

NFES = (4, 15)
SAMPLES = 1000
SHIFTS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
"""Of every pixel, in standard deviations of a pixel within its label, over all pixels."""
SCALES = (0.5, 0.8, 1.0, 1.25, 2.0)
"""Of the source samples about the mean of their label."""
DISTANCE, RECOGNISED = "kernel-distance", "recognised"
SOURCE, PRIOR = "source", "prior"
"""What moves: the samples alone, or the fitted prior, which the velocity of the default reads, too."""
MOVES = {f"shift {shift:g}": (1.0, shift) for shift in SHIFTS} | {
    f"scale {scale:g}": (scale, 0.0) for scale in SCALES if scale != 1
}


def moved_prior(prior: Prior, scale: float, shift: float) -> Prior:
    """A copy of a ``latent-gmm`` whose samples are moved: x0 → μ_c + scale (x0 − μ_c) + shift.

    μ_c is the mean of the label's data, from which that of its samples differs by what the law of the
    latents leaves.
    """
    prior = copy.deepcopy(prior)
    subspace: Any = prior.subspace
    subspace.loc.add_(shift)
    subspace.noise.mul_(scale**2)
    return prior


def with_prior(flow: Flow, prior: Prior) -> Flow:
    """The flow with another prior, which its velocity reads from now on."""
    parts = flow.model, prior, flow.coupling, flow.path, flow.condition
    return Flow(*parts, prediction=flow.prediction).eval()


@torch.no_grad()
def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Of every move, at every number of evaluations: distance to test digits, and what the samples show.

    ``kernel-distance``: unbiased squared kernel distance on the classifier's features. ``recognised``: share
    of the samples that the classifier takes for the label that was asked for.
    """
    judge, (test, _) = digits.classifier(), everything(data.test)
    real, unit = judge.features(test), float(digits.within_class_deviation(*everything(data.train)))
    cond = torch.arange(SAMPLES) % digits.CLASSES
    rows = []
    for what in (SOURCE, PRIOR) if flow.prior.name == "latent-gmm" else (SOURCE,):
        for move, (scale, shift) in MOVES.items():
            own = with_prior(flow, moved_prior(flow.prior, scale, shift * unit)) if what == PRIOR else flow
            x0 = own.coupling.source(own.prior, cond, generator=generator(cell.seed))
            if what == SOURCE:
                centre = flow.prior.mean(cond)
                x0 = centre + scale * (x0 - centre) + shift * unit
            for nfe in NFES:
                solver: Sampler = Sampler.registry.resolve(own.default_sampler)
                x = solver.solve(own.guided(), x0, cond, nfe=nfe).x.clamp(-1, 1)
                share = float((judge(x).argmax(1) == cond).float().mean())
                found = {DISTANCE: polynomial_mmd2(judge.features(x), real), RECOGNISED: share}
                told = {"sampler": f"moved {what}", "condition": move, "samples": SAMPLES, "split": "test"}
                rows += rows_of(found, nfe=nfe, **told)
    return rows
