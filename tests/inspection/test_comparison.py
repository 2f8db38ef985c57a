"""A prior takes the place of a safer one only where held-out rows say so for sure."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import TensorData
from flowprior.inspection.comparison import ENOUGH_ROWS, best_for_sure, compare_priors, lead_over
from flowprior.inspection.examples import Examples
from flowprior.inspection.held_out_score import held_out_scores
from flowprior.priors import Prior

BASE = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


def test_the_error_is_that_of_the_differences_not_of_the_scores() -> None:
    gain, error = lead_over(BASE - torch.tensor([0.1, 0.2, 0.1, 0.2]), BASE)
    assert gain == pytest.approx(0.15)
    assert error == pytest.approx(0.1 / 3**0.5 / 2)


def test_a_gain_within_its_error_leaves_the_safer_one() -> None:
    unsure = BASE - torch.tensor([1.0, -0.9, 1.0, -0.9])
    assert float(unsure.mean()) < float(BASE.mean())
    assert best_for_sure({"safe": BASE, "other": unsure}) == "safe"
    assert best_for_sure({"safe": BASE, "other": BASE - 0.1}) == "other"
    assert best_for_sure({"safe": BASE, "same": BASE.clone()}) == "safe"


def test_each_is_compared_with_the_one_that_is_held() -> None:
    scores = {"a": BASE, "worse": BASE + 1, "b": BASE - 1, "between": BASE - 0.5, "c": BASE - 2}
    assert best_for_sure(scores) == "c"
    del scores["c"]
    assert best_for_sure(scores) == "b"


def points(count: int) -> TensorData:
    return TensorData(torch.randn(count, 2, generator=torch.Generator().manual_seed(0)))


def test_few_rows_are_all_held_out_once_and_many_until_there_are_enough() -> None:
    few, many = points(60), points(2400)
    assert len(compare_priors(["gaussian"], Examples.folds(few, 4000), 0)["gaussian"]) == 60
    assert ENOUGH_ROWS <= len(compare_priors(["gaussian"], Examples.folds(many, 4000), 0)["gaussian"]) < 1000


def test_the_scores_are_those_of_the_prior_fitted_to_the_fold() -> None:
    examples = next(Examples.folds(points(60), 4000))
    found = compare_priors(["gaussian:moments=diagonal"], [examples], 3)["gaussian:moments=diagonal"]
    generator = torch.Generator().manual_seed(3)
    prior = Prior.create("gaussian", moments="diagonal").fit((examples.x, None), generator=generator)
    torch.testing.assert_close(found, held_out_scores(prior, examples, generator))
