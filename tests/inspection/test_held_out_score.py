"""The energy score of a prior's draws has its known value, and tells a better prior from a worse one."""

import math

import torch
from torch import Tensor

from flowprior.data import as_data
from flowprior.inspection.examples import Examples
from flowprior.inspection.held_out_score import held_out_scores
from flowprior.priors import GaussianPrior, Prior


def examples_of(x: Tensor) -> Examples:
    return Examples.of(as_data(x), limit=len(x))


def score(prior: Prior, examples: Examples) -> float:
    return float(held_out_scores(prior, examples, torch.Generator().manual_seed(1)).mean())


def test_of_the_law_itself_it_is_half_the_mean_distance_of_two_draws() -> None:
    found = []
    for seed in range(5):
        examples = examples_of(torch.randn(2500, 1, generator=torch.Generator().manual_seed(seed)))
        found.append(score(GaussianPrior().fit((examples.x, None)), examples))
    assert abs(sum(found) / 5 - 1 / math.sqrt(math.pi)) < 0.02


def test_a_law_that_is_moved_or_too_wide_has_a_larger_one() -> None:
    x = 0.3 * torch.randn(2500, 3, generator=torch.Generator().manual_seed(0))
    own, moved = examples_of(x), examples_of(x + 1)
    fitted = GaussianPrior(moments="diagonal").fit((own.x, None))
    assert score(fitted, own) < 0.8 * score(GaussianPrior().fit((own.x, None)), own)
    assert score(fitted, own) < 0.5 * score(fitted, moved)


def test_it_is_the_same_again() -> None:
    examples = examples_of(torch.randn(100, 2, generator=torch.Generator().manual_seed(0)))
    prior = GaussianPrior().fit((examples.x, None))
    assert score(prior, examples) == score(prior, examples)
