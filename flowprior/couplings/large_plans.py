"""Entropic plans between so many rows that their matrix is never held: POT's Sinkhorn, block by block.

The plan of N source samples and N data follows from two potentials of N numbers each, and a pair from one
row of it, so memory grows with N and not with its square (Zhang et al. 2025, arXiv 2506.05526).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from flowprior.couplings.cost import mean_squared_distance
from flowprior.couplings.plans import MARGINAL_TOLERANCE
from flowprior.errors import CouplingError

DENSE_ROWS = 2048
"""Rows up to which a plan is held as one float64 matrix, of 32 MiB, and rounded to a permutation."""
BLOCK_NUMBERS = 1 << 22
"""Costs that are held at once beyond that: 16 MiB in float32, and a few times as much on the way."""
MOST_ITERATIONS = 2_000


@dataclass(frozen=True)
class LargePlan:
    """The entropic plan of N data and N source samples, for squared Euclidean cost and uniform weights.

    Attributes:
        data, sources: float32 ``[N, F]``, about one centre, on the CPU.
        potentials: logarithms ``[N]`` of the sources' scalings.
        scale: the cost that is one unit of the regularisation.
    """

    data: Tensor
    sources: Tensor
    potentials: Tensor
    scale: float

    @classmethod
    def of(cls, x1: Tensor, x0: Tensor, reg: float) -> LargePlan:
        """The plan between data x1 ``[N, F]`` and source samples x0 ``[N, F]``.

        Args:
            x1, x0: the rows.
            reg: entropic regularisation relative to the mean cost.

        Raises:
            CouplingError: rows that are not finite, or Sinkhorn did not converge.
        """
        scale, centre = reg * mean_squared_distance(x1, x0), x1.mean(0)
        data, sources = ((x - centre).detach().cpu().float() for x in (x1, x0))
        if scale == 0:  # all rows are one
            return cls(data, sources, data.new_zeros(len(data)), 1.0)
        return cls(data, sources, _potentials(data / scale**0.5, sources / scale**0.5, reg), scale)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """For each datum a source sample from its row of the plan: indices ``[N]``, int64, on the CPU.

        By the row's distribution function. Draws of different data do not know of each other, so that a
        source sample may come twice or never; each comes once on average.
        """
        count = len(self.data)
        device = generator.device if generator is not None else torch.device("cpu")
        uniform = torch.rand(count, 1, generator=generator, dtype=torch.float64, device=device).cpu()
        heights = self.potentials - self.sources.square().sum(1) / self.scale
        chosen, rows = [], max(1, BLOCK_NUMBERS // count)
        for some, u in zip(self.data.split(rows), uniform.split(rows), strict=True):
            mass = torch.addmm(heights, some, self.sources.T, alpha=2 / self.scale).double().softmax(1)
            reached = mass.cumsum(1)
            chosen.append(torch.searchsorted(reached, u * reached[:, -1:]).clamp_max(count - 1))
        return torch.cat(chosen)[:, 0]


def _potentials(data: Tensor, sources: Tensor, reg: float) -> Tensor:
    """Logarithms ``[N]`` of the sources' scalings, of rows whose squared distances are cost over ``reg``.

    By POT's log-domain Sinkhorn (Cuturi 2013), which computes the costs anew, some rows at a time.
    """
    from ot.bregman import empirical_sinkhorn

    rows = max(1, BLOCK_NUMBERS // len(data))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = empirical_sinkhorn(
            data,
            sources,
            1.0,
            isLazy=True,
            batchSize=rows,
            numIterMax=MOST_ITERATIONS,
            stopThr=MARGINAL_TOLERANCE,
        )
    potentials = cast("tuple[Tensor, Tensor]", found)[1]
    if caught or not bool(torch.isfinite(potentials).all()):
        why = " ".join(str(caught[0].message).split()) if caught else "the potentials are not finite"
        raise CouplingError(f"ot: method=sinkhorn failed with reg={reg}: {why}; raise reg")
    return potentials
