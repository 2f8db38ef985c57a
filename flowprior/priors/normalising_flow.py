"""A normalising flow over the low-rank latents of each condition, of exact density.

The low-rank Gaussian x0 = μ_c + W_c z + ψ_c^½ ε has a fault that shows under the coupling ``posterior``: the
latents inferred from data have the mean and covariance of z ~ N(0, I), but not its law, so training and
sampling begin apart. Here the law of the coordinates is learned: h ~ flow(· | c) in the subspace of W, and
Gaussian noise outside of it (:mod:`flowprior.priors.frame`). The two are orthogonal, so

    log p0(x | c) = log p_flow(h | c) + log N(e; 0, I_(D−r)) − ½ Σ log λ_c − ½ Σ log ψ_c    exactly,

with e the whitened residual. What ψ adds inside the subspace is part of what the flow learns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.ops import standard_normal
from flowprior.ops.random import quasi_normal
from flowprior.priors.base import Prior
from flowprior.priors.conditioned import rows_looked_at
from flowprior.priors.density_training import DensityTraining, train_density
from flowprior.priors.holdout import Holdout
from flowprior.priors.latent_flow import LatentFlow
from flowprior.priors.row_sample import thinned
from flowprior.priors.subspace import Subspace
from flowprior.priors.subspace_prior import SubspacePrior
from flowprior.registry import check_counts, check_numbers, choose

OWNER = "prior 'flow'"
KINDS = ("affine", "spline")
MEAN_NODES = 512
"""Quasi-random draws behind the mean under one embedding."""


@Prior.register("flow", aliases=("normalising-flow",))
class NormalisingFlowPrior(SubspacePrior):
    """A normalising flow in each condition's leading subspace, noise outside of it (extra ``flows``).

    Conditions are labels, embeddings or None. With embeddings subspace and mean are those of all data, and
    what the condition changes is left to the flow.

    Args:
        rank: r, dimensions of the subspace, cut to those of the data; then it holds the whole covariance.
        transforms: coupling layers of the flow.
        hidden: width of their networks.
        kind: ``"affine"`` couplings, or ``"spline"`` ones, several times slower.
        steps: optimiser steps.
        batch_size: examples in a step.
        lr: peak learning rate of AdamW.
        holdout: share of the examples kept from training, to choose the step whose weights stay. Which ones
            depends on what they hold, not on their place, so a loader may shuffle.
        reg_covar: variance floor: added to every variance, as in ``gmm``.
        shrinkage: how many examples' worth of the pooled moments are added to each label's own subspace.
        basis: as in ``latent-gmm``.
        span: dimensions of a basis that labels share, as in ``latent-gmm``.
    """

    def __init__(
        self,
        rank: int = 64,
        transforms: int = 8,
        hidden: int = 192,
        kind: str = "affine",
        steps: int = 2000,
        batch_size: int = 512,
        lr: float = 3e-3,
        holdout: float = 0.1,
        reg_covar: float = 1e-6,
        shrinkage: float = 0.0,
        basis: str = "own",
        span: int | None = None,
    ) -> None:
        super().__init__(OWNER, rank, reg_covar, basis, span)
        check_counts(
            OWNER,
            transforms=transforms,
            hidden=hidden,
            steps=steps,
            batch_size=batch_size,
        )
        check_numbers(
            OWNER,
            lr=(lr, 1e-12, 1e6),
            holdout=(holdout, 0, 0.5),
            shrinkage=(shrinkage, 0, 1e12),
        )
        self.transforms = transforms
        self.hidden = hidden
        self.kind = choose(OWNER, "kind", kind, KINDS)
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.holdout = holdout
        self.shrinkage = shrinkage
        self.latents: LatentFlow | None = None

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, _ = data.peek()
        self._fit_subspace(data, FitSettings(self.reg_covar, self.shrinkage, generator))
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self.latents = self._network(seed).to(first)
        options = DensityTraining(self.steps, self.batch_size, self.lr)
        train_density(self.latents, self._loss, Holdout(data, self.holdout), options, generator)
        self.latents.calibrate(self._conditions_of_rows(data))

    def _network(self, seed: int) -> LatentFlow:
        """The flow before training, or before its parameters are loaded."""
        rows, features = self.subspace.spread.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = LatentFlow(self.condition, features, self.transforms, self.hidden, self.kind, rows)
        return network.requires_grad_(False)

    def _loss(self, x: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Nats per latent dimension of source samples inferred from x."""
        assert self.latents is not None
        h = self._with_given(self._source_coordinates(x, cond, generator), cond, generator)
        return -self.latents.log_prob(h, cond, self._rows(cond, len(x))).mean() / h.shape[1]

    def _conditions_of_rows(self, data: CheckedBatches) -> list[tuple[int, Tensor | None]]:
        """What each row of the subspace's tables stands for: a seen label, embeddings of data, or nothing."""
        if self.condition.kind == "labels":
            return [(int(label), label) for label in self.seen.split(1)]
        if self.condition.kind == "none":
            return [(0, None)]
        rows = thinned(lambda: data, rows_looked_at(self.condition.size))
        return [(0, torch.cat([cond.flatten(1) for _, cond in rows if cond is not None]))]

    # -- use ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        subspace, latents, like = self._parts()
        epsilon = standard_normal(n, subspace.loc.shape[1], like, generator)
        noise = standard_normal(n, subspace.spread.shape[1], like, generator)
        h = latents.transform(noise, cond, self._rows(cond, n))
        return self._placed(cond, h, epsilon)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        _, latents, like = self._parts()
        wide = x.to(torch.promote_types(x.dtype, like.dtype))
        h, density = self.frame(cond, len(x)).log_density_around(wide)
        return (density + latents.log_prob(h.to(like), cond, self._rows(cond, len(x)))).to(x.dtype)

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        """μ_c, which the calibration makes the mean; under an embedding, an average over the flow's draws."""
        subspace, latents, like = self._parts()
        frame = self.frame(cond, n)
        if self.condition.kind != "embeddings" or not n:
            return frame.loc
        assert cond is not None
        nodes = quasi_normal(MEAN_NODES, subspace.spread.shape[1], like)
        zeros = frame.group.new_zeros(MEAN_NODES)
        average = [latents.transform(nodes, c.expand(MEAN_NODES, -1), zeros).mean(0) for c in cond]
        return frame.place(torch.stack(average), torch.zeros_like(frame.loc))

    def _parts(self) -> tuple[Subspace, LatentFlow, Tensor]:
        """Subspace, flow, and a tensor of their dtype and device."""
        assert self.latents is not None
        return self.subspace, self.latents, self.subspace.loc

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Build the flow first, at the checkpoint's sizes: an unfitted prior has none."""
        self._shape_subspace(state_dict, prefix)
        size = state_dict.get(prefix + "condition_size")
        if self.latents is None and size is not None:
            self.condition_size = size.clone()
            self.latents = self._network(seed=0).to(self.subspace.loc)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
