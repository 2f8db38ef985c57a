"""A Gaussian mixture over the low-rank latents of each condition, of exact density.

The low-rank Gaussian x0 = μ_c + W_c z + ψ_c^½ ε has a fault that shows under the coupling ``posterior``: the
latents inferred from data have the mean and covariance of z ~ N(0, I), but not its law, so training and
sampling start apart. Here a second density, a mixture of full Gaussians, is fitted to the inferred
latents afterwards (ex-post density estimation: Dai & Wipf 2019; Ghosh et al. 2020, section 4). As a density
the prior is a mixture of factor analysers with common loadings (Baek, McLachlan & Flack 2010). In the
coordinates h of the leading subspace (:mod:`flowprior.priors.subspace`)

    log p0(x | c) = log Σ_k π_ck N(h; m_ck, S_ck) + log N(e; 0, I_(D−r)) − ½ Σ log λ_c − ½ Σ log ψ_c,

with e the whitened residual.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from flowprior.covariances import FitSettings
from flowprior.errors import InputError
from flowprior.ops import Stream, draw_seed, standard_normal
from flowprior.priors.base import Prior
from flowprior.priors.conditioned import ConditionedPrior, check_counts, check_numbers
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.stream import Batch, CheckedBatches
from flowprior.priors.subspace import Subspace

OWNER = "prior 'latent-gmm'"
LATENT_FLOOR = 1e-3
"""Added to the latents' variances, which are about 1 over a whole condition."""


@Prior.register("latent-gmm", aliases=("mcfa",))
class LatentGmmPrior(ConditionedPrior):
    """A low-rank Gaussian of each condition whose latents follow a mixture; made for ``posterior``.

    Conditions are labels, or None for one model of all the data.

    Args:
        components: K, Gaussians in the mixture over the latents, for each condition.
        rank: r, number of latents, cut to the number of dimensions.
        reg_covar: added to the noise variances; the square of the floor it puts under the prior's spread.
        shrinkage: how many examples' worth of the pooled latents' moments (about N(0, I)'s) are added
            to each component, so that small conditions do not overfit.
        tol: EM stops for a condition when its mean log-likelihood gains less.
        max_iter: EM passes over the latents at the most.
    """

    def __init__(
        self,
        components: int = 10,
        rank: int = 64,
        reg_covar: float = 0.09,
        shrinkage: float = 16.0,
        tol: float = 0.02,
        max_iter: int = 30,
    ) -> None:
        super().__init__()
        check_counts(OWNER, components=(components, 1), rank=(rank, 1), max_iter=(max_iter, 1))
        check_numbers(
            OWNER, reg_covar=(reg_covar, 0, 1e12), shrinkage=(shrinkage, 0, 1e12), tol=(tol, 0, 1e12)
        )
        self.components = components
        self.rank = rank
        self.reg_covar = reg_covar
        self.shrinkage = shrinkage
        self.tol = tol
        self.max_iter = max_iter
        self.subspace = Subspace()
        self.latents = GmmPrior(
            components, "full", reg_covar=LATENT_FLOOR, shrinkage=shrinkage, tol=tol, max_iter=max_iter
        )

    @property
    def has_latents(self) -> bool:
        return True

    @property
    def fits_latents(self) -> bool:
        return True

    @property
    def leading_subspace(self) -> Subspace | None:
        return self.subspace

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        _, cond = data.peek()
        if cond is not None and (cond.is_floating_point() or cond.dim() != 1):
            raise InputError(
                f"latent-gmm.fit: expected labels as integers [B] or None, got {cond.dtype} "
                f"{list(cond.shape)}; embeddings need the prior 'learned-mean' or 'flow'"
            )
        self._learn_conditions(data, generator)
        settings = FitSettings(self.reg_covar, 0.0, generator)
        subspace = Subspace.fit(data, self.rank, settings, labelled=cond is not None)
        self.subspace = subspace
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self.latents.fit(_InferredLatents(data, subspace, seed), generator=generator)

    # -- use ----------------------------------------------------------------------------------

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        seed = draw_seed(generator, self.subspace.loc.device)
        h = self.latents._sample(cond, n, generator)
        epsilon = standard_normal(n, self.subspace.loc.shape[1], self.subspace.loc, seed)
        return self.subspace.place(h, _rows(cond, h), epsilon)

    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """h0 ~ p(h0 | x1, c) under the low-rank Gaussian, the rest of x0 from ε."""
        subspace, seed = self.subspace, draw_seed(generator, self.subspace.loc.device)
        x1, rows = x1.to(subspace.loc), _rows(cond, x1)
        epsilon = standard_normal(len(x1), x1.shape[1], subspace.loc, seed)
        noise = standard_normal(len(x1), subspace.spread.shape[1], subspace.loc, seed, stream=Stream.LATENT)
        return subspace.place(subspace.start_of(x1, rows, noise), rows, epsilon)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        h, density = self.subspace.log_density_around(x, _rows(cond, x))
        return density + self.latents._log_prob(h, cond)

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        h = self.latents._mean(cond, n)
        return self.subspace.place(h, _rows(cond, h), h.new_zeros(n, self.subspace.loc.shape[1]))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Build the subspace first, at the checkpoint's sizes: an unfitted prior has none."""
        basis = state_dict.get(prefix + "subspace.basis")
        if basis is not None and basis.shape != self.subspace.basis.shape:
            conditions, dim, rank = basis.shape
            self.subspace = Subspace(conditions, dim, rank, basis.dtype).to(self.event_dims.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class _InferredLatents:
    """The data as coordinates of starts inferred from them, one for each datum, the same in every pass."""

    def __init__(self, data: CheckedBatches, subspace: Subspace, seed: int) -> None:
        self.data, self.subspace, self.seed = data, subspace, seed

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        for x, cond in self.data:
            size = (len(x), self.subspace.spread.shape[1])
            noise = torch.randn(size, generator=generator, dtype=x.dtype).to(x.device)
            yield self.subspace.start_of(x, _rows(cond, x), noise), cond


def _rows(cond: Tensor | None, like: Tensor) -> Tensor:
    """Rows ``[B]`` of the tables: labels, or the only row there is."""
    return torch.zeros(len(like), dtype=torch.long, device=like.device) if cond is None else cond
