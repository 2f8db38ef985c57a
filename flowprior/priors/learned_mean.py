"""A learned mean: x0 = P_θ(c) + residual, the paper's prior for text (arXiv 2502.09611, section 4.2).

P_θ is trained by mean squared error, whose optimum is E[x1 | c]. The residual is W z + σ ε, the same for all
conditions, or of a low-rank covariance that depends on the condition, with latents that have a law of their
own (:mod:`flowprior.priors.lowrank_residuals`). The authors feed an optional latent z to the mapper itself
and match moments; here z enters linearly, so that the density and the inference of z from a datum stay exact,
and W is the maximum-likelihood factor of the residuals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.stream import CheckedBatches
from flowprior.errors import InputError, OptionError
from flowprior.mixtures import FitSettings
from flowprior.ops import (
    Stream,
    draw_seed,
    lowrank_log_density,
    lowrank_posterior_sample,
    select_component,
    standard_normal,
    uniform,
)
from flowprior.priors.base import Prior
from flowprior.priors.conditioned import EMBEDDINGS_OF_THE_MARGINAL, SeenConditions, refuse_unseen
from flowprior.priors.density_training import DensityTraining
from flowprior.priors.frame import Frame
from flowprior.priors.holdout import Holdout
from flowprior.priors.latent import LatentPrior
from flowprior.priors.lowrank_residuals import LowRankResiduals
from flowprior.priors.mapper_training import Mapper, MapperTraining, train_mapper
from flowprior.priors.residuals import fit_residuals
from flowprior.registry import check_counts, check_numbers, choose

OWNER = "prior 'learned-mean'"
COVARIANCES = ("fixed", "lowrank")
DENSITY_RATE = 2e-3
"""Peak learning rate of the networks of the low-rank covariance and its law."""


@Prior.register("learned-mean", aliases=("mapper",))
class LearnedMeanPrior(LatentPrior):
    """A mapper from labels or embeddings to a mean, plus noise (the paper's text prior).

    With ``covariance="lowrank"`` it has what ``latent-gmm`` has for labels: a subspace, and inferred latents
    whose law is fitted; with them the coupling ``posterior`` and the prediction ``residual``.

    Args:
        covariance: of the residuals: ``"fixed"``, one for all conditions, as ``sigma`` and ``latent`` say; or
            ``"lowrank"``, which a network gives from the condition.
        sigma: standard deviation of the noise: a number (the authors use 0.7), or ``"scalar"`` or
            ``"diagonal"`` to estimate it on held-out residuals.
        latent: dimensions of z; 0 for none.
        hidden: width of the mapper.
        depth: residual blocks of the mapper.
        epochs: passes over the data at the most. The training ends when the error on held-out examples has
            stopped falling, and warns where it has not. Without held-out examples it takes all ``epochs``.
        batch_size: examples in a step.
        lr: first learning rate of AdamW.
        holdout: share of the examples kept from training, to choose the epoch and estimate ``sigma``. Which
            ones depends on what they hold, not on their place, so a loader may shuffle.
        rank: of the low-rank covariance, cut to the number of dimensions.
        components: Gaussians in the law of its latents; 1 for standard normal latents.
        reg_covar: variance floor of the low-rank covariance, added to the noise variances.
        steps: optimiser steps for the network of the low-rank covariance; at most 50 passes over the data.
        law_steps: optimiser steps in which the law of the latents learns to depend on the condition, at most
            50 passes; 0 for one law along the principal axes of every condition.
    """

    mapper: Mapper | None
    residuals: LowRankResiduals | None
    center: Tensor
    factor: Tensor
    noise: Tensor
    condition_size: Tensor
    seen: Tensor
    seen_weight: Tensor

    def __init__(
        self,
        sigma: float | str = 0.7,
        latent: int = 0,
        hidden: int = 256,
        depth: int = 2,
        epochs: int = 200,
        batch_size: int = 256,
        lr: float = 1e-3,
        holdout: float = 0.1,
        covariance: str = "fixed",
        rank: int = 64,
        components: int = 16,
        reg_covar: float = 1e-6,
        steps: int = 2000,
        law_steps: int = 0,
    ) -> None:
        super().__init__()
        check_counts(OWNER, 0, latent=latent, depth=depth)
        check_counts(OWNER, hidden=hidden, epochs=epochs, batch_size=batch_size)
        if sigma not in ("scalar", "diagonal") and not (isinstance(sigma, int | float) and 0 < sigma < 1e6):
            raise OptionError(f"{OWNER}: expected sigma > 0, 'scalar' or 'diagonal', got {sigma!r}")
        if not isinstance(holdout, int | float) or not 0 <= holdout <= 0.5:
            raise OptionError(f"{OWNER}: expected holdout in [0, 0.5], got {holdout!r}")
        if not isinstance(lr, int | float) or not 0 < lr < float("inf"):
            raise OptionError(f"{OWNER}: expected lr to be a finite number > 0, got {lr!r}")
        check_counts(OWNER, rank=rank, components=components, steps=steps)
        check_counts(OWNER, 0, law_steps=law_steps)
        check_numbers(OWNER, reg_covar=(reg_covar, 0, 1e12))
        self.covariance = choose(OWNER, "covariance", covariance, COVARIANCES)
        if covariance == "lowrank" and latent:
            raise OptionError(
                f"{OWNER}: expected latent=0 with covariance='lowrank', got {latent}; rank says how many its "
                "latents are"
            )
        self.sigma = sigma
        self.latent = latent
        self.hidden = hidden
        self.depth = depth
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.holdout = holdout
        self.rank = rank
        self.components = components
        self.reg_covar = reg_covar
        self.steps = steps
        self.law_steps = law_steps
        self.mapper = None
        self.residuals = None
        for name in ("center", "factor", "noise", "seen", "seen_weight"):
            self.register_buffer(name, torch.empty(0))
        # Labels: (1, classes); embeddings: (0, E).
        self.register_buffer("condition_size", torch.zeros(2, dtype=torch.long))

    @property
    def training_options(self) -> MapperTraining:
        """How the mapper is trained."""
        return MapperTraining(self.epochs, self.batch_size, self.lr)

    @property
    def has_latents(self) -> bool:
        return self.latent > 0 or self.fits_latents

    @property
    def fits_latents(self) -> bool:
        return self.covariance == "lowrank"

    def frame(self, cond: Tensor | None, n: int) -> Frame | None:
        if self.residuals is None or cond is None:
            return None
        return self.residuals.spread.frame_with_null(self._means(cond), self._on_own_device(cond))

    @property
    def condition(self) -> Condition:
        """Kind and size of the condition that the prior was fitted with."""
        labels, size = self.condition_size.tolist()
        return Condition("labels" if labels else "embeddings", size)

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        if cond is None:
            raise InputError("learned-mean.fit: expected labels or embeddings, got None; use 'gaussian'")
        seen = SeenConditions.over(data, generator)
        self._build(seen.condition, first[0].numel(), first.dtype)
        assert self.mapper is not None
        self.center = seen.mean.to(first)
        self.seen, self.seen_weight = seen.rows.to(first.device), seen.weight.to(first)
        split = Holdout(data, self.holdout)
        train_mapper(self.mapper, split, self.center, self.training_options, generator)
        if self.residuals is None:
            factor, noise = fit_residuals(split, self._means, self.sigma, self.latent, generator)
            self.factor, self.noise = factor.to(first), noise.to(first)
            return
        settings = FitSettings(self.reg_covar, 0.0, generator)
        options = DensityTraining(self.steps, self.batch_size, DENSITY_RATE)
        self.residuals.fit(split, self.mapper, self.center, settings, options, self.law_steps)
        # For the sizes in a file: all that is learned lies in ``residuals``.
        self.factor, self.noise = self.center.new_zeros(len(self.center), 0), torch.ones_like(self.center)

    def _build(self, condition: Condition, dim: int, dtype: torch.dtype) -> None:
        """Make the mapper; parameters are drawn by ``train_mapper`` or loaded."""
        self.condition_size = torch.tensor([condition.kind == "labels", condition.size], dtype=torch.long)
        with torch.random.fork_rng(devices=[]):
            self.mapper = Mapper(condition, dim, self.hidden, self.depth)
            if self.covariance == "lowrank":
                sizes = (dim, self.rank, self.components, self.hidden, self.depth)
                self.residuals = LowRankResiduals(condition, *sizes)
        self.to(self.event_dims.device, dtype).requires_grad_(False)

    def _check_cond(self, cond: Tensor | None, method: str) -> Tensor | None:
        if cond is not None and not cond.is_floating_point():
            cond = cond.long()
        cond = self.condition.check(cond, f"learned-mean.{method}")
        if cond is not None and not cond.is_floating_point():
            refuse_unseen(f"learned-mean.{method}", cond, self.seen)
        return cond

    def _means(self, cond: Tensor) -> Tensor:
        assert self.mapper is not None
        return self.mapper(self._on_own_device(cond)) + self.center

    def _on_own_device(self, cond: Tensor) -> Tensor:
        """``cond`` where the networks are, embeddings in their dtype."""
        return cond.to(self.center) if cond.is_floating_point() else cond.to(self.center.device)

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        assert cond is not None
        return self._means(cond)

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        mean = self._mean(cond, n)
        if self.residuals is not None:
            assert cond is not None
            seed = draw_seed(generator, self.center.device)
            return self.residuals.sample(mean, self._on_own_device(cond), seed)
        epsilon, z = self._noise_for(n, generator)
        return mean + z @ self.factor.T + self.noise.sqrt() * epsilon

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        means = self._means(cond)
        if self.residuals is not None:
            x = x.to(torch.promote_types(x.dtype, means.dtype))
            return self.residuals.log_prob(x, means, self._on_own_device(cond))
        return self._residual_log_prob(x - means.to(x.dtype))

    def _residual_log_prob(self, residual: Tensor) -> Tensor:
        zero = residual.new_zeros(1, residual.shape[1])
        factor, noise = self.factor.to(residual.dtype), self.noise.to(residual.dtype)
        return lowrank_log_density(residual, zero, factor[None], noise[None])[:, 0]

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """z ~ p(z | x1, c), then x0 = P_θ(c) + W z + σ ε; or by the low-rank covariance of the condition."""
        mean = self._mean(cond, len(x1))
        if self.residuals is not None:
            assert cond is not None
            seed = draw_seed(generator, self.center.device)
            return self.residuals.infer(x1, mean, self._on_own_device(cond), seed)
        epsilon, xi = self._noise_for(len(x1), generator)
        zero = torch.zeros_like(mean[0])
        z = lowrank_posterior_sample(x1.to(mean.dtype) - mean, zero, self.factor, self.noise, xi)
        return mean + z @ self.factor.T + self.noise.sqrt() * epsilon

    def _noise_for(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        seed = draw_seed(generator, self.noise.device)
        epsilon = standard_normal(n, len(self.noise), self.noise, seed)
        return epsilon, standard_normal(n, self.factor.shape[1], self.noise, seed, stream=Stream.LATENT)

    def _sample_conditions(self, n: int, generator: torch.Generator | None) -> Tensor:
        seed = draw_seed(generator, self.seen.device)
        return self.seen[select_component(self.seen_weight.log(), uniform(seed, n))]

    def _log_prob_marginal(self, x: Tensor) -> Tensor:
        """Over the conditions kept from fit: all labels, or a uniform sample of the embeddings."""
        if self.residuals is not None:
            return self._marginal_of_networks(x)
        log_weight = (self.seen_weight / self.seen_weight.sum()).log().to(x.dtype)
        means = self._means(self.seen).to(x.dtype)
        densities = [log_weight[i] + self._residual_log_prob(x - means[i]) for i in range(len(means))]
        return torch.stack(densities, 1).logsumexp(1)

    def _marginal_of_networks(self, x: Tensor) -> Tensor:
        """Over all labels, or over at most 256 of the embeddings: every condition has its own covariance."""
        embedded = self.condition.kind == "embeddings"
        most = EMBEDDINGS_OF_THE_MARGINAL if embedded else len(self.seen)
        weight = self.seen_weight[:most]
        log_weight = (weight / weight.sum()).log().to(x.dtype)
        rows = self.seen[:most]
        each = [
            self._log_prob(x, row.expand(len(x), *row.shape)) + w
            for row, w in zip(rows, log_weight, strict=True)
        ]
        return torch.stack(each, 1).logsumexp(1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Build the mapper first, at the checkpoint's sizes: an unfitted prior has none."""
        size, noise = state_dict.get(prefix + "condition_size"), state_dict.get(prefix + "noise")
        if self.mapper is None and size is not None and noise is not None:
            labels, width = size.tolist()
            condition = Condition("labels" if labels else "embeddings", width)
            self._build(condition, len(noise), noise.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
