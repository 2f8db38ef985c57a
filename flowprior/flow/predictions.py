"""Prediction: what a network is shown of x_t, and how its output F becomes a velocity: u = offset + scale F.

A family whose members have names. Training and :class:`flowprior.Flow` both ask here, so that what is learned
is what is used. A prediction owns its times: it says which distributions of them it is trained on, which time
is that of the path's point, and which times a network is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions
from flowprior.couplings import Coupling
from flowprior.couplings.drawing import PosteriorCoupling
from flowprior.couplings.pair_law import PairLaw
from flowprior.errors import OptionError
from flowprior.models import build_model
from flowprior.paths import Path, velocity_of_source
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry

LAST = 0.7
"""The time at which a long last step begins."""
LAST_STEP_LONG = f"grid=last,at={LAST}"
SINGLE_TIMES = "single times"
"""The name of what most timestep distributions draw, and most predictions are trained on."""


class Given:
    """The condition of B rows, and the law of their pairs, made when it is first asked for.

    Args:
        prior, coupling: of the pairs.
        cond: the condition of each row.
        rows: B.
    """

    def __init__(self, prior: Prior, coupling: Coupling, cond: Conditions | None, rows: int) -> None:
        self.prior, self.coupling, self.cond, self.rows = prior, coupling, cond, rows

    @cached_property
    def law(self) -> PairLaw:
        """The law of which the network is shown, for a prior and coupling that have one."""
        law = self.coupling.first.law(self.prior, self.cond, self.rows)
        assert law is not None
        return law


class View(NamedTuple):
    """The inputs of a network and the meaning of its output; None stands for an offset of 0 and a scale of 1.

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


Network = Callable[[Tensor, Tensor, Any], Tensor]
"""A network's output ``[B, *event]`` for its inputs, times and the condition."""


class Prediction(Registered):
    """The network gives the velocity itself; other predictions derive from this one.

    Times of a training are a tensor of B rows. Outside of the prediction nothing is known of a row: it goes
    from the distribution of the times to :meth:`instant` and :meth:`compared`. Both take times ``[B]``, too.

    Args:
        prior, coupling, path: whose pairs are joined.
    """

    registry: ClassVar[Registry[Any]] = Registry("prediction", "flowprior.predictions")
    inputs: int = 1
    """Tensors of the event's shape that the network is shown side by side."""
    trained_on: ClassVar[str] = SINGLE_TIMES
    """The name of what its timestep distributions draw (:class:`flowprior.training.TimeDistribution`)."""

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        self.prior, self.coupling, self.path = prior, coupling, path

    @classmethod
    def suited_times(cls, coupling: Coupling) -> str:
        """Return the spec of the distribution of the times that trains best."""
        return "uniform"

    @classmethod
    def suited_sampler(cls, coupling: Coupling) -> str:
        """Return the spec of the sampler that suits a flow of it."""
        return "euler"

    def check_precision(self, precision: str) -> None:
        """Raise OptionError where training in ``precision`` loses what is learned from."""

    def network(self, spec: str, event_shape: torch.Size, condition: Condition) -> nn.Module:
        """Build the network that ``spec`` names, for what it is shown.

        Raises:
            OptionError: a model that cannot be shown it; see :func:`flowprior.models.build_model`.
        """
        return build_model(spec, event_shape, condition, self.inputs)

    def instant(self, times: Tensor) -> Tensor:
        """Return the times ``[B]`` of the path's points."""
        return times

    def given(self, cond: Conditions | None, rows: int) -> Given:
        """Return the condition of so many rows with the law of their pairs."""
        return Given(self.prior, self.coupling, cond, rows)

    def view(self, x: Tensor, t: Tensor, given: Given) -> View:
        """Return what the network is shown of x ``[B, *event]`` at times ``[B]`` under the condition."""
        return View(x)

    def velocity(self, output: Tensor, view: View, x: Tensor, t: Tensor) -> Tensor:
        """Return u ``[B, *event]`` from the network's ``output``."""
        scaled = view.scaled(output)
        return scaled if view.offset is None else scaled + view.offset

    def regression(self, output: Tensor, view: View, x0: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two that the loss compares, output and target, both ``[B, *event]``."""
        return view.scaled(output), u if view.offset is None else u - view.offset

    def compared(
        self, network: Network, x0: Tensor, x: Tensor, u: Tensor, t: Tensor, cond: Conditions | None
    ) -> tuple[Tensor, Tensor]:
        """Return output and target of the loss, at points x ``[B, *event]`` of paths with velocities u."""
        view = self.view(x, t, self.given(cond, len(x)))
        return self.regression(network(view.inputs, t, cond), view, x0, u)

    def answer(self, network: Network, x: Tensor, t: Tensor, given: Given) -> Tensor:
        """Return the velocity ``[B, *event]`` at x ``[B, *event]``, in one call of the network."""
        view = self.view(x, t, given)
        return self.velocity(network(view.inputs, t, given.cond), view, x, t)

    def average(self, network: Network, x: Tensor, begin: Tensor, end: Tensor, given: Given) -> Tensor:
        """Return the average velocity ``[B, *event]`` from x at ``begin`` to ``end``, for one call.

        It follows from the velocity at the beginning and the law of the pairs.

        Raises:
            OptionError: the law is not known.
        """
        law, path = self._exact_law(given), self.path
        return law.average(x, path.at(begin), path.at(end), self.answer(network, x, begin, given))

    def linear(self, network: Network, x: Tensor, begin: Tensor, end: Tensor, given: Given) -> Tensor:
        """Return the average of the linear velocity alone, for no call of the network; as :meth:`average`."""
        return self._exact_law(given).average(x, self.path.at(begin), self.path.at(end))

    def _exact_law(self, given: Given) -> PairLaw:
        """Return the law of the pairs themselves, which that of the network's first coupling need not be."""
        what, instead = "the average velocity of an interval", "prediction 'average-velocity'"
        self.coupling.require_law(self.prior, what, instead)
        self.path.require_no_noise(what)
        return given.law


Prediction.register("velocity")(Prediction)


@Prediction.register("residual")
class Residual(Prediction):
    """The velocity less the linear velocity of the pairs (:mod:`flowprior.couplings.pair_law`)."""

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        super().__init__(prior, coupling, path)
        instead = "prediction 'velocity' (--set training.prediction=velocity)"
        coupling.first.require_law(prior, f"prediction '{self.name}'", instead)
        path.require_no_noise(f"prediction '{self.name}'")

    @classmethod
    def suited_sampler(cls, coupling: Coupling) -> str:
        return f"euler:{LAST_STEP_LONG}" if follows_data(coupling) else "euler"

    def view(self, x: Tensor, t: Tensor, given: Given) -> View:
        return View(x, offset=given.law.velocity(x, self.path.at(t)))


@Prediction.register("preconditioned")
class Preconditioned(Residual):
    """The velocity less the linear one, in units of its own standard deviation c_out.

    Beside x_t the network is shown (x_t − E[x_t])/s_in, s_in² the variance of x_t, and the mean μ_c of the
    data: the preconditioning of Karras et al. (2022, eq. 7) for a designed source, per condition and pixel.
    """

    inputs: int = 3

    @classmethod
    def suited_times(cls, coupling: Coupling) -> str:
        return "logit-normal"

    def view(self, x: Tensor, t: Tensor, given: Given) -> View:
        standard, velocity, deviation = given.law.standardised(x, self.path.at(t))
        mean = given.law.data_mean.view_as(x).to(x.dtype)
        return View(torch.cat([x, standard, mean], dim=1), velocity, deviation)


@Prediction.register("epsilon")
class Epsilon(Prediction):
    """The source sample x0, DDPM's noise where the source is N(0, I) (Ho et al. 2020, eq. 14).

    Raises:
        OptionError: a path with α(0) = 0: x0 then says nothing of where it leads, so no velocity follows.
    """

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        super().__init__(prior, coupling, path)
        at_start = path.coefficients(torch.zeros(1, dtype=torch.float64))
        if not float(at_start.alpha) > 0:
            raise OptionError(
                f"prediction 'epsilon' needs a path that keeps a trace of the data sample at t = 0, got path "
                f"'{path.name}', which keeps none; use the path 'vp', or prediction 'velocity'"
            )

    def velocity(self, output: Tensor, view: View, x: Tensor, t: Tensor) -> Tensor:
        return velocity_of_source(self.path, output, x, t)

    def regression(self, output: Tensor, view: View, x0: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return output, x0


def kind_of(name: str) -> type[Prediction]:
    """Return the class of the prediction ``name``.

    Raises:
        UnknownComponentError: there is none.
    """
    return cast("type[Prediction]", Prediction.record(name).factory)


def follows_data(coupling: Coupling) -> bool:
    """Return whether source samples are inferred from their data, and so follow them where these vary much.

    Little noise is left near the end then, which a network hardly sees: it is best removed in one long step.
    """
    return isinstance(coupling.first, PosteriorCoupling)
