"""How often the truth lies in the intervals of several samples of one condition."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.extensions.series.metrics import coverage


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("members", [19, 20, 50])
@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_intervals_of_members_of_the_true_law_cover_as_often_as_they_say(members, probability):
    """To within 1 %, three standard errors of 20,000 conditions, whatever the number of members."""
    found = coverage(normal(20000, members, 1), normal(20000, 1, seed=1), probability)
    assert float(found.mean()) == pytest.approx(probability, abs=0.01)


@pytest.mark.parametrize(("members", "probability"), [(18, 0.9), (2, 0.5), (50, 1.0), (50, -1.0)])
def test_intervals_that_members_do_not_tell_are_refused(members, probability):
    with pytest.raises(OptionError, match="coverage: expected "):
        coverage(normal(4, members, 1), normal(4, 1), probability)
