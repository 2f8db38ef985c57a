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

from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.mixtures import FitSettings
from flowprior.ops import normal
from flowprior.priors.asked import check_fit_labels
from flowprior.priors.averaged_gmm import AveragedGmmPrior
from flowprior.priors.base import RAISE, UNSEEN, Prior
from flowprior.priors.frame import latent_noise
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.subspace_prior import AUTO, SubspacePrior
from flowprior.registry import check_counts, check_numbers, choose
from flowprior.streams.batches import CheckedBatches

OWNER = "prior 'latent-gmm'"
LATENT_FLOOR = 1e-3
"""Added to the latents' variances, which are about 1 over a whole condition."""
FULL_BYTES = 64 << 20
"""Most bytes that full covariances of the mixture may take; beyond, they are diagonal."""
MIXTURE = "mixture"
COMPONENTS = 10
AVERAGED_LABELS = 1000
"""Most labels for which ``law="auto"`` chooses averages of mixtures, which are fitted one by one."""
AVERAGED_BYTES = 64 << 20
"""Most bytes that averages of mixtures may take where ``law="auto"`` chooses them, were they as rich as a fit
allows: twice as many rows of 64 latents as Fashion-MNIST has could take so much, and a minute to fit."""


@Prior.register("latent-gmm", aliases=("mcfa",))
class LatentGmmPrior(SubspacePrior):
    """A low-rank Gaussian of each condition whose latents follow a mixture; made for ``posterior``.

    Conditions are labels, or None for one model of all the data.

    Args:
        components: K, Gaussians in the ``"mixture"`` over the latents, for each condition, 10 if None; a
            condition with fewer examples, those included that it is given
            (:mod:`flowprior.priors.few_examples`), gets at most as many as it has, with a warning.
        rank: r, number of latents, cut to the number of dimensions; so many hold the whole covariance.
        reg_covar: variance floor: added to the noise variances.
        shrinkage: how many examples' worth of the pooled latents' moments (about N(0, I)'s) are added
            to each component of the ``"mixture"``, so that small conditions do not overfit.
        tol: EM of the ``"mixture"`` stops for a condition when its mean log-likelihood gains less.
        max_iter: EM passes over the latents at the most.
        basis: ``"own"`` for each label, which ``"auto"`` takes where all of them are at most 256 MiB, or a
            shared one would be as large; ``"shared"`` by all labels, which then differ in mean, noise and the
            covariance of their latents (:mod:`flowprior.priors.shared_basis`): for many labels of many
            dimensions.
        span: dimensions R ≥ ``rank`` of a basis that labels share, in which each label has ``rank`` latents
            of its own; None takes four times ``rank``, but at most half the dimensions of the data, and
            ``rank`` itself where labels are too many for more.
        law: of the latents. ``"auto"``: ``"averaged-gmm"`` where ``components`` is None, labels are at most
            1,000, and averages, were they as rich as can be, take at most 64 MiB; else ``"mixture"``.
            ``"mixture"``: of ``components`` Gaussians, full ones where all labels' take at most 64 MiB, else
            diagonal ones; a mixture for each label, but one for all labels where bases are shared and labels
            have fewer examples than components on average. Or the name of another prior, with its own
            defaults: ``"averaged-gmm"`` follows the data more closely, with five to ten times the numbers.
        unseen: ``"raise"``, or ``"pooled"`` to start labels that fit did not see from the marginal source; a
            flow takes them for its null condition.
    """

    takes: ClassVar[tuple[str, ...]] = ("labels",)

    def __init__(
        self,
        components: int | None = None,
        rank: int = 64,
        reg_covar: float = 0.04,
        shrinkage: float = 16.0,
        tol: float = 0.02,
        max_iter: int = 30,
        basis: str = AUTO,
        span: int | None = None,
        law: str = AUTO,
        unseen: str = RAISE,
    ) -> None:
        super().__init__(OWNER, rank, reg_covar, basis, span)
        check_counts(OWNER, max_iter=max_iter, **({} if components is None else {"components": components}))
        check_numbers(OWNER, shrinkage=(shrinkage, 0, 1e12), tol=(tol, 0, 1e12))
        self.components = components
        self.shrinkage = shrinkage
        self.tol = tol
        self.max_iter = max_iter
        self.unseen = choose(OWNER, "unseen", unseen, UNSEEN)
        self.law = law
        own = law in (AUTO, MIXTURE)
        self.latents: Prior = self._mixture("full") if own else Prior.registry.resolve(law)

    @property
    def _components(self) -> int:
        return COMPONENTS if self.components is None else self.components

    def _mixture(self, covariance: str) -> GmmPrior:
        """A mixture of the latents that is not fitted yet."""
        options = {"shrinkage": self.shrinkage, "tol": self.tol, "max_iter": self.max_iter}
        mixture = GmmPrior(self._components, covariance, reg_covar=LATENT_FLOOR, **options)
        mixture.speaker = self.name
        return mixture

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        _, cond = data.peek()
        other = "'learned-mean', 'kernel-mean' or 'flow', pictures 'learned-mean:covariance=diagonal'"
        check_fit_labels("latent-gmm", cond, f"embeddings need the prior {other}")
        self._fit_subspace(data, FitSettings(self.reg_covar, 0.0, generator))
        seed = int(torch.randint(1 << 62, (), generator=generator))
        if self.law == AUTO:
            rows, rank = self.seen_weight.tolist(), self.subspace.spread.shape[1]
            size = AveragedGmmPrior.size_of(rows, rank) * 4
            averages = self.components is None and len(rows) <= AVERAGED_LABELS and size <= AVERAGED_BYTES
            self.latents = AveragedGmmPrior() if averages else self._mixture("full")
        if isinstance(self.latents, AveragedGmmPrior):
            slope, variance = latent_noise(self.subspace.spread)
            still = self._latents_of(data, seed, noised=False)
            self.latents.fit_blurred(still, slope, variance, generator=generator)
            return
        own = self.law in (AUTO, MIXTURE)
        alone = own and self.subspace.is_shared and float(self.seen_weight.mean()) < self._components
        latents = self._latents_of(data, seed, given=not alone)  # one law of all labels has data enough
        if own:
            latents = [(h, None) for h, _ in latents] if alone else latents
            size = self._components * self.subspace.spread.shape[1] ** 2 * 4
            size *= 1 if alone else max(self.condition.size, 1)
            self.latents = self._mixture("full" if size <= FULL_BYTES else "diag")
        self.latents.fit(latents, generator=generator)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the law, or the mixture's covariances, from the checkpoint: the fit chose them."""
        averaged = prefix + "latents.logits" in state_dict and prefix + "latents.count" not in state_dict
        if self.law == AUTO and averaged:
            self.latents = AveragedGmmPrior()
        elif self.law in (AUTO, MIXTURE):
            self.latents = self._mixture("diag" if prefix + "latents.var" in state_dict else "full")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # -- use ----------------------------------------------------------------------------------

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        h = self.latents.sample(cond, n, generator=generator)
        epsilon = normal(n, self.subspace.loc.shape[1], like=self.subspace.loc, generator=generator)
        return self._placed(cond, h, epsilon)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        h, density = self.spread(cond, len(x)).log_density_around(x)
        return density + self.latents.log_prob(h, cond)

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        h = self.latents.mean(cond, n)
        return self.spread(cond, n).place(h, h.new_zeros(n, self.subspace.loc.shape[1]))
