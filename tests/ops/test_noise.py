"""Standard normal noise."""

from __future__ import annotations

import pytest
import torch

from flowprior.ops import standard_normal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_shape_dtype_and_law(dtype, generator):
    noise = standard_normal(20_000, 3, torch.empty(0, dtype=dtype), generator)
    assert noise.shape == (20_000, 3)
    assert noise.dtype == dtype
    error = 5 / 20_000**0.5
    torch.testing.assert_close(noise.mean(0), torch.zeros(3, dtype=dtype), rtol=0, atol=error)
    torch.testing.assert_close(noise.T.cov(), torch.eye(3, dtype=dtype), rtol=0, atol=error * 2**0.5)


def test_noise_depends_on_its_generator_alone():
    like = torch.empty(0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = standard_normal(4, 2, like, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator is left alone"
    assert torch.equal(first, standard_normal(4, 2, like, torch.Generator().manual_seed(5)))
    default = standard_normal(4, 2, like, None)
    torch.manual_seed(1)
    assert torch.equal(default, standard_normal(4, 2, like, None)), "None means torch's own"
