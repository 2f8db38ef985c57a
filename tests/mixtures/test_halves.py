"""The share of draws that lie nearer to their own half."""

import torch

from flowprior.mixtures.averaging import nearer_share


def test_copies_of_a_half_are_all_nearer_to_it(generator):
    own, other = torch.randn(2, 300, 5, generator=generator)
    assert nearer_share(own, own, other) == 1
    assert nearer_share(other, own, other) == 0


def test_new_draws_of_the_same_law_are_half(generator):
    x, own, other = torch.randn(3, 3000, 5, generator=generator)
    assert abs(nearer_share(x, own, other) - 0.5) < 0.04


def test_ties_count_half_and_nothing_tells_nothing():
    zero = torch.zeros(4, 2)
    assert nearer_share(zero, zero, zero) == 0.5
    assert nearer_share(zero[:0], zero, zero) == 0.5
    assert nearer_share(zero, zero, zero[:0]) == 0.5


def test_far_from_the_origin_a_copy_is_still_known(generator):
    own, other = torch.randn(2, 100, 3, generator=generator) + 1e4
    assert nearer_share(own, own, other) == 1
