"""A learned mean: x0 = P_θ(c) + residual, the paper's prior for text (arXiv 2502.09611, section 4.2).

P_θ is trained by mean squared error, whose optimum is E[x1 | c]. The residual is W z + σ ε, the same for all
conditions; or of variances that depend on the condition (:mod:`flowprior.priors.residuals`); or of a
low-rank covariance that does, with latents that have a law of their own
(:mod:`flowprior.priors.lowrank_residuals`). The authors feed an optional latent z to the mapper itself
and match moments; here z enters linearly, so that the density and the inference of z from a datum stay exact,
and W is the maximum-likelihood factor of the residuals.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.errors import InputError, OptionError
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.samples import thinned
from flowprior.priors.base import Prior
from flowprior.priors.far import CHOICES, FarConditions, Part
from flowprior.priors.frame import DiagonalFrame, Frame
from flowprior.priors.holdout import LEAST_CONDITIONS, Holdout, conditioned
from flowprior.priors.lowrank_residuals import LowRankResiduals
from flowprior.priors.mappers import MAPPERS, LinearMapper, make_mapper
from flowprior.priors.mean_prior import MeanPrior
from flowprior.priors.nearest import DistinctEmbeddings, nearest
from flowprior.priors.network_training import (
    DensityTraining,
    MapperNetwork,
    MapperTraining,
    bounded,
    train_by_steps,
    train_mapper,
)
from flowprior.priors.residuals import DiagonalResiduals, FixedResiduals, check_sigma
from flowprior.priors.seen_conditions import CENTRES_ALONE, VERBATIM, SeenConditions, rows_looked_at
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers, choose
from flowprior.streams.batches import CheckedBatches

OWNER = "prior 'learned-mean'"
COVARIANCES = ("fixed", "diagonal", "lowrank")
AUTO, WIDEN = "auto", "widen"
ROWS, NUMBERS = 4096, 1 << 24
"""Most held-out rows, and numbers in them, that distances are learned from."""
DENSITY_RATE = 2e-3
"""Peak learning rate of the networks of the low-rank covariance and its law."""


@Prior.register("learned-mean", aliases=("mapper",), option_aliases={"reg_covar": "source_noise"})
class LearnedMeanPrior(MeanPrior):
    """A mapper from labels, embeddings or pictures to a mean, plus noise (the paper's text prior).

    With ``covariance="diagonal"`` the noise follows the condition, too, as suits conditions that say much,
    such as the low-resolution picture; ``train`` then takes the coupling ``condot`` and the prediction
    ``residual`` by itself. With ``covariance="lowrank"`` it has what ``latent-gmm`` has for labels: a
    subspace, and inferred latents whose law is fitted; with them the coupling ``posterior`` and the
    prediction ``preconditioned`` (``residual`` for a network of your own).

    Args:
        covariance: of the residuals: ``"fixed"``, one for all conditions, as ``sigma`` and ``latent`` say;
            ``"diagonal"``, variances of the coordinates that a network gives from the condition; or
            ``"lowrank"``, of which that is so, too.
        sigma: standard deviation of the noise: a number (the authors use 0.7), or ``"scalar"`` or
            ``"diagonal"`` to estimate it on held-out residuals.
        latent: dimensions of z; 0 for none.
        hidden: width of the mapper.
        depth: residual blocks of the mapper.
        epochs: passes over the data at the most; the mapper ``"unet"`` takes ``steps``. The training ends
            when the error on held-out examples has stopped falling, and warns where it has not. Without
            held-out examples it takes all ``epochs``. Embeddings that repeat, as of five pictures of one
            caption, are held out whole.
        batch_size: examples in a step.
        lr: first learning rate of AdamW.
        holdout: share of the examples kept from training, to choose the epoch and estimate ``sigma``. Which
            ones depends on what they hold, not on their place, so a loader may shuffle. Where embeddings are
            held out whole, as large a share of the examples of the others is kept for ``sigma``.
        rank: of the low-rank covariance, cut to the number of dimensions.
        components: Gaussians in the law of its latents; 1 for standard normal latents.
        source_noise: variance of the noise that source samples have and data do not, under a diagonal or
            low-rank covariance; the linear velocity takes it away. Pictures with a constant background need
            some: where a pixel hardly varies, the latents' scale is without bound, and draws go far outside
            of the data.
        steps: optimiser steps for the network of the diagonal or low-rank covariance, and for the mapper
            ``"unet"``; at most 50 passes over the data each.
        mapper: of :mod:`flowprior.priors.mappers`: ``"mlp"``, a residual MLP; ``"projector"``, which grows a
            picture [C, H, W] from a small grid by convolutions; ``"unet"``, from pictures to pictures;
            ``"linear"``, ridge regression on embeddings or on the last step of a series; ``"auto"`` is
            ``"unet"`` where both are pictures, else ``"mlp"``.
        far: what is said of embeddings far from those trained on: ``"widen"`` draws the mean to that of all
            data and widens the spread with the distance, as held-out embeddings ask for
            (:mod:`flowprior.priors.far`); ``"as-near"`` takes them as any other. Of labels, and of fewer than
            ten embeddings held out, nothing is learned about it. ``"auto"`` widens a fixed covariance, and
            takes the others as near: of a low-rank one, a factor for all directions, which the many narrow
            ones ask for, makes the few wide ones far too wide.
        keep_conditions: keeps up to 4,096 embeddings of the training as they are, in place of 256 centres,
            each the mean of eight or more, which say less exactly what is far. The prior then holds training
            data: its files and model card say so, and ``push_to_hub`` refuses them.
    """

    network: MapperNetwork | None
    residuals: FixedResiduals | DiagonalResiduals | LowRankResiduals | None

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
        source_noise: float = 0.04,
        steps: int = 2000,
        mapper: str = AUTO,
        far: str = AUTO,
        keep_conditions: bool = False,
    ) -> None:
        super().__init__(SeenConditions(keep=VERBATIM if keep_conditions else CENTRES_ALONE))
        check_counts(OWNER, 0, latent=latent, depth=depth)
        check_counts(OWNER, hidden=hidden, epochs=epochs, batch_size=batch_size)
        check_sigma(OWNER, sigma)
        if not isinstance(holdout, int | float) or not 0 <= holdout <= 0.5:
            raise OptionError(f"{OWNER}: expected holdout in [0, 0.5], got {holdout!r}")
        if not isinstance(lr, int | float) or not 0 < lr < float("inf"):
            raise OptionError(f"{OWNER}: expected lr to be a finite number > 0, got {lr!r}")
        check_counts(OWNER, rank=rank, components=components, steps=steps)
        check_numbers(OWNER, source_noise=(source_noise, 0, 1e12))
        self.covariance = choose(OWNER, "covariance", covariance, COVARIANCES)
        if covariance != "fixed" and latent:
            raise OptionError(
                f"{OWNER}: expected latent=0 with covariance='{covariance}', got {latent}; rank says how "
                "many latents a low-rank one has"
            )
        self.has_latents = latent > 0 or covariance == "lowrank"
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
        self.source_noise = source_noise
        self.steps = steps
        self.mapper = choose(OWNER, "mapper", mapper, MAPPERS)
        self.far = choose(OWNER, "far", far, (AUTO, *CHOICES))
        self.keep_conditions = keep_conditions
        self.network = None
        self.residuals = None
        # Shape of a condition that is a tensor.
        self.condition_dims = nn.Buffer(torch.empty(0, dtype=torch.long))

    @property
    def has_spread(self) -> bool:  # type: ignore[override]
        return self.latent == 0

    @property
    def suited_coupling(self) -> str:  # type: ignore[override]
        return {"lowrank": "posterior", "diagonal": "condot"}.get(self.covariance, super().suited_coupling)

    @torch.no_grad()
    def spread(self, cond: Tensor | None, n: int) -> Frame | DiagonalFrame | None:
        if not self.has_spread or cond is None:
            return None
        null, known = self.seen.without_null(self._on_own_device(cond))
        if isinstance(self.residuals, LowRankResiduals):
            return self.residuals.frame(self._around(cond), null)
        assert self.residuals is not None
        return self.residuals.frame(self._around(known), null, self.center)

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        if cond is None:
            raise InputError("learned-mean.fit: expected labels or embeddings, got None; use 'gaussian'")
        center = self.seen.learn(data, generator)
        shape = cond.shape[1:] if cond.dim() > 2 else ()
        self.condition_dims = torch.tensor(shape, dtype=torch.long, device=self.event_dims.device)
        self._build(self.seen.condition, first.shape[1:], first.dtype)
        assert self.network is not None
        self.center = center.to(first)
        split = Holdout(data, self.holdout, whole_conditions=True)
        options = DensityTraining(self.steps, self.batch_size, DENSITY_RATE)
        training = MapperTraining(self.epochs, self.batch_size, self.lr)
        if isinstance(self.network, LinearMapper):
            self.network.fit(split, self.center)
        elif self.network.by_steps:
            train_by_steps(self.network, split, self.center, bounded(options, split), generator)
        else:
            train_mapper(self.network, split, self.center, training, generator)
        if isinstance(self.residuals, LowRankResiduals):
            settings = FitSettings(self.source_noise, 0.0, generator)
            self.residuals.fit(split, self.network, self.center, settings, options)
        elif isinstance(self.residuals, DiagonalResiduals):
            if isinstance(self.network, LinearMapper) and isinstance(self.residuals.network, LinearMapper):
                self.residuals.network.scale_as(self.network)
            self.residuals.fit(split, self.network, self.center, bounded(options, split), generator)
        else:
            assert self.residuals is not None
            network = self.network

            def means(cond: Tensor) -> Tensor:
                return network(self._on_own_device(cond)) + self.center

            self.residuals.fit(split, means, generator)
            self.residuals.fit_total(data)
        if self.far == WIDEN or (self.far == AUTO and self.covariance == "fixed"):
            self._learn_far(split)

    def _build(self, condition: Condition, event_shape: torch.Size, dtype: torch.dtype) -> None:
        """Make the mapper; parameters are drawn by ``train_mapper`` or loaded."""
        dim, shape = event_shape.numel(), tuple(self.condition_dims.tolist())
        if shape and (tensor := Condition.of_shape(shape)).is_series:
            condition = tensor
        parts = (self.mapper, condition, shape, event_shape, self.hidden, self.depth)
        with torch.random.fork_rng(devices=[]):
            self.network = make_mapper(*parts)
            if self.covariance == "lowrank":
                sizes = (dim, self.rank, self.components, self.hidden, self.depth)
                self.residuals = LowRankResiduals(condition, *sizes)
            elif self.covariance == "diagonal":
                self.residuals = DiagonalResiduals(make_mapper(*parts), dim, self.source_noise)
            else:
                self.residuals = FixedResiduals(dim, self.sigma, self.latent)
        self.distance = FarConditions()
        self.to(self.event_dims.device, dtype).requires_grad_(False)

    @torch.no_grad()
    def _learn_far(self, split: Holdout) -> None:
        """Learn how far from each other embeddings are before the mean says nothing of one another."""
        if self.seen.condition.kind != "embeddings" or split.is_empty or self.seen.keeps_none:
            return
        held_out = DistinctEmbeddings.over(split.rows(held_out=True), LEAST_CONDITIONS)
        if len(held_out.rows) < LEAST_CONDITIONS:
            return
        trained = DistinctEmbeddings.over(
            split.rows(held_out=False), rows_looked_at(self.seen.condition.size)
        )
        self.seen.keep_embeddings(trained.rows.to(self.center).cpu(), trained.count, self.center)
        if self.seen.keeps_none:
            return
        most = max(1, min(ROWS, NUMBERS // len(self.center)))
        rows = partial(split.rows, held_out=True)
        apart = [self._part(x, cond) for x, cond in conditioned(thinned(rows, most))]
        beside = [self._part(x, cond) for x, cond in conditioned(thinned(split.beside, most))]
        is_given = not beside or (self.covariance == "fixed" and not isinstance(self.sigma, str))
        self._learn_distances([*apart, *beside], near=1.0 if is_given else None)

    def _part(self, x: Tensor, cond: Tensor) -> Part:
        """Rows that the mean was not fitted with."""
        assert self.network is not None
        own = self._on_own_device(cond)
        return Part(x.to(self.center), self.network(own), own, self._distance_to_seen(own))

    def _check_shape(self, part: Tensor, method: str) -> None:
        shape = tuple(self.condition_dims.tolist())
        if shape and part.dim() > 2 and part.shape[1:] != shape:
            raise InputError(
                f"{self.name}.{method}: expected conditions {list(shape)}, got {list(part.shape[1:])}"
            )

    def _deviation(self, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        assert self.network is not None
        return self.network(cond), self._distance_to_seen(cond) if self.distance.is_fitted else None

    def _distance_to_seen(self, cond: Tensor) -> Tensor:
        """Return the distance ``[B]`` to the nearest centre, beyond what lies behind it: (d² − r²)₊^½."""
        apart, place = nearest(cond, self.seen.rows)
        if not len(self.seen.spread):
            return apart[:, 0]
        behind = self.seen.spread[place[:, 0]].square().sum(1)
        return (apart[:, 0].square() - behind).clamp_min(0).sqrt()

    def _on_own_device(self, cond: Tensor) -> Tensor:
        """``cond`` where the networks are, embeddings in their dtype."""
        return cond.to(self.center) if cond.is_floating_point() else cond.to(self.center.device)

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """z ~ p(z | x1, c), then x0 = P_θ(c) + W z + σ ε; or by the low-rank covariance of the condition."""
        assert self.residuals is not None
        return self.residuals.infer(x1, self._around(cond), generator)

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        names = ("seen.size", "center", "event_dims", "condition_dims")
        if self.network is None and all(prefix + name in state_dict for name in names):
            size, center, event, self.condition_dims = (state_dict[prefix + name] for name in names)
            self.seen.size = size.clone()
            self._build(self.seen.condition, torch.Size(event.tolist()), center.dtype)
