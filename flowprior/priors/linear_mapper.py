"""Mapper that is linear in the condition: ridge regression, in closed form (Hoerl & Kennard 1970).

    m(c) = B (c − c̄)/s,   B = argmin Σ ‖x − center − B (c − c̄)/s‖² + λ ‖B‖²

λ is the strength of least squared error on held-out rows. The sums are taken in one pass over the data.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition
from flowprior.priors.holdout import Holdout
from flowprior.priors.mapper_training import MapperNetwork, held_out_error

STRENGTHS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Of λ, for each row."""
UNCHOSEN = 1e-2
"""Where no row is held out to choose by."""


class LinearMapper(MapperNetwork):
    """From embeddings ``[B, E]``, or the last step of series, to one flat event.

    Args:
        condition: embeddings, or a series.
        dim: D, numbers in an event.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, condition: Condition, dim: int) -> None:
        super().__init__()
        self.shape = condition.shape
        size = self.shape[0] if condition.is_series else condition.size
        self.out = nn.Linear(size, dim)
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, cond: Tensor) -> Tensor:
        """Means ``[B, D]``; zero before the fit."""
        return self.out((self._read(cond).to(self.loc) - self.loc) / self.scale)

    def _read(self, cond: Tensor) -> Tensor:
        return cond.reshape(-1, *self.shape)[:, :, -1] if self.shape else cond.flatten(1)

    @torch.no_grad()
    def scale_as(self, other: LinearMapper) -> None:
        """Read conditions in the units that another mapper was fitted in."""
        self.loc, self.scale = other.loc.clone(), other.scale.clone()

    def _origin(self, data: Holdout) -> Tensor:
        """The mean of the first batch, so that sums of squares of numbers far from zero lose no digits."""
        _, cond = next(iter(data.rows(held_out=False)))
        assert cond is not None
        return self._read(cond).double().cpu().mean(0)

    @torch.no_grad()
    def fit(self, data: Holdout, center: Tensor) -> None:
        """Ridge regression of x − ``center`` on the rows to train on; λ by those held out."""
        size, origin = len(self.loc), self._origin(data)
        products = torch.zeros(size + 1, size + 1, dtype=torch.float64)
        shared = torch.zeros(size + 1, len(center), dtype=torch.float64)
        for x, cond in data.rows(held_out=False):
            assert cond is not None
            with_one = functional.pad(self._read(cond).double().cpu() - origin, (0, 1), value=1.0)
            products += with_one.T @ with_one
            shared += with_one.T @ (x - center).double().cpu()
        products, shared = products / products[-1, -1], shared / products[-1, -1]
        loc, offset = products[-1, :-1], shared[-1]
        covariance = products[:-1, :-1] - torch.outer(loc, loc)
        scale = covariance.diagonal().clamp_min(0).sqrt()
        scale = torch.where(scale > 0, scale, 1.0)
        values, vectors = torch.linalg.eigh(covariance / torch.outer(scale, scale))
        along = vectors.T @ ((shared[:-1] - torch.outer(loc, offset)) / scale[:, None])
        self.loc, self.scale = (loc + origin).to(self.loc), scale.to(self.scale)
        assert self.out.bias is not None
        self.out.bias.copy_(offset)

        def set_strength(strength: float) -> None:
            self.out.weight.copy_((vectors @ (along / (values.clamp_min(0) + strength)[:, None])).T)

        def error(strength: float) -> float:
            set_strength(strength)
            return held_out_error(self, data, center)

        set_strength(UNCHOSEN if data.is_empty else min(STRENGTHS, key=error))
