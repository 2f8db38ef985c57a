"""What a network predicts, and the two ends of an affine path as functions of each other.

On x = α x1 + σ x0 with velocity u = α' x1 + σ' x0, any one of x0, x1 and u gives the other two. With
Δ = α σ' − σ α':

    x0 = (α u − α' x) / Δ        x1 = (σ' x − σ u) / Δ        u = (α' x + Δ x0) / α

All three are linear, so the same holds of their means given x, which is what a network learns. Between
N(0, I) and the data x0 is the noise ε, and its prediction is the objective of DDPM (Ho et al. 2020, eq. 14).

A network that predicts the ``residual`` gives what is left of u beyond the linear velocity of the pairs'
first two moments (:mod:`flowprior.flow.linear_velocity`); one that is ``preconditioned`` gives that in units
of its own standard deviation (:mod:`flowprior.flow.predictions`). One that predicts the ``average-velocity``
gives that of a whole interval of time (:mod:`flowprior.flow.average_velocity`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.paths.base import Coefficients, Path
from flowprior.registry import choose

PREDICTIONS = ("velocity", "epsilon", "residual", "preconditioned", "average-velocity")


class Ends(NamedTuple):
    """Source sample x0 and datum x1 of a path, both ``[B, *event]``."""

    x0: Tensor
    x1: Tensor


def check_prediction(path: Path, prediction: str) -> str:
    """Check that a network on ``path`` can be trained on ``prediction`` and return it.

    Raises:
        OptionError: an unknown prediction, or ``"epsilon"`` on a path with α(0) = 0: x0 then says
            nothing of where the path leads, so no velocity follows from it.
    """
    choose("training", "prediction", prediction, PREDICTIONS)
    at_start = path.coefficients(torch.zeros(1, dtype=torch.float64))
    if prediction == "epsilon" and not float(at_start.alpha) > 0:
        raise OptionError(
            f"prediction 'epsilon' needs a path that keeps a trace of the datum at t = 0, got path "
            f"'{path.name}', which keeps none; use the path 'vp', or prediction 'velocity'"
        )
    return prediction


def velocity_of_source(path: Path, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """u ``[B, *event]`` at x ``[B, *event]`` and t ``[B]`` where x0 (ε) is given or predicted.

    Only for paths with α(0) > 0, see :func:`check_prediction`.
    """
    alpha, sigma, alpha_dot, sigma_dot = _columns(path, x, t)
    return (alpha_dot * x + (alpha * sigma_dot - sigma * alpha_dot) * x0) / alpha


def ends_of_velocity(path: Path, u: Tensor, x: Tensor, t: Tensor) -> Ends:
    """Source sample and datum of the path that passes x ``[B, *event]`` at t ``[B]`` with velocity u."""
    alpha, sigma, alpha_dot, sigma_dot = _columns(path, x, t)
    delta = alpha * sigma_dot - sigma * alpha_dot
    return Ends((alpha * u - alpha_dot * x) / delta, (sigma_dot * x - sigma * u) / delta)


def _columns(path: Path, x: Tensor, t: Tensor) -> Coefficients:
    """The coefficients, each shaped to multiply x."""
    ones = [1] * (x.dim() - 1)
    return Coefficients(*(c.view(-1, *ones).to(x.dtype) for c in path.coefficients(t)))
