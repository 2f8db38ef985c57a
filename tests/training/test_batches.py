"""The data order, batches cut from superbatches, micro-batches, and pairs that a worker thread prepares."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior import train
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.training.batches import IndexStream, PairStream, Prefetched, Randomness, mix, probe_indices

from .conftest import SHORT, small_net


class Superbatch(Coupling):
    """Draws ``size`` pairs at once, records the data that it was handed, and fails at one of its draws."""

    def __init__(self, size: int | None = None, fails_at: int = -1) -> None:
        self.size, self.fails_at = size, fails_at
        self.seen: list[Tensor] = []

    def draw(
        self, prior: Prior, x1: Tensor, cond: Tensor | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        if len(self.seen) == self.fails_at:
            raise InputError("no pairs for this one")
        self.seen.append(x1)
        return prior.sample(cond, len(x1), generator=generator)

    def draw_size(self, batch_size: int) -> int:
        return self.size or batch_size


def stream(data: TensorData, coupling: Coupling, prior: str = "gaussian", parts: int = 1) -> PairStream:
    """Batches of 8 pairs."""
    fitted = Prior.create(prior).fit(data.batches())
    return PairStream(data, fitted, coupling, 8, Randomness(0), parts)


def test_each_epoch_is_a_permutation_of_its_own_and_any_slice_is_one_of_the_whole() -> None:
    whole = IndexStream(10, seed=0).take(0, 30)
    order = whole.view(3, 10)
    for epoch in order:
        assert torch.equal(epoch.sort().values, torch.arange(10))
    assert not torch.equal(order[0], order[1])
    fresh = IndexStream(10, seed=0)
    for start, count in [(20, 10), (0, 1), (9, 2), (13, 16), (0, 30)]:
        assert torch.equal(fresh.take(start, count), whole[start : start + count])
    assert not torch.equal(IndexStream(10, seed=1).take(0, 30), whole)
    with pytest.raises(InputError, match="empty data set"):
        IndexStream(0, 0)


@pytest.mark.parametrize(
    ("prior", "size", "parts"), [("gaussian", 16, 1), ("gmm", 40, 1), ("gaussian", 6, 4)]
)
def test_data_order_is_the_same_for_every_prior_draw_size_and_number_of_parts(
    points: TensorData, prior: str, size: int, parts: int
) -> None:
    plain, other = stream(points, Superbatch()), stream(points, Superbatch(size), prior, parts)
    for step in (*range(12), 40):
        _, x1, cond = plain.micro_batch(step)
        pieces = [other.micro_batch(step, part) for part in range(parts)]
        assert torch.equal(x1, torch.cat([piece[1] for piece in pieces]))
        assert torch.equal(torch.as_tensor(cond), torch.cat([torch.as_tensor(piece[2]) for piece in pieces]))
        assert len(torch.cat([piece[0] for piece in pieces]).unique(dim=0)) == 8


def test_a_superbatch_is_drawn_once_and_cut_into_its_steps(points: TensorData) -> None:
    coupling = Superbatch(24)
    pairs = stream(points, coupling)
    batches = [pairs.micro_batch(step) for step in range(6)]
    assert [len(x1) for x1 in coupling.seen] == [24, 24]
    assert torch.equal(torch.cat([x1 for _, x1, _ in batches]), torch.cat(coupling.seen))


def test_a_fresh_stream_gives_the_same_pairs_from_the_middle_of_a_superbatch(points: TensorData) -> None:
    first, again = (stream(points, Coupling.create("ot", ot_batch=24)) for _ in range(2))
    expected = [first.micro_batch(step) for step in range(8)]
    for step in (4, 5, 6, 7):
        for mine, theirs in zip(again.micro_batch(step), expected[step], strict=True):
            assert torch.equal(torch.as_tensor(mine), torch.as_tensor(theirs))


def test_starts_carry_no_gradient(points: TensorData) -> None:
    pairs = stream(points, Superbatch())
    for parameter in pairs.prior.parameters():
        parameter.requires_grad_(True)
    assert not pairs.micro_batch(0)[0].requires_grad


@pytest.mark.parametrize(
    ("size", "parts", "expected"), [(12, 1, "batch_size=8"), (4, 1, "batch_size=8"), (10, 2, "size=4")]
)
def test_a_draw_size_that_does_not_fit_is_refused(
    points: TensorData, size: int, parts: int, expected: str
) -> None:
    with pytest.raises(OptionError, match=f"draws {size} pairs at once, expected a multiple of .*{expected}"):
        stream(points, Superbatch(size), parts=parts)


def test_probe_indices_are_distinct_fixed_and_bounded() -> None:
    indices = probe_indices(50, 20, seed=0)
    assert len(indices.unique()) == 20
    assert torch.equal(indices, probe_indices(50, 20, seed=0))
    assert len(probe_indices(5, 20, seed=0)) == 5


class Captioned(TensorData):
    """Each event has four conditions, numbered from 0."""

    def __init__(self, count: int) -> None:
        super().__init__(torch.arange(float(count))[:, None], torch.zeros(count, 1))
        self.condition_counts = torch.full((count,), 4)

    def training_condition(self, indices: Tensor, cond: Tensor | None, chance: Tensor) -> Tensor | None:
        return (4 * chance).floor()[:, None]


def visits(
    data: Captioned, batch_size: int, seed: int = 0, size: int | None = None
) -> dict[float, list[float]]:
    """Event -> the conditions of its visits in the first 200 pairs."""
    prior = Prior.create("gaussian").fit(data.batches())
    pairs = PairStream(data, prior, Superbatch(size), batch_size, Randomness(seed))
    found: dict[float, list[float]] = {}
    for step in range(200 // batch_size):
        _, x1, cond = pairs.micro_batch(step)
        for event, drawn in zip(x1[:, 0].tolist(), torch.as_tensor(cond)[:, 0].tolist(), strict=True):
            found.setdefault(event, []).append(drawn)
    return found


def test_every_visit_draws_a_condition_by_seed_epoch_and_event_alone() -> None:
    data = Captioned(10)
    first = visits(data, 8)
    counts = torch.bincount(torch.tensor(list(first.values())).flatten().long(), minlength=4)
    assert counts.min() > 30
    assert len({tuple(conditions) for conditions in first.values()}) > 5
    assert visits(data, 4, size=20) == first, "whatever is drawn at once"
    assert visits(data, 8, seed=1) != first


def test_seed_purpose_and_step_all_matter() -> None:
    keys = list(itertools.product((0, 1), ("time", "coupling"), (0, 1, 11)))
    assert len({mix(*key) for key in keys}) == len(keys)
    # Joined without a separator, seed 1 step 11 and seed 11 step 1 would collide.
    assert mix(1, "1", 1) != mix(11, "", 1)


# -- pairs that are prepared ahead ----------------------------------------------------------------


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pairs")]


def run_on(data: Any, out: Path | None = None, **options: Any) -> Any:
    parts: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": small_net(0.3)}
    return train(data, out=out, **{**parts, **SHORT, **options})


def test_no_more_is_prepared_than_ahead_and_nothing_beyond_the_last_step(points: TensorData) -> None:
    coupling = Superbatch()
    with Prefetched(stream(points, coupling), range(1), 3, steps=6) as batches:
        for step, prepared in enumerate([4, 5, 6, 6, 6, 6]):
            batches.micro_batch(step)
            deadline = time.monotonic() + 10
            while len(coupling.seen) < prepared and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.01)
            assert len(coupling.seen) == prepared
    assert threads() == []


def test_an_error_of_the_worker_ends_the_training(points: TensorData) -> None:
    with pytest.raises(InputError, match="no pairs for this one"):
        run_on(points, coupling=Superbatch(fails_at=5), prefetch=2)
    assert threads() == []
