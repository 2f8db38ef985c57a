"""Prediction: what a network is shown of x_t, and how its output F becomes a velocity: u = offset + scale F.

A family whose members have names. Training and :class:`flowprior.Flow` both ask here, so that what is learned
is what is used. A prediction owns its times: it says which distributions of them it is trained on, which time
is that of the path's point, and what a network is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.flow.linear_velocity import LinearVelocity, averaging
from flowprior.flow.pair_moments import PairMoments, check_moments
from flowprior.models import build_model
from flowprior.paths import Path, velocity_of_source
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry, choose
from flowprior.samplers import Sampler

LAST = 0.7
"""The time at which a long last step begins."""
LAST_STEP_LONG = f"grid=last,at={LAST}"
SINGLE_TIMES = "single times"
"""The name of what most timestep distributions draw, and most predictions are trained on."""


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

    @classmethod
    def check_sampler(cls, sampler: Sampler) -> None:
        """Raise OptionError where ``sampler`` asks a flow of it for what it does not tell."""

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

    def answer(self, network: Network, x: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        """Return the velocity ``[B, *event]`` at x ``[B, *event]``, in one call of the network."""
        view = self.view(x, t, cond)
        return self.velocity(network(view.inputs, t, cond), view, x, t)

    def average(
        self, network: Network, x: Tensor, begin: Tensor, end: Tensor, cond: Conditions | None
    ) -> Tensor:
        """Return the average velocity ``[B, *event]`` from x at ``begin`` to ``end``, for one call.

        It follows from the velocity at the beginning and the linear velocity
        (:meth:`flowprior.flow.linear_velocity.LinearVelocity.carrying`).

        Raises:
            OptionError: the moments of the pairs are not known.
        """
        linear = averaging(self.prior, self.coupling, self.path)
        return linear.carrying(self.answer(network, x, begin, cond), x, begin, end, cond)


Prediction.register("velocity")(Prediction)


@Prediction.register("residual")
class Residual(Prediction):
    """What the linear velocity of the pairs' moments leaves (:mod:`flowprior.flow.linear_velocity`)."""

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        super().__init__(prior, coupling, path)
        self.linear = LinearVelocity(prior, coupling, path)

    @classmethod
    def suited_sampler(cls, coupling: Coupling) -> str:
        return f"euler:{LAST_STEP_LONG}" if follows_data(coupling) else "euler"

    def view(self, x: Tensor, t: Tensor, cond: Conditions | None) -> View:
        return View(x, offset=self.linear(x, t, cond))


@Prediction.register("preconditioned")
class Preconditioned(Residual):
    """What the linear velocity leaves, in units of its own standard deviation c_out.

    Beside x_t the network is shown (x_t − E[x_t])/s_in, s_in² the variance of x_t, and the mean μ_c of the
    data: the preconditioning of Karras et al. (2022, eq. 7) for a designed source, per condition and pixel.
    """

    inputs: int = 3

    @classmethod
    def suited_times(cls, coupling: Coupling) -> str:
        return "logit-normal"

    def view(self, x: Tensor, t: Tensor, cond: Conditions | None) -> View:
        return self.view_of(x, PairMoments.at(self.prior, self.coupling, self.path, t, cond))

    def view_of(self, x: Tensor, moments: PairMoments) -> View:
        """What the network is shown of x ``[B, *event]`` where these are the moments of its pairs."""
        flat = x.flatten(1).to(moments.frame.loc.dtype)
        tensors = (moments.frame.loc, *moments.standardised(flat))
        mean, standard, velocity, scale = (tensor.view_as(x).to(x.dtype) for tensor in tensors)
        return View(torch.cat([x, standard, mean], dim=1), velocity, scale)


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
                f"prediction 'epsilon' needs a path that keeps a trace of the datum at t = 0, got path "
                f"'{path.name}', which keeps none; use the path 'vp', or prediction 'velocity'"
            )

    def velocity(self, output: Tensor, view: View, x: Tensor, t: Tensor) -> Tensor:
        return velocity_of_source(self.path, output, x, t)

    def regression(self, output: Tensor, view: View, x0: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return output, x0


def check_name(owner: str, option: str, name: str, *others: str) -> str:
    """Return ``name`` where it is that of a prediction, or one of the words that may stand in its place.

    Raises:
        OptionError: it is not; the message names the nearest.
    """
    if name in others or Prediction.registry.knows(name):
        return name
    return choose(owner, option, name, [*others, *Prediction.available()])


def kind_of(name: str) -> type[Prediction]:
    """Return the class of the prediction ``name``.

    Raises:
        OptionError: there is none.
    """
    record = Prediction.record(check_name("training", "prediction", name))
    return cast("type[Prediction]", record.factory)


def make_prediction(name: str, prior: Prior, coupling: Coupling, path: Path) -> Prediction:
    """Return the prediction of this name.

    Raises:
        OptionError: an unknown one, or one that this prior, coupling or path cannot serve.
    """
    return kind_of(name)(prior, coupling, path)


def follows_data(coupling: Coupling) -> bool:
    """Return whether source samples follow their data nearly all the way where these vary much.

    Little noise is left near the end then, as under ``posterior``, which a network hardly sees: it is best
    removed in one long step.
    """
    slope = coupling.latent_slope(torch.full((1, 1), 100.0))
    return slope is not None and float(slope) > 0.5


def check_sampler(sampler: Sampler, name: str, prior: Prior, coupling: Coupling) -> None:
    """Refuse a sampler that asks a flow of the prediction ``name`` for what it does not tell.

    Raises:
        OptionError: what to choose instead.
    """
    if sampler.start > 0:
        late = f"sampler '{sampler.name}' with start={sampler.start:g}"
        check_moments(prior, coupling, late, "start=0", exact=True)
        if sampler.stochastic:
            raise OptionError(f"{late} draws noise on the way, which cannot start late; use start=0")
    kind_of(name).check_sampler(sampler)
    if sampler.bends_by_moments:
        other = "another sampler (--sampler euler)"
        check_moments(prior, coupling, f"sampler '{sampler.name}'", other, exact=True)
    if sampler.predictions and name not in sampler.predictions:
        needed = sampler.predictions[0]
        raise OptionError(
            f"sampler '{sampler.name}' needs a flow of prediction '{needed}', got '{name}'; choose "
            f"another sampler (--sampler euler), or train with --set training.prediction={needed}"
        )
