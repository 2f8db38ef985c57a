"""A normalising flow over the low-rank latents of each condition, of exact density.

The low-rank Gaussian x0 = μ_c + W_c z + ψ_c^½ ε has a fault that shows under the coupling ``posterior``: the
latents inferred from data have the mean and covariance of z ~ N(0, I), but not its law, so training and
sampling start apart. Here the law of the coordinates is learned: h ~ flow(· | c) in the subspace of W, and
Gaussian noise outside of it (:mod:`flowprior.priors.subspace`). The two are orthogonal, so

    log p0(x | c) = log p_flow(h | c) + log N(e; 0, I_(D−r)) − ½ Σ log λ_c − ½ Σ log ψ_c    exactly,

with e the whitened residual. What ψ adds inside the subspace is part of what the flow learns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.covariances import FitSettings
from flowprior.ops import standard_normal
from flowprior.priors.base import Prior
from flowprior.priors.conditioned import ConditionedPrior, check_counts, check_numbers
from flowprior.priors.density_training import DensityTraining, train_density
from flowprior.priors.latent_flow import LatentFlow
from flowprior.priors.quasi_normal import quasi_normal
from flowprior.priors.stream import CheckedBatches
from flowprior.priors.subspace import Subspace
from flowprior.registry import choose

OWNER = "prior 'flow'"
KINDS = ("affine", "spline")
MEAN_NODES = 512
"""Quasi-random draws behind the mean under one embedding."""


@Prior.register("flow", aliases=("normalising-flow",))
class NormalisingFlowPrior(ConditionedPrior):
    """A normalising flow in each condition's leading subspace, noise outside of it (extra ``flows``).

    Conditions are labels, embeddings or None. With embeddings subspace and mean are those of all data, and
    what the condition changes is left to the flow.

    Args:
        rank: r, dimensions of the subspace, cut to the number of dimensions.
        transforms: coupling layers of the flow.
        hidden: width of their networks.
        kind: ``"affine"`` couplings, or ``"spline"`` ones, several times slower.
        steps: optimiser steps.
        batch_size: examples in a step.
        lr: peak learning rate of AdamW.
        holdout: share of the examples kept from training, to choose the step whose weights stay: every
            (1/holdout)-th in the order of the data, which should be the same in every pass.
        reg_covar: added to every variance, as in ``gmm``.
        shrinkage: how many examples' worth of the pooled moments are added to each label's subspace.
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
    ) -> None:
        super().__init__()
        check_counts(
            OWNER,
            rank=(rank, 1),
            transforms=(transforms, 1),
            hidden=(hidden, 1),
            steps=(steps, 1),
            batch_size=(batch_size, 1),
        )
        check_numbers(
            OWNER,
            lr=(lr, 1e-12, 1e6),
            holdout=(holdout, 0, 0.5),
            reg_covar=(reg_covar, 0, 1e12),
            shrinkage=(shrinkage, 0, 1e12),
        )
        self.rank = rank
        self.transforms = transforms
        self.hidden = hidden
        self.kind = choose(OWNER, "kind", kind, KINDS)
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.holdout = holdout
        self.reg_covar = reg_covar
        self.shrinkage = shrinkage
        self.subspace: Subspace | None = None
        self.latents: LatentFlow | None = None

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
        first, _ = data.peek()
        self._learn_conditions(data, generator)
        settings = FitSettings(self.reg_covar, self.shrinkage, generator)
        labelled = self.condition.kind == "labels"
        self.subspace = Subspace.fit(data, self.rank, settings, labelled=labelled)
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self.latents = self._network(self.condition, self.subspace, seed).to(first)
        options = DensityTraining(self.steps, self.batch_size, self.lr, self.holdout)
        train_density(self.latents, self._loss, data, options, generator)
        self.latents.calibrate(self._conditions_of_rows())

    def _network(self, condition: Condition, subspace: Subspace, seed: int) -> LatentFlow:
        """The flow before training, or before its parameters are loaded."""
        conditions, features = subspace.spread.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = LatentFlow(condition, features, self.transforms, self.hidden, self.kind, conditions)
        return network.requires_grad_(False)

    def _loss(self, x: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Nats per latent dimension of starts inferred from x."""
        assert self.subspace is not None
        assert self.latents is not None
        rows = self._rows(cond, x)
        noise = torch.randn(len(x), self.subspace.spread.shape[1], generator=generator, dtype=x.dtype)
        h = self.subspace.start_of(x, rows, noise.to(x.device))
        return -self.latents.log_prob(h, cond, rows).mean() / h.shape[1]

    def _conditions_of_rows(self) -> list[tuple[int, Tensor | None]]:
        """What each row of the subspace's tables stands for: a seen label, seen embeddings, or nothing."""
        if self.condition.kind == "labels":
            return [(int(label), label) for label in self.seen.split(1)]
        return [(0, self.seen if self.condition.kind == "embeddings" else None)]

    # -- use ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        subspace, latents, like = self._parts()
        epsilon = standard_normal(n, subspace.loc.shape[1], like, generator)
        noise = standard_normal(n, subspace.spread.shape[1], like, generator)
        rows = self._rows(cond, epsilon)
        return subspace.place(latents.transform(noise, cond, rows), rows, epsilon)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        subspace, latents, like = self._parts()
        rows = self._rows(cond, x)
        h, density = subspace.log_density_around(x.to(torch.promote_types(x.dtype, like.dtype)), rows)
        return (density + latents.log_prob(h.to(like), cond, rows)).to(x.dtype)

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        """μ_c, which the calibration makes the mean; under an embedding, an average over the flow's draws."""
        subspace, latents, like = self._parts()
        rows = (
            torch.zeros(n, dtype=torch.long, device=like.device) if cond is None else self._rows(cond, cond)
        )
        mean = subspace.loc[rows]
        if self.condition.kind != "embeddings" or not n:
            return mean
        assert cond is not None
        nodes = quasi_normal(MEAN_NODES, subspace.spread.shape[1], like)
        zeros = rows.new_zeros(MEAN_NODES)
        average = [latents.transform(nodes, c.expand(MEAN_NODES, -1), zeros).mean(0) for c in cond]
        return subspace.place(torch.stack(average), rows, torch.zeros_like(mean))

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """h0 ~ p(h0 | x1, c) under the low-rank Gaussian, then x0 = μ_c + ψ_c^½ (Q λ^½ h0 + (I − QQᵀ) ε)."""
        subspace, _, like = self._parts()
        x1 = x1.to(like)
        epsilon = standard_normal(len(x1), x1.shape[1], like, generator)
        noise = standard_normal(len(x1), subspace.spread.shape[1], like, generator)
        rows = self._rows(cond, x1)
        return subspace.place(subspace.start_of(x1, rows, noise), rows, epsilon)

    def _parts(self) -> tuple[Subspace, LatentFlow, Tensor]:
        """Subspace, flow, and a tensor of their dtype and device."""
        assert self.subspace is not None
        assert self.latents is not None
        return self.subspace, self.latents, self.subspace.loc

    def _rows(self, cond: Tensor | None, like: Tensor) -> Tensor:
        """Rows ``[B]`` of the subspace's tables: labels, or the only row there is."""
        if cond is not None and self.condition.kind == "labels":
            return cond
        return torch.zeros(len(like), dtype=torch.long, device=like.device)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Build subspace and flow first, at the checkpoint's sizes: an unfitted prior has none."""
        size, basis = state_dict.get(prefix + "condition_size"), state_dict.get(prefix + "subspace.basis")
        if self.latents is None and size is not None and basis is not None:
            self.condition_size = size.clone()
            conditions, dim, rank = basis.shape
            self.subspace = Subspace(conditions, dim, rank, basis.dtype).to(self.event_dims.device)
            network = self._network(self.condition, self.subspace, seed=0)
            self.latents = network.to(self.event_dims.device, basis.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
