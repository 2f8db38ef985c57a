"""Average velocity: one evaluation carries x_t over a whole interval of time (MeanFlow, Geng et al. 2025).

The average velocity of the flow over [t, s], as a function of where it begins,

    ū(x_t, t, s) = 1/(s − t) ∫_t^s v(x_τ, τ) dτ,   x_s = x_t + (s − t) ū(x_t, t, s),

is the velocity itself at s = t, and (arXiv 2505.13447, eq. 6)

    ū = v + (s − t) (∂_t + v · ∂_x) ū(x_t, t, s).

Training puts the pairs' own velocity u, whose mean it is, in the place of the first v, and the network's own
in that of the second, as in "Improved Mean Flows" (arXiv 2512.02012); what stands on the right side is taken
without its gradient. The derivative is a difference over the interval's first part [t, m],

    ū = u + (s − m) (ū(x_t + (m − t) v, m, s) − ū(x_t, t, s)) / (m − t),   v = ū(x_t, t, t),

where the distribution of the times (:class:`~flowprior.extensions.few_evaluations.intervals.IntervalTimes`)
says how long that is: all of the interval at first, which leaves u alone, and ever less of it (α-Flow, arXiv
2510.20771, section 3.3). At m = t it is a Jacobian-vector product of the network.

Where the law of the pairs is known, the linear velocity is taken out, whose average has a closed form
(:mod:`flowprior.couplings.pair_law`), and the network's output is in units of c_out at the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions
from flowprior.conditions.rows import rows as rows_of
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.extensions.few_evaluations.intervals import AVERAGES, INTERVALS, tell_intervals
from flowprior.flow.predictions import (
    LAST,
    LAST_STEP_LONG,
    Given,
    Network,
    Preconditioned,
    Prediction,
    View,
    follows_data,
)
from flowprior.models.base import BFLOAT16
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import parse_spec

LEAST_STEP = 1e-6
"""The least length, in time, of a difference along the path."""
STEP = 1e-3
"""The length, in time, of differences of the inputs, where the network's derivative is exact."""


class Interval(NamedTuple):
    """Beginning, split and end ``[B]`` of intervals of time."""

    begin: Tensor
    split: Tensor
    end: Tensor

    @classmethod
    def of(cls, t: Tensor) -> Interval:
        """Return intervals from times ``[B]``, of length 0, ``[B, 2]`` without a split, or ``[B, 3]``."""
        if t.dim() == 1:
            return cls(t, t, t)
        return cls(t[:, 0], t[:, t.shape[1] - 2], t[:, -1])

    @property
    def shown(self) -> Tensor:
        """Beginning and end as a network is shown them, ``[B, 2]``."""
        return torch.stack([self.begin, self.end], 1)

    def rows(self, index: Tensor) -> Interval:
        """Those of some rows."""
        return Interval(*(times[index] for times in self))


@Prediction.register(AVERAGES)
class AverageVelocity(Prediction):
    """The average velocity over [t, s], for times ``[B, 2]``; the velocity for times ``[B]``."""

    trained_on: ClassVar[str] = INTERVALS

    def __init__(self, prior: Prior, coupling: Coupling, path: Path) -> None:
        super().__init__(prior, coupling, path)
        path.require_no_noise(f"prediction '{self.name}'")
        known = coupling.first.has_law(prior)
        self.preconditioned = Preconditioned(prior, coupling, path) if known else None
        self.inputs = Preconditioned.inputs if known else Prediction.inputs

    @classmethod
    def suited_times(cls, coupling: Coupling) -> str:
        return f"interval:last={LAST}" if follows_data(coupling) else "interval"

    @classmethod
    def suited_sampler(cls, coupling: Coupling) -> str:
        return f"flow-map:{LAST_STEP_LONG}" if follows_data(coupling) else "flow-map"

    def check_precision(self, precision: str) -> None:
        if precision == BFLOAT16:
            raise OptionError(
                f"prediction '{self.name}' learns from differences of the network's own output, of which "
                "bfloat16 keeps too few digits; choose precision float32 (--set training.precision=float32)"
            )

    def network(self, spec: str, event_shape: torch.Size, condition: Condition) -> nn.Module:
        network = super().network(spec, event_shape, condition)
        if not tell_intervals(network):
            raise OptionError(
                f"model '{parse_spec(spec, 'model').name}' is told one time alone; choose another model, or "
                "another prediction (--set training.prediction=auto)"
            )
        return network

    def instant(self, times: Tensor) -> Tensor:
        return Interval.of(times).begin

    def view(self, x: Tensor, t: Tensor, given: Given) -> View:
        if self.preconditioned is None:
            return View(x)
        begin, _, end = Interval.of(t)
        view = self.preconditioned.view(x, begin, given)
        if t.dim() == 1:
            return view
        return view._replace(offset=given.law.average(x, self.path.at(begin), self.path.at(end)))

    def compared(
        self, network: Network, x0: Tensor, x: Tensor, u: Tensor, t: Tensor, cond: Conditions | None
    ) -> tuple[Tensor, Tensor]:
        times = Interval.of(t)
        view = self.view(x, times.shown, self.given(cond, len(x)))
        said = view.scaled(network(view.inputs, times.shown, cond))
        target = u.clone() if view.offset is None else u - view.offset
        if t.dim() > 1:
            here = said.detach() if view.offset is None else said.detach() + view.offset
            rows = _looked_at(times)
            given = self.given(rows_of(cond, rows), len(rows))
            rate = self._rate(network, here[rows], x[rows], times.rows(rows), given)
            target[rows] += _columns((times.end - times.split)[rows], x) * rate
        return said, target

    def average(self, network: Network, x: Tensor, begin: Tensor, end: Tensor, given: Given) -> Tensor:
        """Return the network's own ū ``[B, *event]``."""
        return self.answer(network, x, torch.stack([begin, end], 1), given)

    @torch.no_grad()
    def _rate(self, network: Network, here: Tensor, x: Tensor, times: Interval, given: Given) -> Tensor:
        """Return the rate at which ū ``[B, *event]``, which is ``here`` at x, changes along the flow."""
        v = self.average(network, x, times.begin, times.begin, given)
        if bool(((times.split == times.begin) & (times.end - times.begin > STEP)).any()):
            return self._derivative(network, x, v, times, given)
        step = _columns((times.split - times.begin).clamp_min(LEAST_STEP), x)
        later = self.average(network, x + step * v, times.split, times.end, given)
        return (later - here) / step

    def _derivative(self, network: Network, x: Tensor, v: Tensor, times: Interval, given: Given) -> Tensor:
        """(∂_t + v · ∂_x) ū: exactly of the network, by short steps of what it is shown, offset and scale."""
        short = (times.end - times.begin).clamp(LEAST_STEP, STEP)
        step, shown = _columns(short, x), times.shown
        later = torch.stack([times.begin + short, times.end], 1)
        view, then = self.view(x, shown, given), self.view(x + step * v, later, given)
        rates = [
            torch.zeros_like(x) if before is None or after is None else (after - before) / step
            for before, after in zip(view, then, strict=True)
        ]
        turned = torch.stack([torch.ones_like(short), torch.zeros_like(short)], 1)
        output, change = _along(
            lambda inputs, t: network(inputs, t, given.cond), (view.inputs, shown), (rates[0], turned), short
        )
        return view.scaled(change) + rates[1] + rates[2] * output


def _looked_at(times: Interval) -> Tensor:
    """Rows whose interval is longer than 0, as many at every step; all where there are none.

    Where a network is divided among processes, each of them calls it equally often.
    """
    rows = (times.end > times.begin).nonzero()[:, 0]
    return rows if len(rows) else torch.arange(len(times.begin), device=times.begin.device)


def _columns(times: Tensor, x: Tensor) -> Tensor:
    """Times ``[B]`` shaped to multiply x ``[B, *event]``."""
    return times.view(-1, *[1] * (x.dim() - 1))


def _along(
    function: Callable[[Tensor, Tensor], Tensor],
    given: tuple[Tensor, Tensor],
    rates: tuple[Tensor, Tensor],
    short: Tensor,
) -> tuple[Tensor, Tensor]:
    """A function's value and its derivative as what it is given, ``[B, …]`` each, changes at these rates.

    A Jacobian-vector product in forward mode; where one of the function's operators has none, a difference
    over the ``short`` step of each row.
    """
    try:
        output, change, *_ = torch.func.jvp(function, given, rates)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        output = function(*given)
        moved = [x + _columns(short, x) * rate for x, rate in zip(given, rates, strict=True)]
        change = (function(moved[0], moved[1]) - output) / _columns(short, output)
    return output, change
