"""Linear multistep methods, which reuse the velocities of earlier steps, through torchdiffeq."""

from __future__ import annotations

import abc
from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import OptionError
from flowprior.samplers.adaptive import refuse_nfe
from flowprior.samplers.base import CountedVelocity, Sampler, Solution, Velocity, check_nfe
from flowprior.samplers.fixed import DEFAULT_NFE

STARTERS = 2
"""Steps that are taken by a fourth-order Runge-Kutta method before the history is long enough."""
RUNGE_KUTTA_EVALUATIONS = 4


class AdamsSampler(Sampler):
    """Base class: equal steps, the first two by Runge-Kutta, then three past velocities."""

    method: ClassVar[str]
    rtol: float = 1e-6

    def solve(
        self,
        velocity: Velocity,
        x0: Tensor,
        cond: Conditions | None = None,
        *,
        nfe: int | None = None,
        trajectory: bool = False,
    ) -> Solution:
        """See :meth:`Sampler.solve`; the class says which ``nfe`` can be spent."""
        from torchdiffeq import odeint

        steps, counted = self._count(nfe), CountedVelocity(velocity, cond)
        times = torch.linspace(0.0, 1.0, steps + 1, dtype=x0.dtype, device=x0.device)
        options = {"max_order": 4}
        states = odeint(
            lambda t, x: counted(x, t), x0, times, method=self.method, rtol=self.rtol, options=options
        )
        kept = times if trajectory else times[[0, -1]]
        return Solution(states[-1], counted.nfe, kept, states if trajectory else None)  # type: ignore[index]

    @abc.abstractmethod
    def _count(self, nfe: int | None) -> int:
        """Number of steps for ``nfe`` evaluations."""


@Sampler.register("explicit_adams")
class ExplicitAdams(AdamsSampler):
    """Adams-Bashforth, order 3, one evaluation a step after two Runge-Kutta steps of four.

    Spends exactly ``nfe`` evaluations: 4, or 8 and more.
    """

    method: ClassVar[str] = "explicit_adams"
    order: ClassVar[int] = 3

    def _count(self, nfe: int | None) -> int:
        return self.steps(nfe)

    def steps(self, nfe: int | None) -> int:
        """Number of steps that spend exactly ``nfe`` evaluations.

        Raises:
            OptionError: no number of steps does; the message names the nearest.
        """
        nfe = DEFAULT_NFE if nfe is None else nfe
        check_nfe("sampler 'explicit_adams'", nfe)
        if nfe == RUNGE_KUTTA_EVALUATIONS:
            return 1
        if nfe < STARTERS * RUNGE_KUTTA_EVALUATIONS:
            nearest = "4" if nfe < RUNGE_KUTTA_EVALUATIONS else "4 or 8"
            raise OptionError(
                f"sampler 'explicit_adams': nfe={nfe} cannot be spent exactly, its first two steps take 4 "
                f"each; choose {nearest}"
            )
        return nfe - STARTERS * (RUNGE_KUTTA_EVALUATIONS - 1)


@Sampler.register("implicit_adams")
class ImplicitAdams(AdamsSampler):
    """Adams-Bashforth-Moulton, order 4: predict, then correct until it settles (at most four times).

    The evaluations are counted, not chosen.

    Args:
        steps: number of equal steps; how often each is corrected decides the evaluations.
        rtol: change of a step, relative to the state, at which its correction has settled.
    """

    adaptive: ClassVar[bool] = True
    method: ClassVar[str] = "implicit_adams"
    order: ClassVar[int] = 4

    def __init__(self, steps: int = 20, rtol: float = 1e-6) -> None:
        if steps < 1 or not rtol > 0:
            raise OptionError(
                f"sampler 'implicit_adams': steps={steps}, rtol={rtol} is not possible; choose both above 0"
            )
        self.steps = steps
        self.rtol = rtol

    def _count(self, nfe: int | None) -> int:
        refuse_nfe(self.method, nfe, "steps and rtol")
        return self.steps
