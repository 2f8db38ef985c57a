"""Small flows are held against events that they have not seen, and their distances have an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.data import Data, TensorData
from flowprior.errors import InputError, TrainingDiverged
from flowprior.flow import Flow
from flowprior.inspection import choose_design
from flowprior.inspection.choice import FULL, LATENT, NORMAL
from flowprior.training import compare_flows, pilot

BASE, GAUSSIANS, MIXTURE = (NORMAL, "condot"), ("gmm:covariance=full", "ot"), (LATENT, "posterior")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clouds(each: int, labels: int = 2) -> TensorData:
    """Gaussians of two numbers that go together, ten deviations apart."""
    label = torch.arange(each * labels) % labels
    x = normal(each * labels, 2) @ torch.tensor([[1.0, 0.9], [0.0, 0.4]]) + 10.0 * label[:, None]
    return TensorData(x, label, classes=labels)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that say what they can in a moment."""
    monkeypatch.setattr(pilot, "STEPS", 60)
    monkeypatch.setattr(pilot, "WARMUP", 5)
    monkeypatch.setattr(pilot, "EMA", 0.9)
    monkeypatch.setattr(pilot, "SAMPLES", 2000)


def test_a_design_that_starts_at_the_data_is_ahead_for_sure() -> None:
    found = compare_flows([BASE, GAUSSIANS], clouds(300), 0)
    base, gaussians = found.scores
    assert (base, gaussians) == ("gaussian + condot", "gmm:covariance=full + ot")
    assert found.lead(gaussians, base).is_sure(5.0)
    assert found.best_for_sure([base, gaussians]) == gaussians


@pytest.mark.slow
def test_designs_that_start_alike_end_alike() -> None:
    """A Gaussian of each label by two names."""
    found = compare_flows([BASE, GAUSSIANS, ("gmm:covariance=full,shrinkage=0.01", "ot")], clouds(300), 0)
    base, own, other = found.scores
    assert abs(found.lead(own, other).gain) < 0.02 * found.lead(own, base).gain


@pytest.mark.slow
def test_the_same_seed_says_the_same() -> None:
    first, again, other = (compare_flows([GAUSSIANS], clouds(100), seed).scores for seed in (3, 3, 4))
    (name,) = first
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


@pytest.mark.slow
def test_the_number_of_held_out_events_is_not_in_the_distance() -> None:
    """Few events of the flow's own law lie apart from its samples by chance; their pseudo-values do not."""
    plain, corrected = [], []
    for seed in range(40):
        drawn, events = normal(4000, 1, seed=seed), normal(25, 1, seed=1000 + seed)
        flow: Any = _Fixed(drawn)
        examples = pilot.Examples(events, None, events, None, None)
        parts = pilot._parts_of(examples)
        corrected.append(float(pilot._distances(flow, examples, parts, 0).mean()))
        plain.append(pilot.sliced_wasserstein2_squared(drawn, events))
    assert sum(plain) / 40 > 0.05
    assert abs(sum(corrected) / 40) < 0.3 * sum(plain) / 40


class _Fixed:
    """A flow whose samples are known."""

    def __init__(self, drawn: Tensor) -> None:
        self.drawn = drawn

    def sample(self, cond: Tensor | None, n: int | None, **_: Any) -> Tensor:
        assert cond is None
        return self.drawn[:n]


@pytest.mark.slow
def test_labels_of_few_rows_are_looked_at_together() -> None:
    few = clouds(each=15, labels=20)
    (scores,) = compare_flows([("gmm:shrinkage=2.0", "ot")], few, 0).scores.values()
    assert scores.shape == (pilot.PARTS,)
    assert scores.isfinite().all()


@pytest.mark.slow
def test_points_without_labels_are_compared_too() -> None:
    x, _ = clouds(300).batch(torch.arange(600))
    found = compare_flows([BASE, GAUSSIANS], TensorData(x), 0)
    assert found.lead("gmm:covariance=full + ot", "gaussian + condot").is_sure()


def test_held_out_events_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _seen(monkeypatch)
    compare_flows([GAUSSIANS], clouds(100), 0)
    (fitted,) = seen
    assert len(fitted) == 160
    x = fitted.batch(torch.arange(160))[0]
    whole = clouds(100).batch(torch.arange(200))[0]
    assert {tuple(row) for row in x.tolist()} < {tuple(row) for row in whole.tolist()}


@pytest.mark.slow
def test_of_very_many_rows_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "MOST_ROWS", 100)
    seen = _seen(monkeypatch)
    compare_flows([GAUSSIANS], clouds(300), 0)
    assert len(seen[0]) == 80


@pytest.mark.slow
def test_a_label_whose_only_group_is_held_out_is_not_measured() -> None:
    """Events that are alike stay together, so that the flow may never have seen a label that is held out."""
    data = clouds(40, labels=4)
    groups = torch.arange(len(data)) // 4
    data.groups = torch.where(data.batch(torch.arange(len(data)))[1] == 3, 1000, groups)
    divisions = ((seed, pilot.Examples.of(data, 1000, seed)) for seed in range(50))
    seed = next(seed for seed, found in divisions if found.labels is not None and 3 not in found.labels)
    (scores,) = compare_flows([("gmm:shrinkage=2.0", "ot")], data, seed).scores.values()
    assert scores.isfinite().all()


@pytest.mark.slow
def test_fits_know_which_rows_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _seen(monkeypatch)
    data = clouds(100)
    data.groups = torch.arange(200) // 4
    compare_flows([GAUSSIANS], data, 0)
    (fitted,) = seen
    assert fitted.groups is not None
    assert sorted(fitted.groups.unique(return_counts=True)[1].tolist()) == [4] * 40


@pytest.mark.slow
def test_of_events_of_many_numbers_fewer_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "MOST_NUMBERS", 200)
    seen = _seen(monkeypatch)
    compare_flows([GAUSSIANS], clouds(300), 0)
    assert len(seen[0]) == 80


@pytest.mark.slow
def test_the_number_of_threads_does_not_choose() -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(compare_flows([GAUSSIANS], clouds(100), 0).scores)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    (name,) = found[0]
    assert torch.equal(found[0][name], found[1][name])


@pytest.mark.slow
def test_a_design_whose_samples_are_not_finite_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    train = pilot._trained

    def broken(prior: str, *rest: Any) -> Any:
        return _Fixed(torch.full((4000, 2), math.nan)) if prior.startswith("gmm") else train(prior, *rest)

    monkeypatch.setattr(pilot, "_trained", broken)
    x, _ = clouds(50).batch(torch.arange(100))
    assert list(compare_flows([BASE, GAUSSIANS], TensorData(x), 0).scores) == ["gaussian + condot"]


def _seen(monkeypatch: pytest.MonkeyPatch) -> list[TensorData]:
    """The data that trainings get."""
    seen: list[TensorData] = []
    build = pilot.resolve_components

    def note(config: Any, **parts: Any) -> Any:
        seen.append(parts["data"])
        return build(config, **parts)

    monkeypatch.setattr(pilot, "resolve_components", note)
    return seen


def _diverging(monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
    train = pilot.train_parts

    def train_or_not(parts: Any, *rest: Any) -> Flow:
        if parts.prior.name in names:
            raise TrainingDiverged("training: the loss is not finite")
        return train(parts, *rest)

    monkeypatch.setattr(pilot, "train_parts", train_or_not)


@pytest.mark.slow
def test_a_design_whose_training_diverges_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _diverging(monkeypatch, ["gmm"])
    assert list(compare_flows([BASE, GAUSSIANS], clouds(50), 0).scores) == ["gaussian + condot"]


def test_where_all_diverge_the_data_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _diverging(monkeypatch, ["gmm", "gaussian"])
    with pytest.raises(InputError, match="every short training diverged"):
        compare_flows([BASE, GAUSSIANS], clouds(50), 0)


@pytest.mark.slow
def test_the_choice_of_many_points_is_made_by_them() -> None:
    data: Data = clouds(1000)
    found = choose_design(data, compare_flows)
    assert found.prior in (FULL, "gmm:covariance=full", LATENT)
    assert found.reason.startswith(f"{found.prior} + {found.coupling}: sliced W2² ")
    assert found.reason.endswith("of N(0, I) + condot")
    assert "\n" not in found.reason
