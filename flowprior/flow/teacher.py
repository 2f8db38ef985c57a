"""A trained flow as a map between its source samples and its samples, for the coupling ``reflow``."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.flow.flow import Flow
from flowprior.flow.sampling import batches, evaluating
from flowprior.priors import Prior
from flowprior.samplers import Sampler, Velocity

AT_ONCE = 250
"""Pairs that are made at once."""
BACK = "midpoint"
"""Backwards no grid of the sampler's applies, and the second order makes up for it."""


class FlowTeacher:
    """A flow's pairs, forth from source samples and back from events, of what the flow carries.

    Args:
        flow: in latents, its pairs are pairs of latents.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    @property
    def prior(self) -> Prior:
        """Where the flow starts."""
        return self.flow.prior

    def forth(self, x0: Tensor, cond: Conditions | None, *, nfe: int, guidance: float) -> Tensor:
        """The samples ``[B, *event]`` that source samples are carried to, by the sampler that suits the flow.

        Args:
            x0: source samples ``[B, *event]``.
            cond: of each row.
            nfe: evaluations of the flow.
            guidance: strength of classifier-free guidance.

        Raises:
            OptionError: guidance of a flow without a condition, or of one trained without dropping it.
        """
        sampler = Sampler.registry.resolve(self.flow.default_sampler)
        return self._solved(sampler, partial(self.flow.velocity, guidance=guidance), x0, cond, nfe)

    def back(self, x1: Tensor, cond: Conditions | None, *, nfe: int, guidance: float) -> Tensor:
        """The source samples ``[B, *event]`` of events: x' = −v(x, 1 − s, c) from s = 0 to 1.

        Arguments and errors are those of :meth:`forth`; an odd ``nfe`` is one more.
        """

        def backwards(x: Tensor, s: Tensor, c: Conditions | None) -> Tensor:
            return -self.flow.velocity(x, 1 - s, c, guidance)

        return self._solved(Sampler.create(BACK), backwards, x1, cond, nfe + nfe % 2)

    def _solved(
        self, sampler: Sampler, velocity: Velocity, x: Tensor, cond: Conditions | None, nfe: int
    ) -> Tensor:
        rows = batches(x.to(self.flow.dtype or x.dtype), cond, AT_ONCE)
        with torch.no_grad(), evaluating(self.flow.model):
            parts = [sampler.integrate(velocity, part, c, nfe=nfe) for part, c in rows]
        return torch.cat(parts).to(x)
