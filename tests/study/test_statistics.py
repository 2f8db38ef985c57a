"""Spreads and paired tests against scipy, and what they say of few seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from flowprior.evaluation.summary import spread
from flowprior.study.summary import paired_t_p, paired_test, sign_flip_p


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_spread_is_the_sample_mean_and_deviation():
    values = [3.0, 4.5, 4.0, 7.25]
    found = spread(values)
    assert found.n == 4
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert spread([2.5]).std is None


@pytest.mark.parametrize("count", [2, 3, 5, 8, 11])
def test_the_sign_flip_test_sets_the_sum_against_every_choice_of_signs(count):
    differences = np.random.default_rng(count).normal(0.4, 1.0, count)
    signs = np.array(list(itertools.product((1, -1), repeat=count)))
    expected = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-12))
    assert sign_flip_p(list(differences)) == pytest.approx(expected, abs=1e-12)


def test_rounding_does_not_break_ties():
    assert sign_flip_p([0.1, 0.2, 0.3]) == 0.25
    assert sign_flip_p([0.1, 0.1, 0.1, 0.1]) == 2 / 16


def test_many_seeds_are_drawn_and_agree_with_the_normal_limit():
    differences = np.random.default_rng(1).normal(0.3, 1.0, 60)
    drawn = sign_flip_p(list(differences))
    z = abs(differences.sum()) / np.sqrt(np.square(differences).sum())
    assert drawn == pytest.approx(2 * stats.norm.sf(z), abs=0.01)
    assert sign_flip_p(list(differences)) == drawn


def test_the_t_test_is_that_of_the_differences():
    ours, theirs = [3.0, 4.0, 5.5, 2.0], [3.5, 5.0, 5.0, 4.0]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, deviation = np.mean(differences), np.std(differences, ddof=1)
    by_hand = 2 * stats.t.sf(abs(mean) * 2 / deviation, 3)
    assert paired_t_p(ours, theirs) == pytest.approx(by_hand, rel=1e-12)
    assert paired_t_p([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]) is None
    assert paired_t_p([1.0, 2.0], [0.0, 0.0]) is None


def test_seeds_are_paired_whatever_their_order():
    found = paired_test({2: 1.0, 0: 5.0, 7: 9.0}, {0: 6.0, 2: 3.0, 9: 0.0})
    assert found is not None
    assert (found.n, found.difference, found.wins) == (2, -1.5, 2)
    assert found.ratio == pytest.approx(6 / 9)
    assert paired_test({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("seeds", "verdict", "smallest"),
    [(1, "too few seeds", None), (5, "too few seeds", 1 / 16), (6, "better", 1 / 32)],
)
def test_five_seeds_cannot_show_what_six_can(seeds, verdict, smallest):
    found = paired_test(by_seed([1.0 + 0.1 * n for n in range(seeds)]), by_seed([3.0] * seeds))
    assert found is not None
    assert (found.verdict, found.smallest_p) == (verdict, smallest)
    assert found.p_sign_flip == smallest


def test_the_better_side_decides_what_is_better():
    high, low = by_seed([5.0, 6.0, 7.0, 5.5, 6.5, 7.5]), by_seed([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    wanted = {("lower", 0): "better", ("lower", 1): "worse", ("higher", 0): "worse", ("higher", 1): "better"}
    for (side, place), verdict in wanted.items():
        pair = (low, high) if place == 0 else (high, low)
        found = paired_test(*pair, better=side)
        assert found is not None
        assert found.verdict == verdict
        assert found.wins == (6 if verdict == "better" else 0)


def test_equal_designs_show_no_difference():
    values = by_seed([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = paired_test(values, values)
    assert found is not None
    assert (found.verdict, found.p_sign_flip, found.p_t, found.wins) == ("no difference shown", 1.0, None, 0)


def test_a_seed_that_diverged_has_a_deviation_too():
    assert spread([1e160, 0.0]).std == float("inf")
