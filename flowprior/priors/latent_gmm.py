"""A distribution fitted to the low-rank latents of each condition, such as a mixture, of exact density.

The low-rank Gaussian x0 = μ_c + W_c z + ψ_c^½ ε has a fault that shows under the coupling ``posterior``: the
latents inferred from data have the mean and covariance of z ~ N(0, I), but not its distribution, so training
and sampling begin apart. Here a second prior, such as a mixture of full Gaussians, is fitted to the inferred
latents afterwards (ex-post density estimation: Dai & Wipf 2019; Ghosh et al. 2020, section 4). With a mixture
it is as a density a mixture of factor analysers with common loadings (Baek, McLachlan & Flack 2010). In the
coordinates h of the leading subspace (:mod:`flowprior.priors.frame`)

    log p0(x | c) = log p(h | c) + log N(e; 0, I_(D−r)) − ½ Σ log λ_c − ½ Σ log ψ_c,

with e the whitened residual, and p(h | c) = Σ_k π_ck N(h; m_ck, S_ck) under a mixture.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowprior.mixtures.covariance import FitSettings
from flowprior.ops.operators import normal
from flowprior.priors.averaged_gmm import AveragedGmmPrior
from flowprior.priors.base import Prior
from flowprior.priors.checks import check_fit_labels
from flowprior.priors.frame import latent_noise
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.seen_conditions import RAISE
from flowprior.priors.subspace_prior import AUTO, SubspacePrior
from flowprior.registry import Spec, check_counts
from flowprior.registry.options import check_numbers
from flowprior.streams.batches import CheckedBatches

OWNER = "prior 'latent-gmm'"
LATENT_REGULARISATION = 1e-3
"""The ``reg_covar`` of a mixture of latents, whose variances are about 1 over a whole condition."""
MIXTURE = "mixture"
COMPONENTS = 10
"""The number of Gaussians in a mixture of latents."""
AVERAGED_LABELS = 1000
"""The largest number of labels for which averages of mixtures are chosen, which are fitted one by one."""
MOST_BYTES = 64 << 20
"""The largest number of bytes of a mixture's full covariances; with more, they are diagonal. Also of averages
of mixtures to be chosen, were they as rich as a fit allows: twice as many rows of 64 latents as Fashion-MNIST
has could take so much, and a minute to fit."""


@Prior.register(
    "latent-gmm",
    aliases=("mcfa",),
    option_aliases={"reg_covar": "source_noise", "shrinkage": "latent_shrinkage", "law": "distribution"},
)
class LatentGmmPrior(SubspacePrior):
    """A low-rank Gaussian of each condition with a mixture of its latents; made for ``posterior``.

    Conditions are labels, or None for one model of all the data.

    Args:
        components: K, Gaussians in the ``"mixture"`` over the latents, for each condition, 10 if None; a
            condition with fewer examples, those included that it is given
            (:mod:`flowprior.priors.few_examples`), gets at most as many as it has, with a warning.
        rank: r, number of latents, cut to the number of dimensions; so many hold the whole covariance. None
            takes the largest power of two not above the square root of the examples of a label (their mean
            over labels), at most 64 and at most ``span``.
        source_noise: variance of the noise that source samples have and data do not; the linear velocity
            takes it away.
        latent_shrinkage: how many examples' worth of the pooled latents' moments (about N(0, I)'s) are added
            to each component of the ``"mixture"``, so that small conditions do not overfit.
        tol: EM of the ``"mixture"`` stops for a condition when its mean log-likelihood gains less.
        max_iter: EM passes over the latents at the most.
        basis: ``"own"`` for each label, which ``"auto"`` takes where all of them are at most 256 MiB, or a
            shared one would be as large; ``"shared"`` by all labels, which then differ in mean, noise and the
            covariance of their latents (:mod:`flowprior.priors.shared_basis`): for many labels of many
            dimensions.
        span: dimensions R ≥ r of a basis that labels share, in which each label has r latents of its own;
            None takes 4 r, but at most half the dimensions of the data, and r itself where labels are too
            many for more.
        distribution: of the latents. ``"auto"``: ``"averaged-gmm"`` where ``components`` is None, labels are
            at most 1,000, and averages, were they as rich as can be, take at most 64 MiB; else ``"mixture"``.
            ``"mixture"``: of ``components`` Gaussians, full ones where all labels' take at most 64 MiB, else
            diagonal ones; a mixture for each label, but one for all labels where bases are shared and labels
            have fewer examples than components on average. Or the name of another prior, with its own
            defaults: ``"averaged-gmm"`` follows the data more closely, with five to ten times the numbers.
        unseen: ``"raise"``, or ``"pooled"`` to start labels that fit did not see from the marginal source; a
            flow takes them for its null condition.
    """

    takes = ("labels",)
    latents: Prior
    latents_spec: Tensor

    def __init__(
        self,
        components: int | None = None,
        rank: int | None = None,
        source_noise: float = 0.04,
        latent_shrinkage: float = 16.0,
        tol: float = 0.02,
        max_iter: int = 30,
        basis: str = AUTO,
        span: int | None = None,
        distribution: str = AUTO,
        unseen: str = RAISE,
    ) -> None:
        super().__init__(OWNER, rank, source_noise, basis, span, unseen)
        check_counts(OWNER, max_iter=max_iter, **({} if components is None else {"components": components}))
        numbers = {"source_noise": source_noise, "latent_shrinkage": latent_shrinkage, "tol": tol}
        check_numbers(OWNER, **{option: (value, 0, 1e12) for option, value in numbers.items()})
        self.components = components
        self.source_noise = source_noise
        self.latent_shrinkage = latent_shrinkage
        self.tol = tol
        self.max_iter = max_iter
        self.unseen = unseen
        self.distribution = distribution
        # The spec of the prior of the latents, in UTF-8, for whoever reads a file.
        self.latents_spec = nn.Buffer(torch.empty(0, dtype=torch.uint8))
        if not self._is_own:  # which the fit chooses
            self._take_latents(distribution)

    @property
    def _is_own(self) -> bool:
        """True if the distribution of the latents is none that is named, but chosen here."""
        return self.distribution in (AUTO, MIXTURE)

    def _take_latents(self, spec: str) -> None:
        """Make the prior of the latents, which is not fitted yet."""
        self.latents = Prior.registry.resolve(spec)
        if isinstance(self.latents, GmmPrior):
            self.latents.speaker = self.name
        text = torch.tensor(list(spec.encode()), dtype=torch.uint8)
        self.latents_spec = text.to(self.latents_spec.device)

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        _, cond = data.peek()
        other = "'learned-mean', 'kernel-mean' or 'flow', pictures 'learned-mean:covariance=diagonal'"
        check_fit_labels("latent-gmm", cond, f"embeddings need the prior {other}")
        self._fit_subspace(data, FitSettings(self.source_noise, 0.0, generator))
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self._take_latents(self._chosen_distribution())
        if isinstance(self.latents, AveragedGmmPrior):
            slope, variance = latent_noise(self.subspace.spread)
            coordinates = self._latents_of(data, seed, noised=False)
            self.latents.fit_blurred(coordinates, slope, variance, generator=generator)
        elif self._has_one_mixture:  # which has data enough
            latents = self._latents_of(data, seed, given=False)
            self.latents.fit([(h, None) for h, _ in latents], generator=generator)
        else:
            self.latents.fit(self._latents_of(data, seed), generator=generator)

    @property
    def _has_one_mixture(self) -> bool:
        """True if one mixture serves all labels, which have too few examples for one each."""
        components = COMPONENTS if self.components is None else self.components
        return self._is_own and self.subspace.is_shared and float(self.seen.weight.mean()) < components

    def _chosen_distribution(self) -> str:
        """Return the spec of the prior of the latents: as it is asked for, or as the sizes allow."""
        if not self._is_own:  # which the fit chooses
            return self.distribution
        rows, rank = self.seen.weight.tolist(), self.subspace.rank
        is_small = AveragedGmmPrior.size_of(rows, rank) * 4 <= MOST_BYTES and len(rows) <= AVERAGED_LABELS
        if self.distribution == AUTO and self.components is None and is_small:
            return str(Spec("averaged-gmm", {"reg_covar": LATENT_REGULARISATION}))
        components = COMPONENTS if self.components is None else self.components
        mixtures = 1 if self._has_one_mixture else max(self.seen.condition.size, 1)
        options = {
            "components": components,
            "covariance": "full" if mixtures * components * rank**2 * 4 <= MOST_BYTES else "diag",
            "reg_covar": LATENT_REGULARISATION,
            "shrinkage": self.latent_shrinkage,
            "tol": self.tol,
            "max_iter": self.max_iter,
        }
        return str(Spec("gmm", options))

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        spec = state_dict.get(prefix + "latents_spec")
        if spec is not None and len(spec):
            self._take_latents(bytes(spec.tolist()).decode())

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
