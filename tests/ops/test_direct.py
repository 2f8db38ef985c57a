"""The short way to the CPU's operators: who may take it, and that it changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from flowprior.ops import gmm_log_prob, gmm_sample
from flowprior.ops.backend import native_devices
from flowprior.ops.operators import is_plain, is_simple

from .mixtures import mixture

pytestmark = pytest.mark.skipif("cpu" not in native_devices(), reason="no native operators")


def test_tensors_that_may_be_differentiated_take_the_long_way():
    x, leaf = torch.zeros(2), torch.zeros(2, requires_grad=True)
    assert is_plain(x, torch.nn.Parameter(x, requires_grad=False))
    assert not is_plain(x, leaf)
    assert is_simple(x, leaf)
    with torch.no_grad():
        assert is_plain(x, leaf)


def test_transforms_forward_mode_and_other_devices_take_the_long_way():
    x = torch.zeros(3)
    seen = []
    torch.func.vmap(lambda row: seen.append(is_simple(row)) or row)(x)
    with forward_ad.dual_level():
        seen.append(is_simple(x))
    assert seen == [False, False]
    assert not is_simple(x, x.to("meta"))


def test_both_ways_give_the_same(generator):
    tables, cond, seed = mixture(generator), torch.tensor([0, 2, 1]), torch.tensor([1])
    logits, mean, scale = tables[0], tables[1].flatten(2), tables[2].flatten(2)
    x = torch.randn(3, mean.shape[2], generator=generator, dtype=mean.dtype)
    for result, expected in (
        (gmm_sample(logits, mean, scale, cond, seed), gmm_sample(logits, mean, scale, cond.int(), seed)),
        (gmm_log_prob(x, logits, mean, scale, cond), gmm_log_prob(x, logits, mean, scale, cond.int())),
    ):
        assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
