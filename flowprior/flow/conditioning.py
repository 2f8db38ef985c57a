"""The conditions of a draw, and guidance: finite conditions, labels that were seen, and the guided velocity.

A network's answer to NaN is NaN, and does not say where it came from. Labels that the prior was fitted to no
example of start from its marginal, and the network takes the null condition for them.

Guidance needs v(x, t, ∅), which a network learns only where conditions were dropped while it was trained
(Ho & Salimans 2022, arXiv 2207.12598, alg. 1). Without that its answer to the null condition is whatever the
initial weights give, and samples drift without an error. Away from a negative condition in its place, every
flow with a condition can be guided.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions, Parts
from flowprior.conditions.rows import chosen, joined, named_tensors, rows
from flowprior.display.shown import short
from flowprior.errors import OptionError
from flowprior.flow.parts import FlowParts
from flowprior.flow.predictions import Given, Network, Prediction
from flowprior.priors.checks import named
from flowprior.registry.options import is_number
from flowprior.streams.user_tensors import check_finite

GIVEN_PRIOR = "prior_was_given"
"""Key of a flow's metadata: training was given a fitted prior, whose labels need not be those of the data."""
UNGUIDED = 1.0
"""The strength of guidance that asks for no other half."""
NO_CONDITION = "guidance={:g} needs a condition, this flow has none; use guidance=1 (--guidance 1)"
"""The message for guidance of a flow without a condition."""


def check_finite_condition(cond: Conditions | None, owner: str) -> None:
    """Refuse NaN and infinity in a condition or any of its parts.

    The sum of all numbers tells whether there may be some; rows are looked at only then.

    Args:
        cond: a tensor, token states (``[B, T, F]``, cleared where no token is attended), parts, or None.
        owner: who asks, for the message.

    Raises:
        InputError: there are some; the message names the part, counts the rows and says which is the first.
    """
    for name, tensor in named_tensors(cond).items():
        if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float32).isfinite()):
            check_finite(tensor, name, owner)


def unseen_as_null(flow: FlowParts, cond: Conditions | None, owner: str) -> Conditions | None:
    """``cond`` with the null condition in the rows of labels that the training had no example of.

    A network's answer to a label that it was never trained on means nothing. Its answer to the null condition
    is an event of any label, if condition dropout trained it. Only a prior with ``unseen=pooled`` does not
    refuse such labels. Training drops all parts of a condition together, and so it is here.

    Args:
        flow: what was asked.
        cond: as it was asked for; checked.
        owner: who asks, for the warning.
    """
    unseen = None if flow.metadata.get(GIVEN_PRIOR) else flow.prior.unseen_rows(cond)
    if unseen is None or cond is None:
        return cond
    labels, null = flow.prior.reading(cond), flow.condition.null(cond)
    assert labels is not None
    assert null is not None
    which = named(labels[unseen].unique().tolist())
    never = recorded_dropout(flow.metadata) == 0
    more = ", which the network never saw either; train with --set training.condition_dropout=0.1"
    warnings.warn(
        f"{owner}: the prior was fitted to no example of {which}; these samples are the null condition's, "
        f"any label's{more if never else ''}",
        RuntimeWarning,
        stacklevel=4,
    )
    return chosen(unseen, null, cond)


def check_guidance(
    guidance: float, condition: Condition | None = None, metadata: Mapping[str, Any] | None = None
) -> None:
    """Check a strength of guidance, and that the flow it is asked of was trained for it.

    Args:
        guidance: its strength; 1 is none and always possible.
        condition: of the flow; None is not looked at.
        metadata: of the flow; see :func:`recorded_dropout`. A flow without a record, put together by hand, is
            trusted.

    Raises:
        OptionError: no finite number, a flow without a condition, or one trained without dropping it.
    """
    if not is_number(guidance):
        shown = f"{guidance:g}" if isinstance(guidance, float) else short(guidance)
        raise OptionError(f"guidance={shown} is not possible; choose a finite number (--guidance)")
    if guidance == UNGUIDED:
        return
    if condition is not None and condition.kind == "none":
        raise OptionError(NO_CONDITION.format(guidance))
    if recorded_dropout(metadata or {}) == 0:
        raise OptionError(
            f"guidance={guidance:g} needs a flow trained with condition dropout, this one never saw the null "
            "condition; train one with --set training.condition_dropout=0.1, or use guidance=1 (--guidance 1)"
        )


def recorded_dropout(metadata: Mapping[str, Any]) -> float | None:
    """The share of conditions that training dropped, ``metadata["config"]["training"]["condition_dropout"]``.

    ``train`` writes it; None where there is no such record.
    """
    found: Any = metadata
    for key in ("config", "training", "condition_dropout"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return float(found) if is_number(found) else None


def check_negative(negative: object, guidance: float) -> None:
    """Refuse a negative condition that would change nothing.

    Raises:
        OptionError: there is no guidance.
    """
    if negative is not None and guidance == UNGUIDED:
        raise OptionError(
            "a negative condition (--negative) does nothing at guidance=1; choose guidance=2 (--guidance 2)"
        )


class FlowVelocity:
    """The velocity of a flow under guidance, as samplers take it: v_null + guidance (v_c − v_null).

    Both halves are one call on a doubled batch. The law of the pairs is made when a condition first comes,
    and kept until another one comes: a solve asks under the same one at every evaluation.

    Args:
        prediction: of the flow.
        network: of the flow.
        condition: of the flow.
        guidance: strength; 1 asks for no other half.
        negative: takes the place of the null condition; see :func:`away_from`.
    """

    def __init__(
        self,
        prediction: Prediction,
        network: Network,
        condition: Condition,
        guidance: float = UNGUIDED,
        negative: Conditions | None = None,
    ) -> None:
        self.prediction, self.network, self.condition = prediction, network, condition
        self.guidance, self.negative = guidance, negative
        self._last: tuple[Conditions | None, int, Given] | None = None

    def __call__(self, x: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        """Return v(x, t, c) ``[B, *event]``."""
        return self._guided(self.prediction.answer, cond, x, t)

    def average(self, x: Tensor, begin: Tensor, end: Tensor, cond: Conditions | None) -> Tensor:
        """Return the average velocity ``[B, *event]`` from x at ``begin`` to ``end``, ``[B]`` each."""
        return self._guided(self.prediction.average, cond, x, begin, end)

    def linear(self, x: Tensor, begin: Tensor, end: Tensor, cond: Conditions | None) -> Tensor:
        """Return the average of the linear velocity; guidance moves it as it moves the network's."""
        return self._guided(self.prediction.linear, cond, x, begin, end)

    def _guided(self, function: Callable[..., Tensor], cond: Conditions | None, *points: Tensor) -> Tensor:
        given = self._given(cond, len(points[0]))
        if self.guidance == UNGUIDED:
            return function(self.network, *points, given)
        both = function(self.network, *(torch.cat([part, part]) for part in points), given)
        toward, away = both.chunk(2)
        return away + self.guidance * (toward - away)

    def _given(self, cond: Conditions | None, rows: int) -> Given:
        """Return the condition of the rows, doubled under guidance, as the prediction takes it.

        Raises:
            OptionError: guidance without a condition.
        """
        if self._last is None or self._last[0] is not cond or self._last[1] != rows:
            if self.guidance == UNGUIDED:
                given = self.prediction.given(cond, rows)
            else:
                null = self.condition.null(cond) if self.negative is None else away_from(cond, self.negative)
                if cond is None or null is None:
                    raise OptionError(NO_CONDITION.format(self.guidance))
                given = self.prediction.given(joined([cond, null]), 2 * rows)
            self._last = cond, rows, given
        return self._last[2]


def away_from(cond: Conditions | None, negative: Conditions) -> Conditions | None:
    """``negative``, of one row, for each row of ``cond``; parts that it lacks are those of ``cond``."""
    if cond is None:
        return None
    first = torch.zeros(len(cond), dtype=torch.long, device=negative.device)
    if isinstance(cond, Parts) and isinstance(negative, Parts):
        return Parts(
            {name: negative[name][first] if name in negative else part for name, part in cond.items()}
        )
    return rows(negative, first)
