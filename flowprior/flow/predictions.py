"""Prediction: what a network is shown of x_t, and how its output F becomes a velocity: u = offset + scale F.

The names stand in :mod:`flowprior.flow.prediction_kinds`. Training and :class:`flowprior.Flow` both ask here,
so that what is learned is what is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.flow.linear_velocity import LinearVelocity
from flowprior.flow.pair_moments import PairMoments, check_moments
from flowprior.paths import Path, velocity_of_source
from flowprior.priors import Prior


class View(NamedTuple):
    """What the network is shown, and what its output means; None stands for an offset of 0 and a scale of 1.

    Attributes:
        inputs: ``[B, *event]``, or several of them side by side along their first dimension.
        offset: ``[B, *event]``.
        scale: c_out ``[B, *event]``.
    """

    inputs: Tensor
    offset: Tensor | None = None
    scale: Tensor | None = None

    def scaled(self, output: Tensor) -> Tensor:
        """The network's output in units of the velocity."""
        return output if self.scale is None else self.scale * output


class Compared(NamedTuple):
    """What a loss compares: what a network says and what it should, ``[B, *event]``, and the view's scale."""

    said: Tensor
    target: Tensor
    scale: Tensor | None


Network = Callable[[Tensor, Tensor, Any], Tensor]
"""A network's output ``[B, *event]`` for its inputs, times and the condition."""


class Prediction:
    """The network gives the velocity itself; other predictions derive from this one.

    Args:
        prior, coupling, path: whose pairs are joined.
    """

    inputs: int = 1
    """Tensors of the event's shape that the network is shown side by side."""
    interval: bool = False
    """Whether the network's times are ``[B, 2]``, beginning and end of an interval."""
    times: str = "uniform"
    """The law of the times that trains best (:class:`flowprior.training.TimeDistribution`)."""

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        self.path = path

    def view(self, x: Tensor, t: Tensor, cond: Conditions | None) -> View:
        """What the network is shown of x ``[B, *event]`` at times ``[B]`` under the condition."""
        return View(x)

    def velocity(self, output: Tensor, view: View, x: Tensor, t: Tensor) -> Tensor:
        """u ``[B, *event]`` from the network's ``output``."""
        scaled = view.scaled(output)
        return scaled if view.offset is None else scaled + view.offset

    def regression(self, output: Tensor, view: View, x0: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """What the loss compares: what the network says and what it should, both ``[B, *event]``."""
        return view.scaled(output), u if view.offset is None else u - view.offset

    def compared(
        self, network: Network, x0: Tensor, x: Tensor, u: Tensor, t: Tensor, cond: Conditions | None
    ) -> Compared:
        """What the loss compares at the points x ``[B, *event]`` of paths from x0 with velocities u."""
        view = self.view(x, t, cond)
        said, target = self.regression(network(view.inputs, t, cond), view, x0, u)
        return Compared(said, target, view.scale)


class Residual(Prediction):
    """What the linear velocity of the pairs' moments leaves (:mod:`flowprior.flow.linear_velocity`)."""

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        super().__init__(prior, coupling, path)
        self.linear = LinearVelocity(prior, coupling, path)

    def view(self, x: Tensor, t: Tensor, cond: Conditions | None) -> View:
        return View(x, offset=self.linear(x, t, cond))


class Preconditioned(Prediction):
    """What the linear velocity leaves, in units of its own standard deviation c_out.

    Beside x_t the network is shown (x_t − E[x_t])/s_in, s_in² the variance of x_t, and the mean μ_c of the
    data: the preconditioning of Karras et al. (2022, eq. 7) for a designed source, per condition and pixel.
    """

    inputs: int = 3
    times: str = "logit-normal"

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        super().__init__(prior, coupling, path)
        check_moments(prior, coupling)
        self.prior, self.coupling = prior, coupling

    def view(self, x: Tensor, t: Tensor, cond: Conditions | None) -> View:
        return self.view_of(x, PairMoments.at(self.prior, self.coupling, self.path, t, cond))

    def view_of(self, x: Tensor, moments: PairMoments) -> View:
        """What the network is shown of x ``[B, *event]`` where these are the moments of its pairs."""
        flat = x.flatten(1).to(moments.frame.loc.dtype)
        tensors = (moments.frame.loc, *moments.standardised(flat))
        mean, standard, velocity, scale = (tensor.view_as(x).to(x.dtype) for tensor in tensors)
        return View(torch.cat([x, standard, mean], dim=1), velocity, scale)


class Epsilon(Prediction):
    """The source sample x0, DDPM's noise where the source is N(0, I) (Ho et al. 2020, eq. 14)."""

    def velocity(self, output: Tensor, view: View, x: Tensor, t: Tensor) -> Tensor:
        return velocity_of_source(self.path, output, x, t)

    def regression(self, output: Tensor, view: View, x0: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return output, x0
