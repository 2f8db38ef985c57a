"""The spread of a mapper's residuals follows the condition: a low-rank or a diagonal covariance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior import Prior
from flowprior.conditions import Condition
from flowprior.errors import CheckpointError, InputError
from flowprior.priors.conditional_spread import ConditionalSpread
from flowprior.priors.holdout import Holdout
from flowprior.priors.learned_mean import LearnedMeanPrior
from flowprior.priors.mappers import PictureMapper
from flowprior.priors.network_training import KeptMean, Mapper, NetworkTraining
from flowprior.priors.old_formats import current_spec
from flowprior.streams.batches import CheckedBatches

LONG, SHORT, NOISE = 1.5, 0.3, 0.1
PLANE = torch.linalg.qr(torch.randn(4, 2, generator=torch.Generator().manual_seed(5))).Q
QUICK = {"covariance": "lowrank", "reg_covar": 1e-6, "hidden": 32, "depth": 1, "batch_size": 128, "lr": 3e-3}


def turning(count: int, seed: int, angle: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rows ``[count, 4]`` whose plane of two modes turns with the embedding ``[count, 1]``, an angle."""
    generator = torch.Generator().manual_seed(seed)
    cond = 3 * torch.rand(count, 1, generator=generator) - 1.5 if angle is None else angle.expand(count, 1)
    axis = torch.cat([cond.cos(), cond.sin()], 1)
    across = torch.cat([-cond.sin(), cond.cos()], 1)
    side = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
    own = side + 0.3 * torch.randn(count, 1, generator=generator)
    flat = LONG * own * axis + SHORT * torch.randn(count, 1, generator=generator) * across
    mean = torch.cat([2 * cond, cond.square(), cond * 0, cond * 0 + 1], 1)
    return mean + flat @ PLANE.T + NOISE * torch.randn(count, 4, generator=generator), cond


def covariance_at(angle: float) -> Tensor:
    """The true covariance ``[4, 4]`` under an embedding."""
    axis, across = (torch.tensor([math.cos(a), math.sin(a)]) @ PLANE.T for a in (angle, angle + math.pi / 2))
    along = LONG**2 * 1.09 * axis.outer(axis) + SHORT**2 * across.outer(across)
    return along + NOISE**2 * torch.eye(4)


def fit_turning(rows: int = 3000, seed: int = 0, **options) -> LearnedMeanPrior:
    settings = {
        **QUICK,
        "batch_size": 256,
        "rank": 2,
        "components": 4,
        "steps": 500,
        "epochs": 50,
        **options,
    }
    prior = Prior.create("learned-mean", **settings)
    return prior.fit(turning(rows, 1 + seed), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fitted() -> LearnedMeanPrior:
    return fit_turning()


@pytest.mark.parametrize("angle", [-1.0, 0.1, 1.0])
def test_samples_have_the_covariance_of_a_condition_it_has_not_seen(fitted, angle, generator):
    cond = torch.full((20_000, 1), angle)
    drawn = fitted.sample(cond, generator=generator)
    truth = covariance_at(angle)
    assert (drawn.T.cov() - truth).abs().max() < 0.2 * truth.diagonal().max()
    pooled = covariance_at(0.0) * 0.5 + covariance_at(math.pi / 2) * 0.5
    assert (drawn.T.cov() - truth).norm() < 0.5 * (pooled - truth).norm(), "it turns with the condition"


def test_samples_have_the_two_modes(fitted, generator):
    """In the direction between the modes hardly anything lies in the middle; of a Gaussian a fifth would."""
    for angle in (-1.0, 0.5):
        cond = torch.full((4000, 1), angle)
        drawn = fitted.sample(cond, generator=generator) - fitted.mean(cond)
        axis = torch.tensor([math.cos(angle), math.sin(angle)]) @ PLANE.T
        middle = ((drawn @ axis).abs() < 0.25 * LONG).double().mean()
        assert middle < 0.08, angle


def test_the_latents_have_mean_0_and_variance_1(fitted):
    mixture = fitted.residuals.latents
    weight = mixture.logits[0].softmax(0)
    torch.testing.assert_close(weight @ mixture.loc[0], torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(weight @ (mixture.loc[0].square() + mixture.var[0]), torch.ones(2))


def test_inferred_source_samples_follow_the_datum_and_the_drawn_law(fitted, generator):
    angle = torch.tensor([[0.7]])
    x1, cond = turning(4000, 3, angle)
    inferred, drawn = fitted.infer(x1, cond, generator=generator), fitted.sample(cond, generator=generator)
    axis = torch.tensor([math.cos(0.7), math.sin(0.7)]) @ PLANE.T
    along = [(x - fitted.mean(cond)) @ axis for x in (x1, inferred, drawn)]
    assert torch.corrcoef(torch.stack(along[:2]))[0, 1] > 0.9
    places = [part.sort().values for part in along[1:]]
    assert (places[0] - places[1]).square().mean() < 0.05 * LONG**2, "W2² of the two along that axis"


def test_the_coordinates_of_the_frame_are_white_and_the_pairs_have_the_known_slope(fitted, generator):
    """What the linear velocity relies on: unit variances, and a covariance of 1 − 1/λ of source and datum."""
    x1, cond = turning(20_000, 4, torch.tensor([[-0.4]]))
    frame = fitted.spread(cond, len(cond))
    h1 = frame.coordinates(x1)
    h0 = frame.coordinates(fitted.infer(x1, cond, generator=generator))
    torch.testing.assert_close(h1.square().mean(0), torch.ones(2), rtol=0.2, atol=0)
    torch.testing.assert_close((h0 * h1).mean(0), 1 - 1 / frame.spread[0], rtol=0.2, atol=0.02)
    assert (h1[:, 0] * h1[:, 1]).mean().abs() < 0.15


def test_each_principal_axis_takes_its_variance_from_held_out_rows(generator):
    """The network calls the long axis twice as long as it is, and the short one half as long."""
    spread = ConditionalSpread(Condition("embeddings", 1), dim=4, rank=2, hidden=8, depth=1, floor=0)
    spread.basis, spread.noise = PLANE, torch.full((4,), NOISE**2)
    spread.spread = torch.tensor([900.0, 25.0])
    lengths = NOISE * torch.tensor([450.0, 50.0]).sqrt()
    flat = torch.randn(20_000, 2, generator=generator) * lengths
    x = flat @ PLANE.T
    rows = Holdout(CheckedBatches((x, torch.zeros(len(x), 1)), "test"), 0.5)
    spread._calibrate(rows, lambda cond: cond.new_zeros(len(cond), 4))
    torch.testing.assert_close(spread.factors[:2], torch.tensor([0.5, 2.0]), rtol=0.05, atol=0)
    frame = spread.frame(torch.zeros(1, 4), torch.zeros(1, 1))
    torch.testing.assert_close(frame.spread[0], torch.tensor([450.0, 50.0]), rtol=0.05, atol=0)


@pytest.mark.slow
def test_the_mean_is_surer_where_the_law_tells_the_mode_of_a_row():
    """Of two modes 3 apart and .9 wide each a Gaussian likelihood takes all of it for noise."""
    _, cond = turning(2000, 7)
    truth = torch.cat([2 * cond, cond.square(), cond * 0, cond * 0 + 1], 1)
    axis = torch.cat([cond.cos(), cond.sin()], 1) @ PLANE.T

    def error(components: int) -> float:
        """Mean square along the modes' axis, of three fits of 800 rows."""
        fits = (
            fit_turning(800, seed, components=components, holdout=0.2, batch_size=128) for seed in range(3)
        )
        return sum(float(((prior.mean(cond) - truth) * axis).sum(1).square().mean()) for prior in fits) / 3

    assert error(components=4) < 0.7 * error(components=1)


def test_a_mean_that_a_likelihood_has_made_worse_is_taken_back(generator):
    """Where residuals are large, as in pictures, generalised least squares hardly looks at the mean."""
    x, cond = turning(500, 8)
    rows = Holdout(CheckedBatches((x, cond), "test"), 0.2)
    mapper = Mapper(Condition("embeddings", 1), 4, hidden=16, depth=1)
    mapper.fit(rows, x.mean(0), NetworkTraining(250, 64, 3e-3), generator)
    before, kept = mapper(cond), KeptMean(mapper, rows, x.mean(0))
    mapper.out.bias.sub_(1.0)
    worse = KeptMean(mapper, rows, x.mean(0))
    assert kept.restored()
    torch.testing.assert_close(mapper(cond), before)
    assert not worse.restored(), "it has become better"
    assert not KeptMean(mapper, Holdout(CheckedBatches((x, cond), "test"), 0.0), x.mean(0)).restored()


def test_what_is_trained_anew_starts_from_zero_again(generator):
    mapper = Mapper(Condition("embeddings", 1), 4, hidden=16, depth=1)
    for parameter in mapper.parameters():
        parameter.data.add_(1.0)
    mapper.initialise(generator)
    assert not mapper(torch.randn(5, 1, generator=generator)).any()


def test_zeros_that_the_fit_has_seen_are_an_embedding_like_any_other():
    """They are no null condition then, neither to the mean nor to the moments of pairs."""
    x, cond = turning(400, 9)
    cond[:40] = 0.0
    x[:40] += 3.0
    options = {**QUICK, "rank": 2, "components": 2, "steps": 50, "epochs": 20, "holdout": 0.2}
    prior = Prior.create("learned-mean", **options)
    prior.fit((x, cond), generator=torch.Generator().manual_seed(0))
    asked = torch.zeros(2, 1)
    frame = prior.spread(asked, 2)
    torch.testing.assert_close(frame.loc, prior._around(asked).loc)
    assert not torch.allclose(frame.loc[0], prior.center)


def test_the_null_condition_has_the_moments_of_all_data(fitted):
    x, cond = turning(3000, 1)
    frame = fitted.spread(torch.zeros_like(cond), len(cond))
    torch.testing.assert_close(frame.loc[0], x.mean(0), rtol=1e-3, atol=1e-3)
    h = frame.coordinates(x)
    torch.testing.assert_close(h.T @ h / len(h), torch.eye(2), rtol=0.02, atol=0.02)
    mixed = fitted.spread(torch.tensor([[0.0], [0.9]]), 2)
    own = fitted.spread(torch.tensor([[0.9]]), 1)
    assert not torch.allclose(mixed.spread[0], own.spread[0])
    torch.testing.assert_close(mixed.spread[1], own.spread[0])
    torch.testing.assert_close(mixed.loc[1], own.loc[0])


# -- files of older versions --------------------------------------------------------------------


def test_a_file_whose_mixture_was_the_last_bias_of_a_network_loads(fitted):
    """As priors were saved while a network could give each condition a mixture of its own."""
    state, mixture = fitted.state_dict(), fitted.residuals.latents
    own = {name: value for name, value in state.items() if not name.startswith("residuals.latents.")}
    scale = (mixture.var[0].sqrt() - 0.05).expm1().log()
    bias = torch.cat([mixture.logits[0], mixture.loc[0].flatten(), scale.flatten()])
    own["residuals.law.network.out.bias"] = bias
    own["residuals.law.network.out.weight"] = torch.zeros(len(bias), 32)
    loaded = Prior.create("learned-mean", **QUICK, rank=2, components=4)
    loaded.load_state_dict(dict(own))
    x, cond = turning(50, 6)
    torch.testing.assert_close(loaded.log_prob(x, cond), fitted.log_prob(x, cond), rtol=1e-4, atol=1e-4)
    own["residuals.law.network.out.weight"][0, 0] = 1.0
    with pytest.raises(CheckpointError, match="expected one mixture of latents"):
        Prior.create("learned-mean", **QUICK, rank=2, components=4).load_state_dict(own)


def test_a_factor_of_all_conditions_is_read_as_a_low_rank_covariance(generator):
    """As of the option latent, which is gone: its density is that of N(m, W Wᵀ + ψ)."""
    x, cond = turning(60, 6)
    state = dict(Prior.create("learned-mean", hidden=8, depth=1, epochs=1).fit((x, cond)).state_dict())
    factor, noise = torch.randn(4, 2, generator=generator), torch.tensor([0.3, 0.5, 1.0, 2.0])
    state |= {"residuals.factor": factor, "residuals.noise": noise}
    spec = current_spec("learned-mean:hidden=8,depth=1,latent=2,far=as-near")
    prior = Prior.registry.resolve(spec)
    prior.load_state_dict(state)
    covariance = factor @ factor.T + noise.diag()
    expected = MultivariateNormal(prior.mean(cond), covariance).log_prob(x)
    torch.testing.assert_close(prior.log_prob(x, cond), expected, rtol=1e-4, atol=1e-4)
    drawn = prior.infer(
        prior.sample(cond[:1].expand(20_000, -1), generator=generator), cond[:1].expand(20_000, -1)
    )
    assert (drawn.T.cov() - covariance).abs().max() < 0.1 * covariance.max()


def test_a_file_with_one_factor_for_all_axes_loads(fitted):
    """As priors were saved before each axis had a factor of its own."""
    state = fitted.state_dict()
    name = next(name for name in state if name.endswith("spread.factors"))
    state[name] = torch.tensor([1.5, 0.5])
    loaded = Prior.create("learned-mean", **QUICK, rank=2, components=4)
    loaded.load_state_dict(state)
    torch.testing.assert_close(loaded.residuals.spread.factors, torch.tensor([1.5, 1.5, 0.5]))


# -- a diagonal covariance ------------------------------------------------------------------------


SPEC = "learned-mean:covariance=diagonal,hidden=64,depth=1,batch_size=128"


def heteroscedastic(n: int = 3000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x = (c, −c) + (0.1 + |c|/2, 0.3) ε for c in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    c = 2 * torch.rand(n, 1, generator=generator) - 1
    scale = torch.cat([0.1 + c.abs() / 2, torch.full_like(c, 0.3)], 1)
    return torch.cat([c, -c], 1) + scale * torch.randn(n, 2, generator=generator), c


def fitted_diagonal(floor: float = 0.0, epochs: int = 40, steps: int = 400) -> Prior:
    spec = f"{SPEC},epochs={epochs},steps={steps},reg_covar={floor}"
    return Prior.registry.resolve(spec).fit(heteroscedastic(), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def diagonal() -> Prior:
    return fitted_diagonal()


def test_scale_follows_the_condition(diagonal):
    for c in (-0.8, 0.3, 0.8):
        x = diagonal.sample(torch.full((20000, 1), c), generator=torch.Generator().manual_seed(1))
        assert x.mean(0).tolist() == pytest.approx([c, -c], abs=0.06)
        assert x.std(0).tolist() == pytest.approx([0.1 + abs(c) / 2, 0.3], rel=0.15)


def test_floor_is_the_source_samples_own():
    floor, bare = (fitted_diagonal(value, epochs=2, steps=40) for value in (0.25, 0.0))
    cond = torch.tensor([[-0.5], [0.5]])
    with_floor, without = floor.spread(cond, 2), bare.spread(cond, 2)
    assert torch.allclose(with_floor.noise, without.noise + 0.25, atol=1e-5)
    data = with_floor.noise * with_floor.data
    assert torch.allclose(data, without.noise * without.data, atol=1e-5)


def test_null_condition_has_the_moments_of_all_data(diagonal):
    x, _ = heteroscedastic()
    frame = diagonal.spread(torch.zeros(1, 1), 1)
    assert torch.allclose(frame.loc[0], x.mean(0), atol=0.02)
    assert torch.allclose((frame.noise * frame.data)[0], x.var(0), rtol=0.02)
    drawn = diagonal.sample_marginal(20000, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(frame.noise[0], drawn.var(0), rtol=0.1)
    cond = heteroscedastic(20000, seed=8)[1]
    x1, x0 = (
        heteroscedastic(20000, seed=8)[0],
        diagonal.sample(cond, generator=torch.Generator().manual_seed(5)),
    )
    pairs = ((x0 - x0.mean(0)) * (x1 - x1.mean(0))).mean(0)
    assert torch.allclose((frame.shared * frame.noise)[0], pairs, rtol=0.1)


def test_a_mean_that_copies_its_rows_does_not_make_the_spread_too_narrow():
    x, c = heteroscedastic(160)
    spec = "learned-mean:covariance=diagonal,hidden=256,depth=2,holdout=0.3,epochs=60,steps=400,reg_covar=0"
    diagonal = Prior.registry.resolve(spec).fit((x, c), generator=torch.Generator().manual_seed(0))
    new, cond = heteroscedastic(4000, seed=9)
    frame = diagonal.spread(cond, len(cond))
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
    diagonal = Prior.registry.resolve(
        "learned-mean:covariance=diagonal,hidden=128,depth=1,epochs=15,steps=50"
    )
    diagonal.fit((x[:700], cond[:700]), generator=generator)
    error = (diagonal.mean(cond[700:]) - x[700:]).square().mean()
    stretched = torch.nn.functional.interpolate(cond[700:], (8, 8), mode="bilinear")
    assert error < 0.2 * (stretched - x[700:]).square().mean()
