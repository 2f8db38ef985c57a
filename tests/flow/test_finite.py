"""Conditions with NaN or infinity are refused in one line before a step, whatever kind they are of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.conditions import Condition, TokenStates
from flowprior.couplings import Coupling
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior

ROWS, BAD = 4, 2
EMBEDDING, PICTURE, TOKENS = Condition("embeddings", 5), Condition.of_shape((1, 2, 2)), Condition("tokens", 5)
PARTS = Condition("parts", parts=(("given", PICTURE), ("style", Condition("labels", 2)), ("words", TOKENS)))


def flow_of(condition: Condition) -> Flow:
    """A flow whose network must not be asked."""

    def velocity(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        if cond is None or ROWS in (len(x), len(x) // 2):
            return x
        raise AssertionError(f"asked for {len(x)} rows")

    prior = Prior.create("gaussian").fit(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)))
    return Flow(velocity, prior, Coupling.create("condot"), Path.create("condot"), condition)


def tokens(states: Tensor, masked: bool = False) -> TokenStates:
    """Two tokens a row, of which the second one is not attended."""
    mask = torch.tensor([[True, False]]).repeat(len(states), 1)
    empty = torch.zeros_like(states)
    return TokenStates(torch.stack([empty, states] if masked else [states, empty], 1), mask)


def spoilt(value: float, *shape: int) -> Tensor:
    x = torch.zeros(ROWS, *shape)
    x[BAD].view(-1)[0] = value
    return x


def conditions(value: float) -> dict[str, tuple[Condition, Any]]:
    """Name of what is told -> a condition with ``value`` in its row ``BAD``, and the kind that it is of."""
    style, fine = torch.zeros(ROWS, dtype=torch.long), torch.zeros(ROWS, 1, 2, 2)
    parts = {"given": fine, "style": style, "words": tokens(spoilt(value, 5))}
    pictures = {"given": spoilt(value, 1, 2, 2), "style": style, "words": tokens(spoilt(0.0, 5))}
    return {
        "cond has": (EMBEDDING, spoilt(value, 5)),
        "cond has NaN": (PICTURE, spoilt(value, 1, 2, 2)),
        "cond has NaN or": (TOKENS, tokens(spoilt(value, 5))),
        "cond.words has": (PARTS, parts),
        "cond.given has": (PARTS, pictures),
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("told", conditions(0.0))
def test_a_condition_that_is_not_finite_is_refused_by_part_and_row(told: str, value: float) -> None:
    condition, cond = conditions(value)[told]
    with pytest.raises(InputError, match=f"flow.sample: {told}.* in 1 of 4 rows, first in row 2") as caught:
        flow_of(condition).sample(cond, nfe=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", conditions(0.0))
def test_finite_ones_are_sampled(told: str) -> None:
    """Also large ones, whose sum is not finite."""
    condition, cond = conditions(3e38)[told]
    assert flow_of(condition).sample(cond, nfe=2).shape == (ROWS, 3)


def test_what_lies_under_tokens_that_are_not_attended_does_not_matter() -> None:
    cond = tokens(spoilt(float("nan"), 5), masked=True)
    assert bool(flow_of(TOKENS).sample(cond, nfe=1).isfinite().all())


def test_a_negative_condition_and_a_density_are_refused_alike() -> None:
    flow, cond = flow_of(EMBEDDING), torch.zeros(ROWS, 5)
    with pytest.raises(InputError, match=r"flow.sample: negative: cond has NaN"):
        flow.sample(cond, nfe=1, guidance=2.0, negative=torch.full((1, 5), float("nan")))
    with pytest.raises(InputError, match=r"flow.log_prob: cond has NaN"):
        flow.log_prob(torch.zeros(ROWS, 3), spoilt(float("nan"), 5))
