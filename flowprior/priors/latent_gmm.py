"""A Gaussian mixture over the low-rank latents of each condition, of exact density.

The low-rank Gaussian x0 = μ_c + W_c z + ψ_c^½ ε has a fault that shows under the coupling ``posterior``: the
latents inferred from data have the mean and covariance of z ~ N(0, I), but not its law, so training and
sampling begin apart. Here a second density, a mixture of full Gaussians, is fitted to the inferred
latents afterwards (ex-post density estimation: Dai & Wipf 2019; Ghosh et al. 2020, section 4). As a density
the prior is a mixture of factor analysers with common loadings (Baek, McLachlan & Flack 2010). In the
coordinates h of the leading subspace (:mod:`flowprior.priors.frame`)

    log p0(x | c) = log Σ_k π_ck N(h; m_ck, S_ck) + log N(e; 0, I_(D−r)) − ½ Σ log λ_c − ½ Σ log ψ_c,

with e the whitened residual.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.errors import InputError
from flowprior.mixtures import FitSettings
from flowprior.ops import draw_seed, standard_normal
from flowprior.priors.base import Prior
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.latent import InferredLatents
from flowprior.priors.subspace_prior import SubspacePrior
from flowprior.registry import check_counts, check_numbers

OWNER = "prior 'latent-gmm'"
LATENT_FLOOR = 1e-3
"""Added to the latents' variances, which are about 1 over a whole condition."""


@Prior.register("latent-gmm", aliases=("mcfa",))
class LatentGmmPrior(SubspacePrior):
    """A low-rank Gaussian of each condition whose latents follow a mixture; made for ``posterior``.

    Conditions are labels, or None for one model of all the data.

    Args:
        components: K, Gaussians in the mixture over the latents, for each condition; a condition with fewer
            examples gets at most as many as it has, with a warning.
        rank: r, number of latents, cut to the number of dimensions.
        reg_covar: variance floor: added to the noise variances.
        shrinkage: how many examples' worth of the pooled latents' moments (about N(0, I)'s) are added
            to each component, so that small conditions do not overfit.
        tol: EM stops for a condition when its mean log-likelihood gains less.
        max_iter: EM passes over the latents at the most.
    """

    def __init__(
        self,
        components: int = 10,
        rank: int = 64,
        reg_covar: float = 0.04,
        shrinkage: float = 16.0,
        tol: float = 0.02,
        max_iter: int = 30,
    ) -> None:
        super().__init__(reg_covar)
        check_counts(OWNER, components=components, rank=rank, max_iter=max_iter)
        check_numbers(
            OWNER, reg_covar=(reg_covar, 0, 1e12), shrinkage=(shrinkage, 0, 1e12), tol=(tol, 0, 1e12)
        )
        self.components = components
        self.rank = rank
        self.shrinkage = shrinkage
        self.tol = tol
        self.max_iter = max_iter
        self.latents = GmmPrior(
            components, "full", reg_covar=LATENT_FLOOR, shrinkage=shrinkage, tol=tol, max_iter=max_iter
        )
        self.latents.speaker = self.name

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        _, cond = data.peek()
        if cond is not None and (cond.is_floating_point() or cond.dim() != 1):
            raise InputError(
                f"latent-gmm.fit: expected labels as integers [B] or None, got {cond.dtype} "
                f"{list(cond.shape)}; embeddings need the prior 'learned-mean' or 'flow'"
            )
        self._fit_subspace(data, self.rank, FitSettings(self.reg_covar, 0.0, generator))
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self.latents.fit(InferredLatents(data, self._latents_of, seed), generator=generator)

    def _latents_of(self, x: Tensor, cond: Tensor | None, generator: torch.Generator) -> Batch:
        return self._source_coordinates(x, cond, generator), cond

    # -- use ----------------------------------------------------------------------------------

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        seed = draw_seed(generator, self.subspace.loc.device)
        h = self.latents.sample(cond, n, generator=generator)
        epsilon = standard_normal(n, self.subspace.loc.shape[1], self.subspace.loc, seed)
        return self.frame(cond, n).place(h, epsilon)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        h, density = self.frame(cond, len(x)).log_density_around(x)
        return density + self.latents.log_prob(h, cond)

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        h = self.latents.mean(cond, n)
        return self.frame(cond, n).place(h, h.new_zeros(n, self.subspace.loc.shape[1]))
