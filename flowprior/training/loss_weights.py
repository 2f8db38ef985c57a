"""LossWeight: how much the squared error of a velocity counts, by time and by pixel."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from torch import Tensor

from flowprior.errors import OptionError
from flowprior.registry import Registered, Registry, check_numbers


class LossWeight(Registered):
    """Base class of the weights of the loss, 1 for every error; named by ``training.loss_weight``."""

    registry: ClassVar[Registry[Any]] = Registry("loss weight", "flowprior.loss_weights")

    def weight(self, t: Tensor, scale: Tensor | None) -> Tensor | None:
        """Weights that multiply the squared errors ``[B, *event]``; None for 1.

        Args:
            t: times ``[B]``.
            scale: c_out ``[B, *event]``, the standard deviation of what the network learns; None where the
                prediction has none.
        """
        return None

    def check(self, prediction: str) -> None:
        """Raise OptionError where a network of this ``prediction`` cannot be trained with these weights."""


class ErrorWeight(LossWeight, abc.ABC):
    """Base class of weights that follow the errors of each event."""

    @abc.abstractmethod
    def of_errors(self, errors: Tensor) -> Tensor:
        """Weights ``[B]`` of events whose mean squared errors are ``errors`` ``[B]``, without gradients."""


@LossWeight.register("none")
class Unweighted(LossWeight):
    """Every squared error alike."""


@LossWeight.register("output-scale")
class OutputScaleWeight(LossWeight):
    """c_out^(−2 power), c_out the output scale of prediction ``preconditioned``.

    With power 1 the network's own output is regressed with equal weights everywhere (Karras et al. 2022,
    section 5); with power 0 the velocity is.

    Args:
        power: in [0, 1].
    """

    def __init__(self, power: float = 1.0) -> None:
        check_numbers("loss weight 'output-scale'", power=(power, 0, 1))
        self.power = power

    def weight(self, t: Tensor, scale: Tensor | None) -> Tensor | None:
        assert scale is not None
        return scale.detach().pow(-2 * self.power)

    def check(self, prediction: str) -> None:
        if prediction != "preconditioned":
            raise OptionError(
                f"loss weight 'output-scale' needs prediction 'preconditioned', which has an output scale, "
                f"got '{prediction}'; use loss_weight 'none'"
            )


@LossWeight.register("adaptive")
class AdaptiveWeight(ErrorWeight):
    """(e + floor)^(−power) for an event of mean squared error e: events with large errors count less.

    With power ½ the gradient is that of the pseudo-Huber loss (Lee et al. 2024, arXiv 2405.20320, section
    4.2), with 1 that of the logarithm of the error, which MeanFlow takes (arXiv 2505.13447, eq. 22).

    Args:
        power: in [0, 2].
        floor: above 0; errors far below it count alike.
    """

    def __init__(self, power: float = 1.0, floor: float = 1e-3) -> None:
        check_numbers("loss weight 'adaptive'", power=(power, 0, 2), floor=(floor, 1e-12, 1e12))
        self.power, self.floor = power, floor

    def of_errors(self, errors: Tensor) -> Tensor:
        return (errors + self.floor).pow(-self.power)
