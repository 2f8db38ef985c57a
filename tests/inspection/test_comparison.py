"""A prior takes the place of a safer one only where held-out rows say so for sure."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import TensorData
from flowprior.inspection.comparison import ENOUGH_ROWS, Comparison, compare_priors
from flowprior.inspection.examples import Examples
from flowprior.inspection.held_out_score import held_out_scores
from flowprior.priors import Prior

BASE = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


def comparison(fitted: int = 10_000, **scores: torch.Tensor) -> Comparison:
    return Comparison(scores, fitted)


def test_the_error_is_that_of_the_differences_not_of_the_scores() -> None:
    found = comparison(10**9, safe=BASE, other=BASE - torch.tensor([0.1, 0.2, 0.1, 0.2]))
    gain, error = found.lead("other", "safe")
    assert gain == pytest.approx(0.15)
    assert error == pytest.approx(0.1 / 3**0.5 / 2)


def test_rows_that_a_prior_is_fitted_to_count_as_a_sample_too() -> None:
    scores = {"safe": BASE, "other": BASE - torch.tensor([0.1, 0.2, 0.1, 0.2])}
    many, few = (comparison(fitted, **scores).lead("other", "safe").error for fitted in (10**9, 4))
    assert few == pytest.approx(many * 2**0.5)


def test_folds_of_few_rows_have_half_as_large_an_error_again() -> None:
    """Five folds: 60 rows held out, fits to 48."""
    found = compare_priors(["gaussian", "gaussian:moments=diagonal"], Examples.folds(points(60), 4000), 0)
    gains = found.scores["gaussian"] - found.scores["gaussian:moments=diagonal"]
    naive = float(gains.std()) / 60**0.5
    assert found.lead("gaussian:moments=diagonal", "gaussian").error == pytest.approx(1.5 * naive)


def test_a_gain_within_its_error_leaves_the_safer_one() -> None:
    unsure = BASE - torch.tensor([1.0, -0.9, 1.0, -0.9])
    assert float(unsure.mean()) < float(BASE.mean())
    found = comparison(safe=BASE, unsure=unsure, other=BASE - 0.1, same=BASE.clone())
    assert found.best_for_sure(["safe", "unsure"]) == "safe"
    assert found.best_for_sure(["safe", "other"]) == "other"
    assert found.best_for_sure(["safe", "same"]) == "safe"


def test_more_errors_may_be_asked_for() -> None:
    lead = comparison(safe=BASE, other=BASE - torch.tensor([0.5, 0.1, -0.1, 0.4])).lead("other", "safe")
    assert lead.is_sure()
    assert not lead.is_sure(2.0)


def test_each_is_compared_with_the_one_that_is_held() -> None:
    found = comparison(a=BASE, worse=BASE + 1, b=BASE - 1, between=BASE - 0.5, c=BASE - 2)
    assert found.best_for_sure(list(found.scores)) == "c"
    assert found.best_for_sure(["a", "worse", "b", "between"]) == "b"


def points(count: int) -> TensorData:
    return TensorData(torch.randn(count, 2, generator=torch.Generator().manual_seed(0)))


def test_few_rows_are_all_held_out_once_and_many_until_there_are_enough() -> None:
    few, many = points(60), points(2400)
    counts = [
        len(compare_priors(["gaussian"], Examples.folds(data, 4000), 0).scores["gaussian"])
        for data in (few, many)
    ]
    assert counts[0] == 60
    assert ENOUGH_ROWS <= counts[1] < 1000


def test_the_scores_are_those_of_the_prior_fitted_to_the_fold() -> None:
    examples = next(Examples.folds(points(60), 4000))
    found = compare_priors(["gaussian:moments=diagonal"], [examples], 3)
    assert found.fitted == len(examples.x)
    generator = torch.Generator().manual_seed(3)
    prior = Prior.create("gaussian", moments="diagonal").fit((examples.x, None), generator=generator)
    expected = held_out_scores(prior, examples, generator)
    torch.testing.assert_close(found.scores["gaussian:moments=diagonal"], expected)
