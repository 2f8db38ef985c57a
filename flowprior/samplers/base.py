"""Sampler: from a source sample at t = 0, at a temperature and guided by the prior, to a sample at t = 1."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.display.shown import Shown, counted, shape_of
from flowprior.errors import CouplingError, InputError, OptionError
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry
from flowprior.registry.options import check_not_negative, check_numbers, is_whole

Velocity = Callable[[Tensor, Tensor, Any], Tensor]
"""v(x ``[B, *event]``, t ``[B]``, cond) -> ``[B, *event]``."""
AverageOf = Callable[[Tensor, Tensor, Tensor, Any], Tensor]
"""average(x ``[B, *event]``, begin ``[B]``, end ``[B]``, cond) -> ``[B, *event]``, from x at ``begin`` on."""


@dataclass(frozen=True)
class AveragedVelocity:
    """A velocity with its average over an interval of time, which some samplers step by.

    Attributes:
        velocity: v(x, t, cond).
        average: over the interval from ``begin`` to ``end``: average(x, begin, end, cond).
        linear: the same of the linear velocity, by which a late start goes.
    """

    velocity: Velocity
    average: AverageOf
    linear: AverageOf | None = None

    def __call__(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
        """v(x, t, cond) ``[B, *event]``."""
        return self.velocity(x, t, cond)


@dataclass(frozen=True, repr=False)
class Solution(Shown):
    """The result of an integration.

    Attributes:
        x: samples ``[B, *event]`` at the last time.
        nfe: evaluations of the velocity, counted, not computed from the number of steps.
        times: ``[T]`` times of the trajectory, or of the two ends; 0 alone where no evaluation was spent.
        trajectory: ``[T, B, *event]`` on request, else None.
    """

    x: Tensor
    nfe: int
    times: Tensor
    trajectory: Tensor | None = None

    def heading(self) -> str:
        dtype = str(self.x.dtype).removeprefix("torch.")
        kept = "" if self.trajectory is None else f", trajectory at {counted(len(self.times), 'time')}"
        return f"Solution: samples {shape_of(self.x.shape)} in {dtype}, NFE {self.nfe}{kept}"


LATEST_START = 0.999
"""The latest time of the first evaluation: a network has to have some time left."""
MOST_EVALUATIONS = 1_000_000
"""The most evaluations that can be asked for; a grid of times is held for them."""


def check_nfe(owner: str, nfe: Any) -> None:
    """Check that ``nfe`` is a whole number, 1,000,000 at most; the least depends on the sampler.

    Raises:
        OptionError: it is not.
    """
    if not is_whole(nfe) or nfe > MOST_EVALUATIONS:
        raise OptionError(
            f"{owner}: nfe={nfe!r} is not possible; choose a whole number, {MOST_EVALUATIONS:,} at most"
        )


class Sampler(Registered, abc.ABC):
    """Base class of samplers. Implementations give :meth:`solve`.

    Every registered sampler has the options ``temperature`` and ``prior_guidance`` beside its own; the names
    are reserved for them.

    Args:
        temperature: factor of a source sample's distance from the prior's mean of its condition; 1 leaves it.
            Below 1 samples lie nearer to what is typical of the condition, at the price of their variety:
            the reduced temperature of Glow (Kingma & Dhariwal 2018, arXiv 1807.03039), and in flow matching
            of Matcha-TTS (Mehta et al. 2023, arXiv 2309.03199). At 0 all samples of a condition are
            one. What a stochastic sampler draws on the way stays as it is.
        prior_guidance: how far source samples are moved along what tells their condition from all others, the
            prior's mean of the condition less that of all together; 1 leaves them. Above 1 samples are more
            typical of their condition and less of others, as classifier-free guidance makes them (Ho &
            Salimans 2022), but before the network is called, which costs no evaluation and needs no dropped
            conditions.
    """

    registry: ClassVar[Registry[Any]] = Registry(
        "sampler", "flowprior.samplers", shared={"temperature": 1.0, "prior_guidance": 1.0}
    )
    adaptive: ClassVar[bool] = False
    """True if it chooses its evaluations by an error of the whole batch."""
    stochastic: bool = False
    """True if it draws noise on the way, so that all samples of a call have to be solved side by side."""
    starts_late: ClassVar[bool] = False
    """True if :meth:`from_time` is available."""
    start: float = 0.0
    """The time of the first evaluation."""
    carries: bool = False
    """True if it carries source samples to :attr:`start` itself."""
    temperature: float = 1.0
    prior_guidance: float = 1.0

    @property
    def source_options(self) -> SourceOptions:
        """The options of its source samples."""
        return SourceOptions(self.temperature, self.prior_guidance)

    def with_source(self, temperature: float | None = None, prior_guidance: float | None = None) -> Sampler:
        """The same sampler with other options of its source samples; None leaves what it has.

        Raises:
            OptionError: a negative number, or none that is finite.
        """
        given = {"temperature": temperature, "prior_guidance": prior_guidance}
        options = {option: value for option, value in given.items() if value is not None}
        other = copy.copy(self) if options else self
        for option, value in options.items():  # also where a plug-in's class is frozen
            object.__setattr__(other, option, check_not_negative("sampler", option, value))
        return other

    def from_time(self, start: float) -> Sampler:
        """The same sampler for states at the time ``start``, which it takes in place of source samples.

        Raises:
            OptionError: no number from 0 to 0.999, or a sampler that starts with source samples alone.
        """
        check_numbers("flow.sample", start=(start, 0.0, LATEST_START))
        if not self.starts_late:
            raise OptionError(
                f"flow.sample: sampler '{self.name}' starts with source samples alone, got a draft; use "
                "another one, such as 'euler'"
            )
        other = copy.copy(self)
        other.start, other.carries = float(start), False
        return other

    @abc.abstractmethod
    def solve(
        self,
        velocity: Velocity,
        x0: Tensor,
        cond: Conditions | None = None,
        *,
        nfe: int | None = None,
        trajectory: bool = False,
    ) -> Solution:
        """Integrate and report.

        Args:
            velocity: v(x, t, cond).
            x0: source samples ``[B, *event]``.
            cond: passed on to ``velocity``.
            nfe: evaluations of the velocity to spend, exactly. Adaptive samplers choose their own.
            trajectory: also return the states at the sampler's times.

        Raises:
            OptionError: an ``nfe`` that the sampler cannot spend exactly; the message names the nearest.
        """

    def prepare(
        self,
        path: Path,
        prior: Prior | None = None,
        coupling: Coupling | None = None,
        prediction: str = "",
        *,
        generator: torch.Generator | None = None,
    ) -> Sampler:
        """Return the sampler ready for a flow along ``path``; one that only follows the velocity is itself.

        Args:
            path: that the velocity was trained on.
            prior: that it starts from; None is not checked.
            coupling: which source sample belonged to which data sample in training; None is not checked.
            prediction: name of what its network predicts; empty is not checked.
            generator: source of the noise of a stochastic sampler, on the device of the source samples.

        Raises:
            OptionError: the sampler is not valid for this path, prior, coupling or prediction.
        """
        return self

    def integrate(
        self, velocity: Velocity, x0: Tensor, cond: Conditions | None = None, *, nfe: int | None = None
    ) -> Tensor:
        """x1 ``[B, *event]``; see :meth:`solve`."""
        return self.solve(velocity, x0, cond, nfe=nfe).x


class CountedVelocity:
    """A velocity that counts its evaluations and takes scalar times."""

    def __init__(self, velocity: Velocity, cond: Conditions | None) -> None:
        self.velocity = velocity
        self.cond = cond
        self.nfe = 0

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        self.nfe += 1
        return self.velocity(x, _rows(t, x), self.cond)

    def average(self, x: Tensor, begin: float, end: float) -> Tensor:
        """Return the average over the interval from ``begin`` to ``end``, for one evaluation.

        Raises:
            OptionError: the velocity has none.
        """
        self.nfe += 1
        return self._average("average", x, begin, end)

    def carried(self, x: Tensor, begin: float, end: float) -> Tensor:
        """Return the state at ``end`` to which the linear velocity carries x, for no evaluation.

        Raises:
            OptionError: the velocity has no linear part.
        """
        return x + (end - begin) * self._average("linear", x, begin, end)

    def _average(self, kind: str, x: Tensor, begin: float, end: float) -> Tensor:
        average: AverageOf | None = getattr(self.velocity, kind, None)
        if average is None:
            raise OptionError(
                "this sampler asks for averages of the velocity over intervals of time, which a function of "
                "one time does not have; give it AveragedVelocity(velocity, average, linear) or sample a flow"
            )
        return average(x, _rows(begin, x), _rows(end, x), self.cond)


def _rows(t: Tensor | float, x: Tensor) -> Tensor:
    """Return the time ``t`` for each row of x."""
    return torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))


@dataclass(frozen=True)
class SourceOptions:
    """Options of the source samples x0: temperature, and guidance by the prior.

    With m(c) the prior's mean of the condition and m̄ that of all conditions together, they become
    m(c) + temperature (x0 − m(c)) + (prior_guidance − 1) (m(c) − m̄).
    """

    temperature: float = 1.0
    prior_guidance: float = 1.0


PLAIN = SourceOptions()


def given_source(
    x0: Tensor, shape: torch.Size, n: int | None, options: SourceOptions, owner: str = "flow.sample"
) -> Tensor:
    """Return source samples ``[B, *shape]`` of the caller's own, checked; ``owner`` begins the message.

    Raises:
        InputError: another shape or number than ``n``, or numbers that are not finite.
        OptionError: they are to be moved.
    """
    if options != PLAIN:
        raise OptionError(
            f"{owner}: expected temperature=1 and prior_guidance=1 beside x0, which would be moved; move "
            "x0 yourself"
        )
    return given_rows(x0, "x0", shape, n, owner)


def given_rows(x: Tensor, name: str, shape: torch.Size, n: int | None, owner: str = "flow.sample") -> Tensor:
    """Return rows ``[B, *shape]`` of the caller's own, checked.

    Raises:
        InputError: another shape or number than ``n``, or numbers that are not finite.
    """
    expected = [n, *shape]
    if isinstance(x, Tensor) and list(x.shape) == expected and x.is_floating_point():
        if bool(torch.isfinite(x).all()):
            return x
        got = "NaN or infinite numbers"
    else:
        got = f"{x.dtype} of shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
    raise InputError(
        f"{owner}: expected finite {name} of shape {expected}, one for each condition, got {got}"
    )


def draw_source(
    coupling: Coupling,
    prior: Prior,
    cond: Conditions | None,
    n: int | None = None,
    *,
    options: SourceOptions = PLAIN,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Source samples ``[B, *event]``, moved as the options say.

    Raises:
        CouplingError: they are to be moved, and their mean is not known, or is the same for all conditions.
    """
    x0 = coupling.source(prior, cond, n, generator=generator)
    if options == PLAIN:
        return x0
    if options.prior_guidance != 1 and (cond is None or not prior.takes):
        raise CouplingError(
            f"the source samples of prior '{prior.name}' have one mean for all conditions; use "
            "prior_guidance=1 (--prior-guidance 1), or another prior"
        )
    mean = coupling.source_mean(prior, cond, len(x0)).to(x0)
    moved = mean + options.temperature * (x0 - mean) if options.temperature != 1 else x0
    if options.prior_guidance == 1:
        return moved
    return moved + (options.prior_guidance - 1) * (mean - prior.marginal_mean().to(x0))
