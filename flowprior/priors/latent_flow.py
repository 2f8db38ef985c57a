"""A conditional normalising flow of the latent coordinates, through zuko, of fixed mean and covariance."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.errors import FlowpriorError, pip_install
from flowprior.mixtures.grouped import times_table
from flowprior.models.embeddings import ConditionEmbedding
from flowprior.ops.random import quasi_normal

CONTEXT = 16
LEAST_SCALE = 0.5
"""Scales of the affine couplings lie in (0.5, 2): looser ones throw a few samples far out."""
BINS = 8
NODES = 16384
CHUNK = 2048


class LatentFlow(nn.Module):
    """h = L⁻¹ (f(ε; c) − m): the layers f of zuko, then an affine map to mean 0 and covariance I.

    Of the layers the one next to the data bends each coordinate by itself, by a monotonic spline, as marginal
    Gaussianisation does (Chen & Gopinath 2000). Affine couplings move a coordinate only as others tell, so
    they cannot part two modes that lie along one principal axis, nor change a single coordinate at all.
    The layers start as the identity. Maximum likelihood leaves a flow's samples with a spread that is some
    ten per cent off the data's; :meth:`calibrate` sets m and L of each condition to the flow's own moments.

    Args:
        condition: what the flow is told.
        features: r, numbers in h.
        transforms: coupling layers.
        hidden: width of their networks.
        kind: ``"affine"`` (RealNVP, Dinh et al. 2016) or ``"spline"`` (Durkan et al. 2019).
        conditions: C, rows of the moments.

    Raises:
        FlowpriorError: zuko is not installed.
    """

    shift: Tensor
    triangle: Tensor

    def __init__(
        self, condition: Condition, features: int, transforms: int, hidden: int, kind: str, conditions: int
    ) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(condition, CONTEXT)
        self.flow = _couplings(features, CONTEXT if condition.kind != "none" else 0, transforms, hidden, kind)
        self.register_buffer("shift", torch.zeros(conditions, features))
        self.register_buffer("triangle", torch.eye(features).repeat(conditions, 1, 1))

    def log_prob(self, h: Tensor, cond: Tensor | None, rows: Tensor) -> Tensor:
        """log p(h | c) ``[n]``; ``rows`` ``[n]`` say whose moments were fixed."""
        if not len(h):
            return h.new_zeros(0)
        moved = times_table(h, rows, self.triangle.mT) + self.shift[rows]
        log_det = self.triangle.diagonal(dim1=1, dim2=2).log().sum(1)
        return self.flow(self.embed(cond)).log_prob(moved) + log_det[rows]

    def transform(self, noise: Tensor, cond: Tensor | None, rows: Tensor) -> Tensor:
        """h ``[n, r]`` from standard normal ``noise`` ``[n, r]``."""
        if not len(noise):
            return noise
        identity = torch.eye(noise.shape[1], dtype=noise.dtype, device=noise.device)
        inverse = torch.linalg.solve_triangular(self.triangle, identity, upper=False)
        return times_table(self._raw(noise, cond) - self.shift[rows], rows, inverse.mT)

    @torch.no_grad()
    def calibrate(self, conditions: Iterable[tuple[int, Tensor | None]]) -> None:
        """Set the moments of each given row from quasi-random draws under its conditions ``[m, …]``."""
        for row, cond in conditions:
            draws = self._draws(cond)
            deviation = draws - draws.mean(0)
            covariance = deviation.T @ deviation / len(draws)
            self.shift[row] = draws.mean(0).to(self.shift)
            self.triangle[row] = torch.linalg.cholesky(covariance).to(self.triangle)

    def _draws(self, cond: Tensor | None) -> Tensor:
        """``NODES`` draws of the layers, float64 ``[NODES, r]``, over the rows of ``cond`` in turn."""
        nodes = quasi_normal(NODES, self.shift.shape[1], self.shift)
        if cond is not None:
            cond = cond[torch.arange(NODES, device=cond.device) % len(cond)]
        parts = cond.split(CHUNK) if cond is not None else [None] * (NODES // CHUNK)
        return torch.cat([self._raw(n, c).double() for n, c in zip(nodes.split(CHUNK), parts, strict=True)])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(features={self.shift.shape[1]}, conditions={len(self.shift)})"

    def _raw(self, noise: Tensor, cond: Tensor | None) -> Tensor:
        h = noise
        for layer in reversed(self.flow(self.embed(cond)).transform.transforms):
            h = _invert(layer, h)
        return h


def _couplings(features: int, context: int, transforms: int, hidden: int, kind: str) -> nn.Module:
    """zuko's flow: each feature by itself, then half of the features, another half each time, by the rest."""
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
    alone = ElementWiseTransform(features, context, **spline, **options)
    if kind == "spline":
        options |= spline
    else:
        options["univariate"] = partial(MonotonicAffineTransform, slope=LEAST_SCALE)
    base = UnconditionalDistribution(DiagNormal, torch.zeros(features), torch.ones(features), buffer=True)
    masks: Any = (_mask(features, index) for index in range(transforms))
    couplings = [GeneralCouplingTransform(features, context, mask=mask, **options) for mask in masks]
    flow = Flow([alone, *couplings], base)
    _start_as_the_identity(flow)
    return flow


def _invert(layer: Any, h: Tensor) -> Tensor:
    """As ``layer.inv(h)``, whose transforms hold each other and so keep their tensors for a while."""
    if not hasattr(layer, "meta"):
        return layer.base._inverse(h)
    kept, moved = layer.split(h)
    return layer.merge(kept, layer.meta(kept).base._inverse(moved), h.shape)


def _mask(features: int, index: int) -> Tensor:
    """Every second feature at first; then random halves, of which each pair of layers covers all."""
    order = torch.arange(features)
    if index >= 2:
        generator = torch.Generator().manual_seed(index // 2)
        order = torch.randperm(features, generator=generator)
    return order % 2 == index % 2


def _start_as_the_identity(flow: nn.Module) -> None:
    """Zero the last layer of every coupling's network, or what stands in its place."""
    for module in flow.modules():
        hyper, phi = getattr(module, "hyper", None), getattr(module, "phi", None)
        layers = [layer for layer in hyper if list(layer.parameters())] if hyper is not None else [phi]
        for parameter in layers[-1].parameters() if layers[-1] is not None else ():
            nn.init.zeros_(parameter)
