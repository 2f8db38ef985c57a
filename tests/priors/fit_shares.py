"""Fits priors: ``python -m torch.distributed.run … -m tests.priors.fit_shares FILE float64``."""

from __future__ import annotations

import os
import sys

import torch
from torch import Tensor, distributed

from flowprior import Prior
from flowprior.processes import group
from flowprior.processes.leaving import leave

SPECS = {
    "gaussian:moments=diagonal": True,
    "gmm:reg_covar=0.01": True,
    "gmm:covariance=full,shrinkage=2": True,
    "gmm:components=3,reg_covar=0.01": True,
    "gmm:components=2,covariance=lowrank,rank=3,reg_covar=0.01,shrinkage=1": True,
    "latent-gmm:rank=4": True,
    "latent-gmm:rank=4,law=mixture,components=2": True,
    "latent-gmm:rank=24": True,
    "latent-gmm:rank=4,basis=shared,span=8": True,
    "latent-gmm:rank=4,basis=shared,law=mixture,components=3": True,
    "latent-gmm:rank=4,basis=groups,groups=2": True,
    "latent-gmm:rank=3,law=averaged-gmm": False,
}
"""What is fitted, and whether to labels."""
ROWS, DIM, LABELS = 701, 24, 5


def rows(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Labels of their own spread, the last one of few examples, that all lie in the last share."""
    generator = torch.Generator().manual_seed(5)
    label = torch.randint(LABELS - 1, (ROWS,), generator=generator)
    label[-3:] = LABELS - 1
    axes = torch.randn(LABELS, 6, DIM, generator=generator, dtype=torch.float64)
    centre = 2 * torch.randn(LABELS, DIM, generator=generator, dtype=torch.float64)
    latent = torch.randn(ROWS, 1, 6, generator=generator, dtype=torch.float64).expm1().clamp_max(3)
    noise = 0.3 * torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64)
    x = centre[label] + (latent @ axes[label])[:, 0] + noise
    return x.to(dtype), label


def share(x: Tensor, label: Tensor, rank: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """Shares of unlike sizes, in batches of unlike sizes."""
    bounds = [round(len(x) * (k / size) ** 1.5) for k in range(size + 1)]
    part = slice(bounds[rank], bounds[rank + 1])
    return list(zip(x[part].split(90 + 37 * rank), label[part].split(90 + 37 * rank), strict=True))


def fitted(spec: str, rank: int, size: int, dtype: torch.dtype, group: object = None) -> dict[str, Tensor]:
    data = share(*rows(dtype), rank, size)
    prior = Prior.registry.resolve(spec)
    given = data if SPECS[spec] else [(x, None) for x, _ in data]
    prior.fit(given, generator=torch.Generator().manual_seed(3), group=group)
    return prior.state_dict()


def main(path: str, dtype: torch.dtype) -> None:
    distributed.init_process_group("gloo")
    group.PIECE = 100  # so that sums are taken in several pieces, as those of large fits are
    rank, size = distributed.get_rank(), distributed.get_world_size()
    found = {spec: fitted(spec, rank, size, dtype, distributed.group.WORLD) for spec in SPECS}
    torch.save(found, f"{path}-{rank}")
    leave()


if __name__ == "__main__":
    assert "WORLD_SIZE" in os.environ, "start me by torchrun"
    main(sys.argv[1], getattr(torch, sys.argv[2]))
