"""Transport costs, and the source mismatch of training and sampling."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.couplings import Coupling, SourceMismatch, source_mismatch, transport_cost
from flowprior.couplings.costs import condition_distance, condition_weight, squared_distances
from flowprior.couplings.mismatch import compare_samples
from flowprior.couplings.ot import OTCoupling
from flowprior.couplings.plans import assignment
from flowprior.errors import CouplingError, InputError

from .laws import fitted, two_classes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_distances_against_the_definition(dtype: torch.dtype) -> None:
    x1, x0 = torch.randn(7, 2, 3, dtype=dtype), torch.randn(5, 2, 3, dtype=dtype)
    before = x1.clone(), x0.clone()
    expected = (x1[:, None].double() - x0[None].double()).square().sum((2, 3))
    cost = squared_distances(x1, x0)
    assert cost.dtype == torch.float64
    torch.testing.assert_close(cost, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((x1, x0), before, rtol=0, atol=0)


def test_far_from_the_origin_nothing_cancels() -> None:
    x1 = 1e6 + torch.randn(20, 4, dtype=torch.float64)
    x0 = x1 + 1e-3 * torch.randn(20, 4, dtype=torch.float64)
    expected = (x1[:, None] - x0[None]).square().sum(2)
    torch.testing.assert_close(squared_distances(x1, x0), expected, rtol=1e-6, atol=1e-12)
    assert (squared_distances(x1, x1) >= 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_non_finite_costs_raise(bad: float) -> None:
    x = torch.zeros(3, 2, dtype=torch.float64)
    broken = x.clone()
    broken[1, 1] = bad
    for rows in ((broken, x), (x, broken)):
        with pytest.raises(CouplingError, match="not finite"):
            squared_distances(*rows)
    with pytest.raises(CouplingError, match="not finite"):
        OTCoupling().pair(x, broken, torch.zeros(3, dtype=torch.long))


def test_transport_cost_is_the_mean_over_pairs_in_float64() -> None:
    x0, x1 = torch.zeros(4, 1, 2), torch.tensor([1.0, 2.0]).expand(4, 1, 2)
    cost = transport_cost(x0, x1)
    assert cost.dtype == torch.float64
    assert float(cost) == 5.0
    with pytest.raises(CouplingError, match="expected equal shapes"):
        transport_cost(x0, x1[:2])


def batch(n: int, seed: int, classes: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    x1 = torch.randn(n, 3, generator=generator, dtype=torch.float64) + 1.0
    if classes:
        return x0, x1, torch.randint(0, classes, (n,), generator=generator)
    return x0, x1, torch.randn(n, 2, generator=generator, dtype=torch.float64)


def candidates(cost: torch.Tensor, distance: torch.Tensor, weight: float) -> float:
    """Return the share of off-diagonal pairs that are cheaper than the datum's own source sample."""
    cheaper = cost + weight * distance < cost.diagonal()[:, None]
    return float(cheaper.sum()) / (len(cost) * (len(cost) - 1))


@given(n=st.integers(8, 40), seed=st.integers(0, 1000), share=st.floats(0.0, 0.4))
def test_the_weight_leaves_the_wanted_share(n: int, seed: int, share: float) -> None:
    x0, x1, embedding = batch(n, seed)
    cost, distance = squared_distances(x1, x0), condition_distance(embedding)
    weight = condition_weight(cost, distance, share)
    assert weight >= 0.0
    wanted = min(share, candidates(cost, distance, 0.0))
    assert candidates(cost, distance, weight) == pytest.approx(wanted, abs=1.01 / (n * (n - 1)))


def test_an_infinite_weight_is_pairing_within_and_none_pairing_that_ignores() -> None:
    x0, x1, labels = batch(60, 2, classes=5)
    cost = squared_distances(x1, x0)
    within = assignment(cost + 1e9 * condition_distance(labels))
    torch.testing.assert_close(within, OTCoupling(condition="within").pair(x0, x1, labels))
    ignoring = OTCoupling(condition="ignore").pair(x0, x1, labels)
    torch.testing.assert_close(ignoring, assignment(cost))
    for cond in (labels, batch(60, 3)[2]):
        weighted = OTCoupling(condition="weighted", kept_share=1.0).pair(x0, x1, cond)
        torch.testing.assert_close(ignoring, weighted)


# -- the source mismatch --------------------------------------------------------------------------


def energy(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ and 2E‖X − Y‖, by the definition."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    cross = 2 * float(torch.cdist(x, y).mean())
    return cross - float(torch.cdist(x, x).mean()) - float(torch.cdist(y, y).mean()), cross


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistic_against_its_definition(dtype: torch.dtype) -> None:
    x, y = torch.randn(2, 40, 2, 3, dtype=dtype) + torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)
    gap = compare_samples(x, y.to(dtype), None, permutations=1)
    expected, cross = energy(x, y)
    assert gap.energy == pytest.approx(expected, rel=1e-5)
    assert gap.coefficient == pytest.approx(expected / cross, rel=1e-5)
    assert gap.samples == 40
    assert gap.conditions == 1


def test_within_labels_it_is_the_mean_over_the_classes() -> None:
    labels = torch.tensor([0] * 10 + [1] * 30)[torch.randperm(40)]
    x, y = torch.randn(2, 40, 3, dtype=torch.float64)
    parts = {k: energy(x[labels == k], y[labels == k]) for k in (0, 1)}
    gap = compare_samples(x, y, labels, permutations=1)
    assert gap.energy == pytest.approx(0.25 * parts[0][0] + 0.75 * parts[1][0])
    assert gap.coefficient == pytest.approx(gap.energy / (0.25 * parts[0][1] + 0.75 * parts[1][1]))
    assert gap.conditions == 2


def test_a_difference_within_labels_is_seen_where_the_pooled_laws_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    sign = 2.0 * labels[:, None] - 1
    noise = torch.randn(2, 200, 1, generator=generator)
    x, y = noise[0] + sign, noise[1] - sign
    assert compare_samples(x, y, labels, generator=generator, permutations=99).p_value == 0.01
    assert compare_samples(x, y, None, generator=generator, permutations=99).p_value > 0.05


def test_p_values_are_uniform_where_the_laws_agree() -> None:
    """200 tests at level 0.1: 20 rejections expected, 5 standard deviations (21) allowed either way."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(30) % 3
    values = torch.tensor(
        [
            compare_samples(
                *torch.randn(2, 30, 2, generator=generator), labels, generator=generator, permutations=99
            ).p_value
            for _ in range(200)
        ]
    )
    assert abs(int((values <= 0.1).sum()) - 20) < 5 * (200 * 0.1 * 0.9) ** 0.5
    assert abs(int((values <= 0.5).sum()) - 100) < 5 * (200 * 0.25) ** 0.5


def test_of_a_coupling() -> None:
    x1, labels = two_classes(400, 0)
    prior = fitted("gaussian")
    same = [
        source_mismatch(
            Coupling.create("condot"), prior, x1, labels, generator=torch.Generator().manual_seed(3)
        )
        for _ in range(2)
    ]
    assert same[0] == same[1]
    assert same[0].permutations == 200
    assert same[0].p_value > 0.005
    assert isinstance(same[0], SourceMismatch)
    assert json.loads(json.dumps(same[0].as_dict()))["coefficient"] == same[0].coefficient


def test_one_example_of_a_class_is_no_trouble() -> None:
    x1, labels = two_classes(20, 0)
    labels = torch.where(torch.arange(20) == 3, 1, 0)
    gap = source_mismatch(Coupling.create("ot"), fitted("gmm"), x1, labels)
    assert 0.0 <= gap.coefficient <= 1.0
    assert gap.conditions == 2


def test_samples_that_are_all_one_point_agree() -> None:
    gap = compare_samples(torch.ones(6, 2), torch.ones(6, 2), None, permutations=3)
    assert (gap.energy, gap.coefficient, gap.p_value) == (0.0, 0.0, 1.0)


def test_nothing_to_compare() -> None:
    x1, labels = two_classes(10, 0)
    with pytest.raises(InputError, match="got 0 rows"):
        source_mismatch(Coupling.create("condot"), fitted("gmm"), x1[:0], labels[:0])
    with pytest.raises(InputError, match="permutations=0"):
        source_mismatch(Coupling.create("condot"), fitted("gmm"), x1, labels, permutations=0)
    with pytest.raises(InputError, match="no latent variables"):
        source_mismatch(Coupling.create("posterior"), fitted("gaussian"), x1, labels)
