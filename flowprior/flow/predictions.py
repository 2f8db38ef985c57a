"""Prediction: what a network is shown of x_t, and how its output F becomes a velocity: u = offset + scale F.

The names stand in :data:`flowprior.paths.prediction.PREDICTIONS`. Training and :class:`flowprior.Flow` both
ask here, so that what is learned is what is used.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.flow.linear_velocity import LinearVelocity
from flowprior.flow.pair_moments import PairMoments, check_moments
from flowprior.paths import Path, check_prediction, velocity_of_source
from flowprior.priors import Prior

LAST_STEP_LONG = "euler:grid=last,at=0.7"


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


class Prediction:
    """The network gives the velocity itself; other predictions derive from this one.

    Args:
        prior, coupling, path: whose pairs are joined.
    """

    inputs: int = 1
    """Tensors of the event's shape that the network is shown side by side."""
    beside: int = 0
    """Tensors that a view holds beside its inputs."""
    takes_moments: bool = False
    """Whether the network learns what the moments of the pairs leave, whatever their means are."""
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


class Residual(Prediction):
    """What the linear velocity of the pairs' moments leaves (:mod:`flowprior.flow.linear_velocity`)."""

    beside: int = 1
    takes_moments: bool = True

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
    beside: int = 2
    takes_moments: bool = True
    times: str = "logit-normal"

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        super().__init__(prior, coupling, path)
        check_moments(prior, coupling)
        self.prior, self.coupling = prior, coupling

    def view(self, x: Tensor, t: Tensor, cond: Conditions | None) -> View:
        moments = PairMoments.at(self.prior, self.coupling, self.path, t, cond)
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


KINDS: dict[str, type[Prediction]] = {
    "velocity": Prediction,
    "residual": Residual,
    "preconditioned": Preconditioned,
    "epsilon": Epsilon,
}


def suited_sampler(name: str, coupling: Coupling) -> str:
    """Spec of the sampler that suits a prediction.

    Where source samples follow their data nearly all the way, as under ``posterior``, little noise is left
    near the end, which a network hardly sees: the last step is a long one. Else steps are equal.
    """
    slope = coupling.latent_slope(torch.full((1, 1), 100.0))
    follows = slope is not None and float(slope) > 0.5
    return LAST_STEP_LONG if follows and name in ("residual", "preconditioned") else "euler"


def inputs_of(name: str) -> int:
    """Tensors of the event's shape that the network of a prediction is shown; 1 where none is chosen yet."""
    return KINDS.get(name, Prediction).inputs


def make_prediction(name: str, prior: Prior, coupling: Coupling, path: Path) -> Prediction:
    """The prediction of this name.

    Raises:
        OptionError: an unknown one, or one that this prior, coupling or path cannot serve.
    """
    return KINDS[check_prediction(path, name)](prior, coupling, path)
