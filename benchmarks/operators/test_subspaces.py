"""Source samples and the network's view of a subspace prior: what the default's step does around the network.

``eager`` is what one writes in torch today for source samples: the basis of each row gathered, then batched
products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from benchmarks.operators.groups import Group, composed, ours, rows_of
from benchmarks.operators.problem import CONDITIONS
from flowprior.couplings.pair_law import PairLaw
from flowprior.paths import CondOTPath
from flowprior.priors.frame import Frame, Subspace

SIZES = [(64, 784, 64), (512, 784, 64), (64, 3072, 64)]
FLOOR = 0.04


@dataclass
class Problem:
    """Tables of ten conditions, data ``[batch, dim]``, their labels, and noise."""

    batch: int
    dim: int
    rank: int

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        normal = partial(torch.randn, generator=generator)
        basis = torch.linalg.qr(normal(CONDITIONS, self.dim, self.rank)).Q
        noise = torch.rand(CONDITIONS, self.dim, generator=generator) + 0.1
        spread = 1 + 10 * torch.rand(CONDITIONS, self.rank, generator=generator)
        tables = {"loc": normal(CONDITIONS, self.dim), "noise": noise, "spread": spread, "basis": basis}
        self.cond = torch.randint(CONDITIONS, (self.batch,), generator=generator)
        self.subspace = Subspace.of(noise, **tables)
        self.frame = self.subspace.frame(self.cond, FLOOR)
        self.x, self.epsilon = normal(2, self.batch, self.dim)
        self.latent = normal(self.batch, self.rank)
        self.t = torch.rand(self.batch, generator=generator)
        self.slope = 1 - 1 / self.frame.spread
        self.at = CondOTPath().at(self.t)
        self.law = PairLaw.of(self.frame, self.slope)
        self.event_bytes = self.x.nbytes
        self.table_bytes = min(self.batch, CONDITIONS) * basis[0].nbytes

    def name(self, operator: str) -> str:
        """The operator at this size."""
        return f"{operator}, {self.batch} x {self.dim}, r = {self.rank}"


def eager_source(x1: Tensor, latent: Tensor, epsilon: Tensor, frame: Frame) -> Tensor:
    """x0 with latents inferred from x1, from the gathered basis of each row."""
    axes, inverse, deviation = frame.axes.basis[frame.axes.group], 1 / frame.spread, frame.noise.sqrt()
    datum = torch.einsum("bd,bdr->br", (x1 - frame.loc) / deviation, axes)
    inside = torch.einsum("bd,bdr->br", epsilon, axes)
    along = (1 - inverse) * datum + (2 - inverse).sqrt() * latent - inside
    return frame.loc + deviation * (epsilon + torch.einsum("br,bdr->bd", along, axes))


@lru_cache(maxsize=1)
def source(*size: int) -> Group:
    p = Problem(*size)
    arguments = (p.x, p.latent, p.epsilon)
    return Group(
        p.name("subspace_source"),
        {
            **ours(partial(p.frame.source, *arguments)),
            **composed("eager", eager_source, *arguments, p.frame),
        },
        {"eager": 4, "compiled eager": 1},
        moved=5 * p.event_bytes + p.table_bytes,
        work=6 * p.batch * p.dim * p.rank,
    )


@lru_cache(maxsize=1)
def view(*size: int) -> Group:
    p = Problem(*size)
    return Group(
        p.name("subspace_view"),
        ours(partial(p.law.standardised, p.x, p.at)),
        moved=6 * p.event_bytes + p.table_bytes,
        work=10 * p.batch * p.dim * p.rank,
    )


test_source = rows_of(source, SIZES)
test_view = rows_of(view, SIZES)
