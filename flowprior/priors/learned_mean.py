"""A learned mean: x0 = P_θ(c) + residual, the paper's prior for text (arXiv 2502.09611, section 4.2).

P_θ is trained by mean squared error, whose optimum is E[x1 | c]. The residual is σ ε, the same for all
conditions; or of variances that depend on the condition (:mod:`flowprior.priors.residuals`); or of a
low-rank covariance that does, with latents that have a distribution of their own
(:mod:`flowprior.priors.lowrank_residuals`). The authors feed an optional latent z to the mapper itself and
match moments; here latents enter linearly, so that the density and their inference from a datum stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.mixtures.samples import thinned
from flowprior.priors.base import Prior
from flowprior.priors.holdout import LEAST_CONDITIONS, Holdout, conditioned
from flowprior.priors.kernels import are_kernels
from flowprior.priors.lowrank_residuals import LowRankResiduals
from flowprior.priors.mappers import AUTO, MAPPERS, make_mapper
from flowprior.priors.mean_prior import FarConditions, MeanPrior, Part, check_condition_shape
from flowprior.priors.nearest import Distinct, distinct_embeddings, nearest
from flowprior.priors.network_training import MapperNetwork, NetworkTraining
from flowprior.priors.residuals import LOWRANK, DiagonalResiduals, check_sigma, constant_residuals
from flowprior.priors.seen_conditions import SeenConditions, rows_looked_at
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers, choose
from flowprior.streams.batches import CheckedBatches

OWNER = "prior 'learned-mean'"
FIXED, DIAGONAL = "fixed", "diagonal"
SUITED = {FIXED: "ot", DIAGONAL: "condot", LOWRANK: "posterior"}
"""The covariance of the residuals -> the coupling that suits it."""
ROWS, NUMBERS = 4096, 1 << 24
"""The largest number of held-out rows, and of numbers in them, that distances are learned from."""


@Prior.register("learned-mean", aliases=("mapper",), option_aliases={"reg_covar": "source_noise"})
class LearnedMeanPrior(MeanPrior):
    """A mapper from labels, embeddings or pictures to a mean, plus noise (the paper's text prior).

    With ``covariance="diagonal"`` the noise follows the condition, too, as suits conditions that say much,
    such as the low-resolution picture; ``train`` then takes the coupling ``condot`` and the prediction
    ``residual`` by itself. With ``covariance="lowrank"`` it has what ``latent-gmm`` has for labels: a
    subspace, and inferred latents whose distribution is fitted; with them the coupling ``posterior`` and the
    prediction ``preconditioned`` (``residual`` for a network of your own).

    Args:
        covariance: of the residuals: ``"fixed"``, one for all conditions, as ``sigma`` says; ``"diagonal"``,
            variances of the coordinates that a network gives from the condition; or ``"lowrank"``, of which
            that is so, too. A fixed one is wider, and the mean nearer to that of all data, under embeddings
            far from those trained on, as held-out embeddings ask for (:mod:`flowprior.priors.mean_prior`). Of
            labels, and of fewer than ten embeddings held out, nothing is learned about it.
        sigma: standard deviation of a fixed noise: a number (the authors use 0.7); or its estimate from
            held-out residuals: ``"scalar"``, ``"diagonal"``, ``"lowrank"``, a covariance with latents that
            can be inferred, or kernels along the axes of an event, such as ``"ou-white"``, as the prior
            ``gp`` has them.
        hidden: width of the mapper.
        depth: residual blocks of the mapper.
        epochs: passes over the data at the most, whatever ``steps``: on few rows more would only overfit. A
            pass counts as four steps or more.
        batch_size: examples in a step.
        lr: peak learning rate of AdamW.
        holdout: share of the examples kept from training, to choose the weights of least error and estimate
            ``sigma``. Embeddings that repeat, as of five images of one caption, are held out whole. Which
            ones depends on what they hold, not on their place, so a loader may shuffle. Where embeddings are
            held out whole, as large a share of the examples of the others is kept for ``sigma``.
        rank: of the low-rank covariance, cut to the number of dimensions.
        components: Gaussians in the distribution of its latents; 1 for standard normal latents.
        source_noise: variance of the noise that source samples have and data do not, under a diagonal or
            low-rank covariance; the linear velocity takes it away. Pictures with a constant background need
            some: where a pixel hardly varies, the latents' scale is without bound, and draws go far outside
            of the data.
        steps: optimiser steps of each network, at most ``epochs`` passes over the data.
        mapper: of :mod:`flowprior.priors.mappers`: ``"mlp"``, a residual MLP; ``"projector"``, which grows an
            image [C, H, W] from a small grid by convolutions; ``"unet"``, from images to images;
            ``"linear"``, ridge regression on embeddings or on the last step of a series; ``"auto"`` is
            ``"unet"`` where both are images, else ``"mlp"``.
    """

    network: MapperNetwork

    def __init__(
        self,
        sigma: float | str = 0.7,
        hidden: int = 256,
        depth: int = 2,
        epochs: int = 50,
        batch_size: int = 256,
        lr: float = 2e-3,
        holdout: float = 0.1,
        covariance: str = FIXED,
        rank: int = 64,
        components: int = 16,
        source_noise: float = 0.04,
        steps: int = 2000,
        mapper: str = AUTO,
    ) -> None:
        super().__init__(SeenConditions())
        check_counts(OWNER, 0, depth=depth)
        check_counts(OWNER, hidden=hidden, epochs=epochs, batch_size=batch_size, steps=steps)
        check_counts(OWNER, rank=rank, components=components)
        check_sigma(OWNER, sigma)
        check_numbers(
            OWNER, holdout=(holdout, 0, 0.5), lr=(lr, 1e-12, 1e12), source_noise=(source_noise, 0, 1e12)
        )
        self.covariance = choose(OWNER, "covariance", covariance, tuple(SUITED))
        self.has_latents = (sigma if covariance == FIXED else covariance) == LOWRANK
        self.suited_coupling = SUITED[LOWRANK if self.has_latents else covariance]
        self.sigma, self.has_spread = sigma, covariance != FIXED or not are_kernels(sigma)
        self.hidden = hidden
        self.depth = depth
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.holdout = holdout
        self.rank = rank
        self.components = components
        self.source_noise = source_noise
        self.steps = steps
        self.mapper = choose(OWNER, "mapper", mapper, MAPPERS)
        self.register_module("network", None)  # made by fit, or of a file
        self.register_module("residuals", None)
        # Shape of a condition that is a tensor.
        self.condition_dims = nn.Buffer(torch.empty(0, dtype=torch.long))

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        if cond is None:
            raise InputError("learned-mean.fit: expected labels or embeddings, got None; use 'gaussian'")
        center = self.seen.learn(data, generator)
        shape = cond.shape[1:] if cond.dim() > 2 else ()
        self.condition_dims = torch.tensor(shape, dtype=torch.long, device=self.event_dims.device)
        self._build(self.seen.condition, first.shape[1:], first.dtype)
        self.center = center.to(first)
        split = Holdout(data, self.holdout, whole_conditions=True)
        options = NetworkTraining(self.steps, self.batch_size, self.lr).within(self.epochs, split)
        self.network.fit(split, self.center, options, generator)
        self.residuals.fit(split, self.network, self.center, options, generator)
        if self.covariance == FIXED:
            self._learn_far(split)

    def _build(self, condition: Condition, event_shape: torch.Size, dtype: torch.dtype) -> None:
        """Make the mapper; parameters are drawn by its fit or loaded."""
        dim, shape = event_shape.numel(), tuple(self.condition_dims.tolist())
        if shape and (tensor := Condition.of_shape(shape)).is_series:
            condition = tensor
        parts = (self.mapper, condition, shape, event_shape, self.hidden, self.depth)
        with torch.random.fork_rng(devices=[]):
            self.network = make_mapper(*parts)
            if self.covariance == LOWRANK:
                sizes = (dim, self.rank, self.components, self.hidden, self.depth)
                self.residuals = LowRankResiduals(condition, *sizes, self.source_noise)
            elif self.covariance == DIAGONAL:
                self.residuals = DiagonalResiduals(make_mapper(*parts), dim, self.source_noise)
            else:
                self.residuals = constant_residuals(OWNER, self.sigma, dim, self.rank, self.source_noise)
        self.distance = FarConditions()
        self.to(self.event_dims.device, dtype).requires_grad_(False)

    @torch.no_grad()
    def _learn_far(self, split: Holdout) -> None:
        """Learn how far from each other embeddings are before the mean says nothing of one another."""
        if self.seen.condition.kind != "embeddings" or split.is_empty or self.seen.keeps_none:
            return

        def distinct(most: int, *, held_out: bool) -> Distinct:
            return distinct_embeddings(
                lambda: ((x[:, :0], cond) for x, cond in split.rows(held_out=held_out)), most
            )

        if len(distinct(LEAST_CONDITIONS, held_out=True).rows) < LEAST_CONDITIONS:
            return
        trained = distinct(rows_looked_at(self.seen.condition.size), held_out=False)
        self.seen.keep_embeddings(trained.rows.to(self.center).cpu(), trained.counts, self.center)
        if self.seen.keeps_none:
            return
        most = max(1, min(ROWS, NUMBERS // len(self.center)))
        rows = partial(split.rows, held_out=True)
        apart = [self._part(x, cond) for x, cond in conditioned(thinned(rows, most))]
        beside = [self._part(x, cond) for x, cond in conditioned(thinned(split.beside, most))]
        self.distance.fit([*apart, *beside], self.center, self.residuals.noise)

    def _part(self, x: Tensor, cond: Tensor) -> Part:
        """Return rows that the mean was not fitted with."""
        return Part(x.to(self.center), self.network(cond), self._distance_to_seen(cond))

    def _check_shape(self, part: Tensor, method: str) -> None:
        check_condition_shape(part, self.condition_dims, f"{self.name}.{method}")

    def _deviation(self, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.network(cond), self._distance_to_seen(cond) if self.distance.is_fitted else None

    def _distance_to_seen(self, cond: Tensor) -> Tensor:
        """Return the distance ``[B]`` to the nearest centre, beyond what lies behind it: (d² − r²)₊^½."""
        apart, place = nearest(self._own(cond), self.seen.rows)
        if not len(self.seen.spread):
            return apart[:, 0]
        behind = self.seen.spread[place[:, 0]].square().sum(1)
        return (apart[:, 0].square() - behind).clamp_min(0).sqrt()

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        names = ("seen.size", "center", "event_dims", "condition_dims")
        if self.network is None and all(prefix + name in state_dict for name in names):
            size, center, event, self.condition_dims = (state_dict[prefix + name] for name in names)
            self.seen.size = size.clone()
            self._build(self.seen.condition, torch.Size(event.tolist()), center.dtype)
