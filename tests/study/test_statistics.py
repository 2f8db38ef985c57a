"""Spreads and paired tests against their definitions, and what few seeds can show."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from flowprior.evaluation.summary import spread
from flowprior.study.summary import paired_test, sign_flip_p


def test_a_spread_is_the_sample_mean_and_deviation():
    values = [3.0, 4.5, 4.0, 7.25]
    found = spread(values)
    assert found.n == 4
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert spread([2.5]).std is None
    assert spread([1e160, 0.0]).std == pytest.approx(1e160 / 2**0.5), "of a seed that diverged, too"


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
    differences = np.random.default_rng(1).normal(0.3, 1.0, 24)
    drawn = sign_flip_p(list(differences))
    z = abs(differences.sum()) / np.sqrt(np.square(differences).sum())
    assert drawn == pytest.approx(2 * stats.norm.sf(z), abs=0.01)
    assert sign_flip_p(list(differences)) == drawn


def test_seeds_are_paired_whatever_their_order():
    found = paired_test({2: 1.0, 0: 5.0, 7: 9.0}, {0: 6.0, 2: 3.0, 9: 0.0})
    assert found == {"n": 2, "ratio": pytest.approx(6 / 9), "p": 0.5}
    assert paired_test({0: 1.0}, {1: 1.0}) is None
    assert paired_test({0: 1.0}, {0: 0.0}) == {"n": 1, "ratio": None, "p": None}


@pytest.mark.parametrize("seeds", [2, 5, 6])
def test_n_seeds_cannot_give_less_than_two_to_the_minus_n(seeds):
    found = paired_test({n: 1.0 + 0.1 * n for n in range(seeds)}, dict.fromkeys(range(seeds), 3.0))
    assert found is not None
    assert found["p"] == 2 / 2**seeds


def test_equal_designs_show_no_difference():
    values = dict(enumerate([1.0, 2.0, 3.0]))
    assert paired_test(values, values) == {"n": 3, "ratio": 1.0, "p": 1.0}
