"""A mean and a scale from the condition: what they learn of a law that is known, and what they tell."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior import Prior
from flowprior.errors import InputError
from flowprior.priors.mappers import PictureMapper

SPEC = "learned-mean:covariance=diagonal,hidden=64,depth=1,batch_size=128"


def heteroscedastic(n: int = 3000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x = (c, −c) + (0.1 + |c|/2, 0.3) ε for c in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    c = 2 * torch.rand(n, 1, generator=generator) - 1
    scale = torch.cat([0.1 + c.abs() / 2, torch.full_like(c, 0.3)], 1)
    return torch.cat([c, -c], 1) + scale * torch.randn(n, 2, generator=generator), c


def fitted(floor: float = 0.0, epochs: int = 40, steps: int = 400) -> Prior:
    spec = f"{SPEC},epochs={epochs},steps={steps},reg_covar={floor}"
    return Prior.registry.resolve(spec).fit(heteroscedastic(), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def prior() -> Prior:
    return fitted()


def test_scale_follows_the_condition(prior):
    for c in (-0.8, 0.3, 0.8):
        x = prior.sample(torch.full((20000, 1), c), generator=torch.Generator().manual_seed(1))
        assert x.mean(0).tolist() == pytest.approx([c, -c], abs=0.06)
        assert x.std(0).tolist() == pytest.approx([0.1 + abs(c) / 2, 0.3], rel=0.15)


def test_floor_is_the_source_samples_own():
    floor, bare = (fitted(value, epochs=2, steps=40) for value in (0.25, 0.0))
    cond = torch.tensor([[-0.5], [0.5]])
    with_floor, without = floor.spread(cond, 2), bare.spread(cond, 2)
    assert torch.allclose(with_floor.noise, without.noise + 0.25, atol=1e-5)
    data = with_floor.noise * with_floor.data
    assert torch.allclose(data, without.noise * without.data, atol=1e-5)


def test_null_condition_has_the_moments_of_all_data(prior):
    x, _ = heteroscedastic()
    frame = prior.spread(torch.zeros(1, 1), 1)
    assert torch.allclose(frame.loc[0], x.mean(0), atol=0.02)
    assert torch.allclose((frame.noise * frame.data)[0], x.var(0), rtol=0.02)
    drawn = prior.sample_marginal(20000, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(frame.noise[0], drawn.var(0), rtol=0.1)
    cond = heteroscedastic(20000, seed=8)[1]
    x1, x0 = heteroscedastic(20000, seed=8)[0], prior.sample(cond, generator=torch.Generator().manual_seed(5))
    pairs = ((x0 - x0.mean(0)) * (x1 - x1.mean(0))).mean(0)
    assert torch.allclose((frame.shared * frame.noise)[0], pairs, rtol=0.1)


def test_a_mean_that_copies_its_rows_does_not_make_the_spread_too_narrow():
    x, c = heteroscedastic(160)
    spec = "learned-mean:covariance=diagonal,hidden=256,depth=2,holdout=0.3,epochs=60,steps=400,reg_covar=0"
    prior = Prior.registry.resolve(spec).fit((x, c), generator=torch.Generator().manual_seed(0))
    new, cond = heteroscedastic(4000, seed=9)
    frame = prior.spread(cond, len(cond))
    calibration = ((new - frame.loc).square() / frame.noise).mean()
    assert 0.6 < float(calibration) < 1.6


def test_pictures_are_mapped_by_a_network_that_does_not_depend_on_place():
    mapper = PictureMapper((1, 4, 4), (2, 16, 16), hidden=128, depth=1)
    mapper.initialise(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(mapper.out.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    cond = torch.rand(3, 1, 4, 4)
    out = mapper(cond)
    assert out.shape == (3, 2 * 16 * 16)
    assert torch.equal(out, mapper(cond.flatten(1)))
    assert PictureMapper((3, 5, 7), (1, 9, 6))(torch.zeros(2, 105)).shape == (2, 54)
    with pytest.raises(InputError, match=r"expected conditions and events \[C, H, W\] for mapper='unet'"):
        PictureMapper((7,), (1, 9, 6))
    assert sum(p.numel() for p in mapper.parameters()) < 20_000


def test_the_mean_of_pictures_beats_the_stretched_condition():
    generator = torch.Generator().manual_seed(0)
    wave = torch.linspace(0, 2 * math.pi, 8)
    phase = 6.28 * torch.rand(800, 1, 1, 1, generator=generator)
    x = torch.sin(wave[None, None, :, None] + phase) * torch.cos(wave)[None, None, None]
    cond = torch.nn.functional.avg_pool2d(x, 4)
    prior = Prior.registry.resolve("learned-mean:covariance=diagonal,hidden=128,depth=1,epochs=15,steps=50")
    prior.fit((x[:700], cond[:700]), generator=generator)
    error = (prior.mean(cond[700:]) - x[700:]).square().mean()
    stretched = torch.nn.functional.interpolate(cond[700:], (8, 8), mode="bilinear")
    assert error < 0.2 * (stretched - x[700:]).square().mean()
