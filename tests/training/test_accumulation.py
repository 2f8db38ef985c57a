"""Micro-batches: the same data, times and gradient as one batch, with source samples of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior import Flow
from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.couplings.drawing import CondOTCoupling
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.priors import Prior
from flowprior.training import train
from flowprior.training.batches import PairStream, Randomness
from flowprior.training.interrupts import TrainingInterrupted
from flowprior.training.loop import training_step
from flowprior.training.state import TrainingState

from .conftest import SHORT, components, small_net


class Mirrored(CondOTCoupling):
    """Each datum comes from its mirror image, so that pairs do not hang on how a batch is divided."""

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return -x1


def after_steps(points: TensorData, accumulate: int, steps: int = 3, **options: Any) -> TrainingState:
    parts = components(points, batch_size=24, accumulate=accumulate, condition_dropout=0.3, **options)
    randomness = Randomness(0)
    pairs = PairStream(parts.data, parts.prior, Mirrored(), 24, randomness, accumulate)
    state = TrainingState(parts)
    for _ in range(steps):
        training_step(state, pairs, randomness)
    return state


@pytest.mark.parametrize("accumulate", [2, 3, 24])
def test_the_gradient_is_that_of_the_whole_batch(points: TensorData, accumulate: int) -> None:
    whole, parts = (after_steps(points, count, steps=1) for count in (1, accumulate))
    torch.testing.assert_close(parts.means.tensor(), whole.means.tensor(), rtol=1e-5, atol=0)
    for mine, theirs in zip(parts.weights, whole.weights, strict=True):
        first = parts.optimizer.state[mine]["exp_avg"]
        torch.testing.assert_close(first, whole.optimizer.state[theirs]["exp_avg"], rtol=1e-5, atol=1e-7)


class Superbatches(CondOTCoupling):
    """Draws three micro-batches at once, or so many pairs."""

    def __init__(self, pairs: int | None = None) -> None:
        self.pairs_at_once = pairs

    def draw_size(self, batch_size: int) -> int:
        return self.pairs_at_once or 3 * batch_size


@pytest.mark.parametrize("coupling", [CondOTCoupling(), Superbatches()], ids=["one", "three at once"])
def test_micro_batches_are_the_parts_of_the_batch(points: TensorData, coupling: Coupling) -> None:
    prior = Prior.create("gaussian").fit((points.x, points.cond))
    whole = PairStream(points, prior, CondOTCoupling(), 12, Randomness(3))
    parts = PairStream(points, prior, coupling, 12, Randomness(3), 4)
    for step in (0, 1, 2, 3, 40):
        _, x1, cond = whole.micro_batch(step)
        pieces = [parts.micro_batch(step, part) for part in range(4)]
        assert torch.equal(torch.cat([piece[1] for piece in pieces]), x1)
        assert torch.equal(torch.cat([torch.as_tensor(piece[2]) for piece in pieces]), torch.as_tensor(cond))
        x0 = torch.cat([piece[0] for piece in pieces])
        assert len(x0.unique(dim=0)) == 12


@pytest.mark.parametrize("coupling", ["condot", "ot", "ot:ot_batch=36"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2,)])
def test_pairs_within_the_batch_are_those_of_one_part(
    points: TensorData, coupling: str, order: tuple[int, ...]
) -> None:
    """Whichever parts are asked for, and in whichever order: a process asks for its own alone."""
    prior, paired = Prior.create("gaussian").fit((points.x, points.cond)), Coupling.registry.resolve(coupling)
    whole = PairStream(points, prior, paired, 12, Randomness(3))
    parts = PairStream(points, prior, paired, 12, Randomness(3), 4, whole=True)
    for step in (0, 1, 2, 5):
        x0, x1, cond = whole.micro_batch(step)
        for part in order:
            rows = slice(3 * part, 3 * part + 3)
            for mine, theirs in zip(parts.micro_batch(step, part), (x0, x1, cond), strict=True):
                assert torch.equal(torch.as_tensor(mine), torch.as_tensor(theirs)[rows])


def test_pairs_within_the_batch_train_what_no_accumulation_does(points: TensorData) -> None:
    options: dict[str, Any] = {"prior": "gaussian", "coupling": "ot", **SHORT}
    flows = [
        train(points, model=small_net(), accumulate=count, pair_within="batch", **options) for count in (1, 4)
    ]
    alone, parts = (flow.state_dict() for flow in flows)
    for name, value in alone.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)


def test_a_run_that_pairs_within_the_batch_goes_on_in_other_parts(points: TensorData, tmp_path: Path) -> None:
    options: dict[str, Any] = {"prior": "gaussian", "coupling": "ot", "pair_within": "batch", **SHORT}
    whole = train(points, model=small_net(), **options).state_dict()
    options |= {"out": tmp_path, "resume": True}
    with pytest.raises(TrainingInterrupted):
        train(points, model=small_net(), max_minutes=1e-9, **options)
    flow = train(points, model=small_net(), accumulate=4, **options)
    for name, value in flow.state_dict().items():
        torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-5)


def test_dropout_inside_the_network_differs_from_part_to_part(points: TensorData) -> None:
    seen: list[Tensor] = []
    model = small_net(dropout=0.5)
    model.body.register_forward_hook(lambda module, given, result: seen.append(module[2](torch.ones(2, 500))))
    parts = components(points, model, batch_size=8, accumulate=2)
    pairs = PairStream(parts.data, parts.prior, parts.coupling, 8, Randomness(0), 2)
    state = TrainingState(parts)
    training_step(state, pairs, Randomness(0))
    first, second = seen
    assert not torch.equal(first, second)


def test_a_batch_that_cannot_be_divided_is_refused(points: TensorData) -> None:
    options: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": small_net(), **SHORT}
    with pytest.raises(
        OptionError, match="batch_size=8 cannot be divided into 3 micro-batches of equal size"
    ):
        train(points, accumulate=3, **options)
    with pytest.raises(
        OptionError, match="draws 10 pairs at once, expected a multiple of a micro-batch's size=4"
    ):
        train(points, accumulate=2, **{**options, "coupling": Superbatches(10)})
    with pytest.raises(OptionError, match="draws 10 pairs at once, expected a multiple of batch_size=8"):
        train(points, accumulate=2, pair_within="batch", **{**options, "coupling": Superbatches(10)})
    with pytest.raises(OptionError, match="pair_within='rank' is not possible"):
        train(points, pair_within="rank", **options)


@pytest.mark.parametrize("coupling", ["condot", "ot:ot_batch=8"])
def test_pieces_and_a_worker_change_nothing(points: TensorData, tmp_path: Path, coupling: str) -> None:

    def run(folder: str, **options: Any) -> Flow:
        given = {"prior": "gaussian", "coupling": coupling, "model": small_net(0.2), "resume": True, **SHORT}
        given |= {"accumulate": 2, "condition_dropout": 0.2, **options}
        return train(points, out=tmp_path / folder, **given)

    whole = run("whole")
    for ahead in (3, 0):
        with pytest.raises(TrainingInterrupted):
            run("pieces", prefetch=ahead, max_minutes=1e-9)
    pieces = run("pieces", prefetch=1)
    assert all(torch.equal(value, pieces.state_dict()[name]) for name, value in whole.state_dict().items())
