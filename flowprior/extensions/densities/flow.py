"""The prior ``flow``: a normalising flow over the low-rank latents of each condition, with exact density.

The low-rank Gaussian x0 = μ_c + W_c z + ψ_c^½ ε has a fault that shows under the coupling ``posterior``: the
latents inferred from data have the mean and covariance of z ~ N(0, I), but not its law, so training and
sampling begin apart. Here the law of the coordinates is learned: h ~ flow(· | c) in the subspace of W, and
Gaussian noise outside of it (:mod:`flowprior.priors.frame`). The two are orthogonal, so

    log p0(x | c) = log p_flow(h | c) + log N(e; 0, I_(D−r)) − ½ Σ log λ_c − ½ Σ log ψ_c    exactly,

with e the whitened residual. What ψ adds inside the subspace is part of what the flow learns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.errors import FlowpriorError, pip_install
from flowprior.extensions.densities.network import quasi_normal
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.grouped import times_table
from flowprior.mixtures.samples import thinned
from flowprior.networks.embeddings import ConditionEmbedding
from flowprior.ops.operators import normal
from flowprior.priors.base import Prior
from flowprior.priors.holdout import Holdout
from flowprior.priors.network_training import NetworkTraining, train_network
from flowprior.priors.seen_conditions import rows_looked_at
from flowprior.priors.subspace_prior import SubspacePrior
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers, choose
from flowprior.streams.batches import CheckedBatches

OWNER = "prior 'flow'"
KINDS = ("affine", "spline")
"""The kinds of couplings of the normalising flow."""
MEAN_NODES = 512
"""The number of quasi-random draws behind the mean under one embedding."""
CONTEXT = 16
"""The size of the embedding of a condition."""
LEAST_SCALE = 0.5
"""The least scale of an affine coupling, whose largest is the inverse; wider bounds give samples far out."""
BINS = 8
"""The number of bins of a spline."""
NODES, CHUNK = 16384, 2048
"""The number of quasi-random draws behind the moments, and the number that is transformed at a time."""


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
        reg_covar: added to the diagonal of every covariance, as in ``gmm``.
        shrinkage: how many examples' worth of the pooled moments are added to each label's own.
        basis: the kind of subspace, as in ``latent-gmm``.
        span: dimensions of a basis that labels share, as in ``latent-gmm``.
    """

    latents: LatentFlow

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
            reg_covar=(reg_covar, 0, 1e12),
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
        self.reg_covar = reg_covar
        self.shrinkage = shrinkage
        self.register_module("latents", None)  # made by fit, or of a file

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, _ = data.peek()
        self._fit_subspace(data, FitSettings(self.reg_covar, self.shrinkage, generator))
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self.latents = self._network(seed).to(first)
        options = NetworkTraining(self.steps, self.batch_size, self.lr)
        train_network(self.latents, self._loss, Holdout(data, self.holdout), options, generator)
        self.latents.calibrate(self._conditions_of_rows(data))

    def _network(self, seed: int) -> LatentFlow:
        """Build the flow before training, or before its parameters are loaded."""
        rows, features = self.subspace.spread.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = LatentFlow(self.seen.condition, features, self.transforms, self.hidden, self.kind, rows)
        return network.requires_grad_(False)

    def _loss(self, x: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Return the loss in nats per latent dimension of the latents inferred from x."""
        h = self._with_given(self._source_coordinates(x, cond, generator), cond, generator)
        return -self.latents.log_prob(h, cond, self._rows(cond, len(x))).mean() / h.shape[1]

    def _conditions_of_rows(self, data: CheckedBatches) -> list[tuple[int, Tensor | None]]:
        """Return the condition of each row of the subspace's tables: a seen label, embeddings, or None."""
        if self.seen.has_labels:
            return [(int(label), label) for label in self.seen.rows.split(1)]
        if self.seen.condition.kind == "none":
            return [(0, None)]
        rows = thinned(lambda: data, rows_looked_at(self.seen.condition.size))
        return [(0, torch.cat([cond.flatten(1) for _, cond in rows if cond is not None]))]

    # -- use ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        like = self.subspace.loc
        epsilon = normal(n, like.shape[1], like=like, generator=generator)
        noise = normal(n, self.subspace.spread.shape[1], like=like, generator=generator)
        h = self.latents.transform(noise, cond, self._rows(cond, n))
        return self._placed(cond, h, epsilon)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, self.subspace.loc.dtype))
        h, density = self.spread(cond, len(x)).log_density_around(wide)
        inside = self.latents.log_prob(h.to(self.subspace.loc), cond, self._rows(cond, len(x)))
        return (density + inside).to(x.dtype)

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        """Return μ_c, which the calibration makes the mean; under an embedding, the average of draws."""
        frame = self.spread(cond, n)
        if self.seen.condition.kind != "embeddings" or cond is None or not n:
            return frame.loc
        nodes = quasi_normal(MEAN_NODES, self.subspace.spread.shape[1], self.subspace.loc)
        zeros = frame.axes.group.new_zeros(MEAN_NODES)
        average = [self.latents.transform(nodes, c.expand(MEAN_NODES, -1), zeros).mean(0) for c in cond]
        return frame.place(torch.stack(average), torch.zeros_like(frame.loc))

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        size, spread = (state_dict.get(prefix + name) for name in ("seen.size", "subspace.spread"))
        if self.latents is None and size is not None and spread is not None:
            self.seen.size, self.subspace.spread = size.clone(), torch.empty_like(spread)
            self.latents = self._network(seed=0).to(spread)


class LatentFlow(nn.Module):
    """The map h = L⁻¹ (f(ε; c) − m): zuko's layers f, then an affine map to mean 0 and covariance I.

    Of the layers the one next to the data bends each coordinate by itself, by a monotonic spline, as marginal
    Gaussianisation does (Chen & Gopinath 2000). Affine couplings move a coordinate only as others tell, so
    they cannot part two modes that lie along one principal axis, nor change a single coordinate at all.
    The layers start as the identity. Maximum likelihood leaves a flow's samples with a spread that is some
    ten per cent off the data's; :meth:`calibrate` sets m and L of each condition to the flow's own moments.

    Args:
        condition: the condition of the flow.
        features: r, numbers in h.
        transforms: coupling layers.
        hidden: width of their networks.
        kind: ``"affine"`` (RealNVP, Dinh et al. 2016) or ``"spline"`` (Durkan et al. 2019).
        conditions: C, rows of the moments.

    Raises:
        FlowpriorError: zuko is not installed.
    """

    def __init__(
        self, condition: Condition, features: int, transforms: int, hidden: int, kind: str, conditions: int
    ) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(condition, CONTEXT)
        self.flow = _couplings(features, CONTEXT if condition.kind != "none" else 0, transforms, hidden, kind)
        self.shift = nn.Buffer(torch.zeros(conditions, features))
        self.triangle = nn.Buffer(torch.eye(features).repeat(conditions, 1, 1))

    def log_prob(self, h: Tensor, cond: Tensor | None, rows: Tensor) -> Tensor:
        """Return log p(h | c) ``[n]``; ``rows`` ``[n]`` are the rows of the calibrated moments."""
        if not len(h):
            return h.new_zeros(0)
        moved = times_table(h, rows, self.triangle.mT) + self.shift[rows]
        log_det = self.triangle.diagonal(dim1=1, dim2=2).log().sum(1)
        return self.flow(self.embed(cond)).log_prob(moved) + log_det[rows]

    def transform(self, noise: Tensor, cond: Tensor | None, rows: Tensor) -> Tensor:
        """Return h ``[n, r]`` from standard normal ``noise`` ``[n, r]``."""
        if not len(noise):
            return noise
        identity = torch.eye(noise.shape[1], dtype=noise.dtype, device=noise.device)
        inverse = torch.linalg.solve_triangular(self.triangle, identity, upper=False)
        return times_table(self._raw(noise, cond) - self.shift[rows], rows, inverse.mT)

    @torch.no_grad()
    def calibrate(self, conditions: Iterable[tuple[int, Tensor | None]]) -> None:
        """Set the moments of each given row from quasi-random draws under its conditions ``[m, …]``."""
        nodes = quasi_normal(NODES, self.shift.shape[1], self.shift)
        for row, cond in conditions:
            conds: Any = [None] * (NODES // CHUNK)
            if cond is not None:
                conds = cond[torch.arange(NODES, device=cond.device) % len(cond)].split(CHUNK)
            parts = zip(nodes.split(CHUNK), conds, strict=True)
            draws = torch.cat([self._raw(noise, c).double() for noise, c in parts])
            deviation = draws - draws.mean(0)
            covariance = deviation.T @ deviation / len(draws)
            self.shift[row] = draws.mean(0).to(self.shift)
            self.triangle[row] = torch.linalg.cholesky(covariance).to(self.triangle)

    def _raw(self, noise: Tensor, cond: Tensor | None) -> Tensor:
        """Return h of ``noise`` by each layer's inverse; ``layer.inv`` would keep tensors alive."""
        h = noise
        for layer in reversed(self.flow(self.embed(cond)).transform.transforms):
            if hasattr(layer, "meta"):
                kept, moved = layer.split(h)
                h = layer.merge(kept, layer.meta(kept).base._inverse(moved), h.shape)
            else:
                h = layer.base._inverse(h)
        return h


def _couplings(features: int, context: int, transforms: int, hidden: int, kind: str) -> nn.Module:
    """Build zuko's flow: a transform of each feature, then couplings that transform random halves in turn."""
    try:
        from zuko.distributions import DiagNormal
        from zuko.flows.coupling import GeneralCouplingTransform
        from zuko.flows.gaussianization import ElementWiseTransform
        from zuko.lazy import Flow, UnconditionalDistribution
        from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform
    except ImportError as error:
        raise FlowpriorError(
            f"prior 'flow' is built on zuko, which is not installed; {pip_install('flows')}"
        ) from error
    options: dict[str, Any] = {"hidden_features": (hidden, hidden), "activation": nn.SiLU}
    spline: dict[str, Any] = {
        "univariate": partial(MonotonicRQSTransform, slope=1e-3),
        "shapes": [(BINS,), (BINS,), (BINS - 1,)],
    }
    elementwise = ElementWiseTransform(features, context, **spline, **options)
    affine = {"univariate": partial(MonotonicAffineTransform, slope=LEAST_SCALE)}
    options |= spline if kind == "spline" else affine
    base = UnconditionalDistribution(DiagNormal, torch.zeros(features), torch.ones(features), buffer=True)
    couplings = [
        GeneralCouplingTransform(features, context, mask=_mask(features, index), **options)
        for index in range(transforms)
    ]
    flow = Flow([elementwise, *couplings], base)
    _start_as_the_identity(flow)
    return flow


def _mask(features: int, index: int) -> Any:
    """Return the masks of the couplings: every second feature, then random halves that cover all in pairs."""
    order = torch.arange(features)
    if index >= 2:
        generator = torch.Generator().manual_seed(index // 2)
        order = torch.randperm(features, generator=generator)
    return order % 2 == index % 2


def _start_as_the_identity(flow: nn.Module) -> None:
    """Zero the last layer of every coupling's network, so that it starts as the identity."""
    for module in flow.modules():
        hyper, phi = getattr(module, "hyper", None), getattr(module, "phi", None)
        layers = [layer for layer in hyper if list(layer.parameters())] if hyper is not None else [phi]
        for parameter in layers[-1].parameters() if layers[-1] is not None else ():
            nn.init.zeros_(parameter)
