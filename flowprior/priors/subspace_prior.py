"""SubspacePrior: a low-rank Gaussian of each condition whose latents follow a law of their own.

What its subclasses share is the linear part (:mod:`flowprior.priors.subspace`) and with it the source samples
that are inferred from data; the law of the coordinates h is theirs.
"""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.ops import Stream, draw_seed, standard_normal
from flowprior.priors.conditioned import ConditionedPrior
from flowprior.priors.frame import Frame
from flowprior.priors.labels import warn_of_singles
from flowprior.priors.latent import LatentPrior
from flowprior.priors.subspace import Subspace

SINGLE = 1.0
"""How many examples' worth of the moments of all data a label with one example is given."""


class SubspacePrior(ConditionedPrior, LatentPrior, abc.ABC):
    """Holds the ``subspace`` of every label, or the only one where the condition is no label.

    Args:
        reg_covar: the variance floor that is part of the noise.
    """

    def __init__(self, reg_covar: float) -> None:
        super().__init__()
        self.reg_covar = reg_covar
        self.subspace = Subspace()

    @property
    def fits_latents(self) -> bool:
        return True

    def frame(self, cond: Tensor | None, n: int) -> Frame:
        return self.subspace.frame(self._rows(cond, n), self.reg_covar)

    def _fit_subspace(self, data: CheckedBatches, rank: int, settings: FitSettings) -> None:
        """Learn the conditions and the linear part from the same generator.

        A label with one example gets another example's worth of the moments of all data, with a warning: by
        itself it has no spread, and every draw would be nearly a copy of it.
        """
        self._learn_conditions(data, settings.generator)
        labelled = self.condition.kind == "labels"
        if labelled:
            warn_of_singles(data.owner, self.seen, self.seen_weight)
        settings = replace(settings, single=SINGLE)
        self.subspace = Subspace.fit(data, rank, settings, labelled=labelled)

    def _source_coordinates(
        self, x: Tensor, cond: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """h0 ``[n, r]`` of samples inferred from x ``[n, D]``, from ``generator`` alone: to fit a law to."""
        size = (len(x), self.subspace.spread.shape[1])
        noise = torch.randn(size, generator=generator, dtype=x.dtype).to(x.device)
        return self.frame(cond, len(x)).infer(x, noise)

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """h0 ~ p(h0 | x1, c) under the low-rank Gaussian, then x0 = μ_c + ψ_c^½ (Q λ^½ h0 + (I − QQᵀ) ε)."""
        seed, like = draw_seed(generator, self.subspace.loc.device), self.subspace.loc
        frame = self.frame(cond, len(x1))
        epsilon = standard_normal(len(x1), x1.shape[1], like, seed)
        noise = standard_normal(len(x1), frame.spread.shape[1], like, seed, stream=Stream.LATENT)
        return frame.place(frame.infer(x1.to(like), noise), epsilon)

    def _rows(self, cond: Tensor | None, n: int) -> Tensor:
        """Rows ``[n]`` of the subspace's tables: labels, or the only row there is."""
        if cond is not None and self.condition.kind == "labels":
            return cond
        return torch.zeros(n, dtype=torch.long, device=self.subspace.loc.device)

    def _shape_subspace(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        """Give the subspace the checkpoint's sizes: that of an unfitted prior is empty."""
        basis = state_dict.get(prefix + "subspace.basis")
        if basis is not None and basis.shape != self.subspace.basis.shape:
            conditions, dim, rank = basis.shape
            self.subspace = Subspace(conditions, dim, rank, basis.dtype).to(self.event_dims.device)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        self._shape_subspace(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
