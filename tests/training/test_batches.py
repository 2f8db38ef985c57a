"""The data order, and batches cut from superbatches."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.training.batches import IndexStream, PairStream, Randomness, fetch, mix, probe_indices


class Superbatch(Coupling):
    """Draws ``size`` pairs at once and records the data that it was handed."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.seen: list[Tensor] = []

    def draw(
        self, prior: Prior, x1: Tensor, cond: Tensor | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        self.seen.append(x1)
        return prior.sample(cond, len(x1), generator=generator)

    def draw_size(self, batch_size: int) -> int:
        return self.size or batch_size


def stream(data: TensorData, coupling: Coupling, prior: str = "gaussian", batch_size: int = 8) -> PairStream:
    fitted = Prior.create(prior).fit(data.batches())
    return PairStream(data, fitted, coupling, batch_size, Randomness(0))


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    order = IndexStream(10, seed=0).take(0, 30).view(3, 10)
    for epoch in order:
        assert torch.equal(epoch.sort().values, torch.arange(10))
    assert not torch.equal(order[0], order[1])
    assert not torch.equal(order[1], order[2])


def test_any_slice_equals_the_whole_sequence() -> None:
    whole = IndexStream(7, seed=1).take(0, 60)
    fresh = IndexStream(7, seed=1)
    for start, count in [(40, 20), (0, 1), (6, 2), (13, 30), (0, 60)]:
        assert torch.equal(fresh.take(start, count), whole[start : start + count])


def test_the_seed_changes_the_order_and_empty_data_are_refused() -> None:
    assert not torch.equal(IndexStream(50, 0).take(0, 50), IndexStream(50, 1).take(0, 50))
    with pytest.raises(InputError, match="empty data set"):
        IndexStream(0, 0)


@pytest.mark.parametrize("prior", ["gaussian", "gmm"])
@pytest.mark.parametrize("size", [8, 16, 40])
def test_data_order_is_the_same_for_every_prior_and_draw_size(
    points: TensorData, prior: str, size: int
) -> None:
    plain = stream(points, Coupling.create("condot"))
    other = stream(points, Superbatch(size), prior)
    for step in range(20):
        _, x1, cond = plain.micro_batch(step)
        _, other_x1, other_cond = other.micro_batch(step)
        assert torch.equal(x1, other_x1)
        assert cond is not None
        assert other_cond is not None
        assert torch.equal(cond, other_cond)


def test_a_superbatch_is_drawn_once_and_cut_into_its_steps(points: TensorData) -> None:
    coupling = Superbatch(24)
    pairs = stream(points, coupling)
    batches = [pairs.micro_batch(step) for step in range(6)]
    assert [len(x1) for x1 in coupling.seen] == [24, 24]
    assert torch.equal(torch.cat([x1 for _, x1, _ in batches]), torch.cat(coupling.seen))


def test_a_fresh_stream_gives_the_same_pairs_from_the_middle_of_a_superbatch(points: TensorData) -> None:
    ot = "ot"
    first = stream(points, Coupling.create(ot, ot_batch=24))
    expected = [first.micro_batch(step) for step in range(8)]
    again = stream(points, Coupling.create(ot, ot_batch=24))
    for step in (4, 5, 6, 7):
        for mine, theirs in zip(again.micro_batch(step), expected[step], strict=True):
            assert mine is not None
            assert theirs is not None
            assert torch.equal(mine, theirs)


def test_starts_carry_no_gradient(points: TensorData) -> None:
    pairs = stream(points, Superbatch())
    for parameter in pairs.prior.parameters():
        parameter.requires_grad_(True)
    assert not pairs.micro_batch(0)[0].requires_grad


@pytest.mark.parametrize("size", [4, 12])
def test_a_draw_size_that_does_not_fit_is_refused(points: TensorData, size: int) -> None:
    with pytest.raises(OptionError, match=f"draws {size} pairs at once, expected a multiple of batch_size=8"):
        stream(points, Superbatch(size))


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
    """event -> the conditions of its visits in the first 200 pairs."""
    prior = Prior.create("gaussian").fit(data.batches())
    pairs = PairStream(data, prior, Superbatch(size), batch_size, Randomness(seed))
    found: dict[float, list[float]] = {}
    for step in range(200 // batch_size):
        _, x1, cond = pairs.micro_batch(step)
        assert cond is not None
        for event, drawn in zip(x1[:, 0].tolist(), cond[:, 0].tolist(), strict=True):
            found.setdefault(event, []).append(drawn)
    return found


def test_every_visit_of_an_event_draws_one_of_its_conditions() -> None:
    drawn = [condition for conditions in visits(Captioned(10), 8).values() for condition in conditions]
    counts = torch.bincount(torch.tensor(drawn).long(), minlength=4)
    assert counts.sum() == 200
    assert counts.min() > 30
    assert len({tuple(conditions) for conditions in visits(Captioned(10), 8).values()}) > 5


def test_what_is_drawn_hangs_on_seed_epoch_and_event_alone() -> None:
    data = Captioned(10)
    first = visits(data, 8)
    assert visits(data, 8) == first
    assert visits(data, 4, size=20) == first, "whatever is drawn at once"
    assert visits(data, 8, seed=1) != first


def test_events_go_to_a_gpu_from_pinned_memory(points: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by what is called: there is no GPU here."""
    called: list[str] = []

    def pinned(x: Tensor) -> Tensor:
        called.append("pinned")
        return x

    def sent(x: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        called.append(f"to {device.type}, {'without waiting' if non_blocking else 'waiting'}")
        return x

    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.Tensor, "to", sent)
    fetch(points, torch.arange(3), torch.device("cpu"))
    assert called == ["to cpu, without waiting"] * 2  # events and labels
    called.clear()
    fetch(points, torch.arange(3), torch.device("cuda"))
    assert called == ["pinned"] * 2 + ["to cuda, without waiting"] * 2


def test_seed_purpose_and_step_all_matter() -> None:
    keys = list(itertools.product((0, 1), ("time", "coupling"), (0, 1, 11)))
    assert len({mix(*key) for key in keys}) == len(keys)
    # Joined without a separator, seed 1 step 11 and seed 11 step 1 would collide.
    assert mix(1, "1", 1) != mix(11, "", 1)


def test_seeding_the_model_depends_on_the_step() -> None:
    with torch.random.fork_rng(devices=[]):
        draws = []
        for step in (3, 4, 3):
            Randomness(0).seed_model(step)
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


def test_a_resumed_run_draws_the_same_conditions() -> None:
    data = Captioned(10)
    prior = Prior.create("gaussian").fit(data.batches())
    streams = [PairStream(data, prior, Superbatch(), 8, Randomness(0)) for _ in range(2)]
    for step in range(30):
        streams[0].micro_batch(step, 0)
    for whole, resumed in zip(streams[0].micro_batch(30, 0), streams[1].micro_batch(30, 0), strict=True):
        assert whole is not None
        assert resumed is not None
        assert torch.equal(whole, resumed)
