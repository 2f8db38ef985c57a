"""The learned-mean prior: P(c) approaches E[x1 | c] by each of its mappers; its spread, fixed or learned."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.distributions import Normal

from flowprior import Prior
from flowprior.conditions import Condition
from flowprior.errors import InputError, OptionError
from flowprior.priors import network_training
from flowprior.priors.holdout import Holdout
from flowprior.priors.learned_mean import LearnedMeanPrior
from flowprior.priors.mappers import STRENGTHS, UNCHOSEN, LinearMapper, PictureMapper, Projector
from flowprior.streams.batches import CheckedBatches
from tests.priors.captions import as_near

SPREAD = torch.tensor([0.3, 0.6, 1.2])


def embedded(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x1 = A e + b + noise of three different scales, embeddings e ``[N, 2]``, and the true means."""
    e = torch.randn(count, 2, generator=generator)
    mean = e @ torch.tensor([[1.0, -2.0, 0.5], [0.5, 1.0, -1.0]]) + torch.tensor([4.0, 0.0, -3.0])
    return mean + SPREAD * torch.randn(count, 3, generator=generator), e, mean


def labelled(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x1 around five class means, with the same noise."""
    labels = torch.randint(5, (count,), generator=generator)
    mean = (3 * torch.randn(5, 3, generator=generator))[labels]
    return mean + SPREAD * torch.randn(count, 3, generator=generator), labels, mean


def fitted(x: Tensor, cond: Tensor, **options) -> LearnedMeanPrior:
    """A small mapper, trained for long enough."""
    small = {"hidden": 32, "depth": 1, "epochs": 30, "batch_size": 64, "lr": 3e-3}
    prior = Prior.create("learned-mean", **{**small, **options})
    return prior.fit((x, cond), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def by_embedding() -> tuple[LearnedMeanPrior, Tensor, Tensor, Tensor]:
    x, e, mean = embedded(2000, torch.Generator().manual_seed(1))
    return as_near(fitted(x, e, sigma="diagonal", epochs=20)), x, e, mean


@pytest.fixture(scope="module")
def by_label() -> tuple[LearnedMeanPrior, Tensor, Tensor, Tensor]:
    x, labels, mean = labelled(1500, torch.Generator().manual_seed(1))
    return fitted(x, labels), x, labels, mean


# -- the mean ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [embedded, labelled])
def test_the_mapper_approaches_the_conditional_mean(make, by_embedding, by_label):
    """The optimum of the squared error is E[x1 | c]; the noise is not learned."""
    prior, _, cond, mean = by_embedding if make is embedded else by_label
    error = (prior.mean(cond) - mean).square().mean()
    assert error < 0.05 * SPREAD.square().mean()
    assert error < 0.01 * mean.var(0).mean()


# -- the spread -------------------------------------------------------------------------------


def test_diagonal_spread_is_that_of_the_held_out_residuals(by_embedding):
    """200 rows are held out: a variance is known to 10 %, its root to 5 %."""
    prior, x, e, _ = by_embedding
    held_out = list(Holdout(CheckedBatches((x, e), "learned-mean"), 0.1).rows(held_out=True))
    residual = torch.cat([rows - prior.mean(c) for rows, c in held_out])
    assert len(residual) == 200
    torch.testing.assert_close(prior.residuals.noise, residual.square().mean(0) + 1e-6, rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("sigma", [0.7, 2])
def test_fixed_spread_is_what_was_asked_for(sigma, generator):
    x, labels, _ = labelled(100, generator)
    prior = fitted(x, labels, sigma=sigma, epochs=1)
    torch.testing.assert_close(prior.residuals.noise, torch.full((3,), float(sigma) ** 2))
    assert not prior.has_latents
    with pytest.raises(InputError, match="no latent variables"):
        prior.infer(x, labels)


# -- the law ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", ["diagonal", 0.3])
def test_density_is_the_normal_around_the_mean(sigma):
    x, labels, _ = labelled(300, torch.Generator().manual_seed(4))
    prior = fitted(x.double(), labels, sigma=sigma, epochs=3)
    normal = Normal(prior.mean(labels), prior.residuals.noise.sqrt())
    log_prob = prior.log_prob(x.double(), labels)
    torch.testing.assert_close(log_prob, normal.log_prob(x).sum(1), rtol=1e-10, atol=1e-10)
    assert not log_prob.requires_grad, "a fitted prior is a constant"


def test_marginal_density_over_embeddings_is_that_around_the_centres_it_keeps(generator):
    x, e, _ = embedded(150, generator)
    prior = fitted(x.double(), e.double(), epochs=2)
    assert 8 <= len(prior.seen.rows) <= 18
    rows = prior.seen.draw(1024, torch.Generator().manual_seed(0))[:256]
    joint = [prior.log_prob(x.double(), row.expand(150, -1)) for row in rows]
    expected = torch.stack(joint, 1).logsumexp(1) - torch.tensor(len(rows)).double().log()
    torch.testing.assert_close(prior.log_prob_marginal(x.double()), expected, rtol=1e-6, atol=1e-6)


def test_marginal_draws_labels_as_often_as_the_data_had_them(generator):
    labels = torch.tensor([0] * 50 + [2] * 150)
    x = labels[:, None] * 100.0 + torch.randn(200, 1, generator=generator)
    prior = fitted(x, labels, sigma=0.1, epochs=60, lr=1e-2)
    n = 4000
    near_second = prior.sample_marginal(n, generator=generator) > 150
    assert near_second.double().mean() == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / n) ** 0.5)


# -- state, reproducibility, errors -------------------------------------------------------------


def test_fit_works_where_gradients_are_switched_off(generator):
    x, labels, mean = labelled(500, generator)
    with torch.no_grad():
        prior = fitted(x, labels)
    assert (prior.mean(labels) - mean).square().mean() < 0.2


def test_labels_outside_or_between_those_it_saw_are_refused(generator):
    x, labels, _ = labelled(100, generator)
    prior = fitted(x, labels * 2, epochs=1)
    with pytest.raises(InputError, match=r"learned-mean\.sample: cond has label 9, expected labels 0\.\.8"):
        prior.sample(torch.tensor([9]))
    with pytest.raises(InputError, match=r"cond has label 3, which had no example when the prior was fitted"):
        prior.mean(torch.tensor([0, 3]))
    assert prior.sample(torch.tensor([2, 4], dtype=torch.int32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (None, r"expected floating-point embeddings \[B, 2\], got None"),
        (torch.zeros(3, dtype=torch.long), r"got torch.int64 \[3\]"),
        (torch.zeros(3, 4), r"got torch.float32 \[3, 4\]"),
        (torch.zeros(3), r"got torch.float32 \[3\]"),
    ],
)
def test_conditions_of_another_kind_are_refused(cond, message, by_embedding):
    with pytest.raises(InputError, match=message):
        by_embedding[0].sample(cond, None if cond is not None else 3)


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (None, r"expected labels or embeddings, got None; use 'gaussian'"),
        (torch.zeros(10), r"got whole numbers as torch.float32 \[10\]; pass labels as integers"),
        (torch.zeros(10, 2, dtype=torch.long), r"got torch.int64 \[10, 2\]"),
        (torch.full((10, 2), torch.nan), "expected finite embeddings, got NaN or infinity"),
        ([torch.zeros(5, 2), torch.zeros(5, 3)], r"expected embeddings \[B, 2\] throughout"),
    ],
)
def test_conditions_that_cannot_be_learned_are_refused_at_fit(cond, message):
    data = (torch.zeros(10, 3), cond)
    if isinstance(cond, list):
        data = [(torch.zeros(5, 3), part) for part in cond]
    with pytest.raises(InputError, match=rf"^learned-mean\.fit: .*{message}"):
        Prior.create("learned-mean").fit(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "expected sigma 1e-06 or more, 'scalar', .* or kernels .* got 0.0"),
        ({"sigma": "full"}, "got 'full'"),
        ({"sigma": None}, "got None"),
        ({"hidden": 0}, "hidden=0 is not possible; expected a whole number, 1 or more"),
        ({"depth": 1.5}, "depth=1.5 is not possible; expected a whole number"),
        ({"epochs": 0}, "epochs=0 is not possible; expected a whole number, 1 or more"),
        ({"batch_size": True}, "batch_size=True is not possible; expected a whole number"),
        ({"lr": 0.0}, "expected lr to be a number from 1e-12 to 1e.12, got 0.0"),
        ({"lr": "fast"}, "lr='fast' is not possible; expected a finite number"),
        ({"holdout": 1.0}, "expected holdout to be a number from 0 to 0.5, got 1.0"),
        ({"holdout": "some"}, "holdout='some' is not possible; expected a finite number"),
        ({"covariance": "full"}, "covariance"),
        ({"rank": 0}, "rank=0 is not possible"),
        ({"components": 0}, "components=0 is not possible"),
        ({"steps": 0}, "steps=0 is not possible"),
        ({"source_noise": -1.0}, "expected source_noise to be a number from 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Prior.create("learned-mean", **options)


def test_a_training_leaves_the_weights_of_least_held_out_error(generator):
    """Where there is nothing to learn, these are the first ones, and the mean that of all data."""
    x, e = torch.randn(60, 3, generator=generator), torch.randn(60, 20, generator=generator)
    prior = fitted(x, e, hidden=256, lr=0.05, epochs=100, holdout=0.5)
    assert (prior.mean(e) - x.mean(0)).square().mean() < 0.1


def test_a_training_takes_no_more_passes_than_it_may(generator, monkeypatch):
    steps, own = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *args: steps.append(1) or own(*args))
    x, labels, _ = labelled(100, generator)
    fitted(x, labels, batch_size=15, epochs=5)
    fitted(x, labels, batch_size=90, epochs=5)
    assert len(steps) == 5 * 90 // 15 + 5 * 4


@pytest.mark.parametrize(("steps", "peak", "looks"), [(9, 1, 10), (19, 1, 20), (39, 3, 40), (45, 3.6, 24)])
def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_along_a_cosine(
    steps, peak, looks, generator, monkeypatch
):
    """Held-out rows are looked at first, at twenty steps or as many as need be, and at the last one."""
    rates, own = [], torch.optim.AdamW.step
    looked, loss = [], network_training._held_out_loss
    monkeypatch.setattr(network_training, "_held_out_loss", lambda *given: looked.append(1) or loss(*given))

    def counted(self: torch.optim.AdamW, *given: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return own(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    x, labels, _ = labelled(100, generator)
    fitted(x, labels, steps=steps, lr=1.0)
    place = torch.arange(steps).double()
    assert len(looked) == looks
    rise = 1 - 0.9 * (1 + (torch.pi * place / peak).cos()) / 2
    fall = (1 + (torch.pi * (place - peak) / (steps - peak)).cos()) / 2
    expected = torch.where(place < peak, rise, fall)
    torch.testing.assert_close(torch.tensor(rates).double(), expected, rtol=0, atol=1e-4)


# -- the linear mapper ----------------------------------------------------------------------------


def rows(generator: torch.Generator, n: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    cond = torch.randn(n, 5, generator=generator, dtype=torch.float64) * torch.tensor(
        [1.0, 2.0, 0.5, 1.0, 9.0]
    )
    weight = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    return cond @ weight + 3 + 0.3 * torch.randn(n, 4, generator=generator, dtype=torch.float64), cond


def test_it_is_scikit_learns_ridge_regression(generator):
    x, cond = rows(generator)
    data = Holdout(CheckedBatches((x, cond), "learned-mean"), 0.0)
    mapper = LinearMapper(Condition("embeddings", 5), 4).double()
    mapper.fit(data, x.mean(0))
    standard = (cond - cond.mean(0)) / cond.std(0, correction=0)
    expected = Ridge(UNCHOSEN * len(x)).fit(standard.numpy(), x.numpy()).predict(standard.numpy())
    assert torch.allclose(mapper(cond) + x.mean(0), torch.from_numpy(expected), atol=1e-8)


def test_the_strength_is_that_of_the_least_error_on_held_out_rows(generator):
    """Of 40 rows with 30 useless numbers each a strong one; of many rows a weak one."""
    cond = torch.randn(40, 30, generator=generator, dtype=torch.float64)
    x = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    few = LinearMapper(Condition("embeddings", 30), 2).double()
    few.fit(Holdout(CheckedBatches((x, cond), "learned-mean"), 0.25), x.mean(0))
    assert few(cond).square().mean() < 0.5 * x.square().mean()
    x, cond = rows(generator, 4000)
    many = LinearMapper(Condition("embeddings", 5), 4).double()
    many.fit(Holdout(CheckedBatches((x, cond), "learned-mean"), 0.25), x.mean(0))
    assert (many(cond) + x.mean(0) - x).square().mean().item() == pytest.approx(0.09, rel=0.1)
    assert tuple(sorted(STRENGTHS)) == STRENGTHS


def test_of_series_it_reads_the_last_step(generator):
    series = torch.randn(500, 3, 8, generator=generator)
    x = 2 * series[:, :, -1] + 0.1 * torch.randn(500, 3, generator=generator)
    prior = Prior.create("learned-mean", mapper="linear", sigma="diagonal").fit(
        (x, series), generator=generator
    )
    other = series.clone()
    other[:, :, :-1] = 0
    assert torch.equal(prior.mean(series), prior.mean(other))
    assert float((prior.mean(series) - x).square().mean()) < 0.05


@pytest.mark.parametrize("covariance", ["fixed", "diagonal", "lowrank"])
def test_it_serves_every_covariance_and_is_the_same_when_loaded(covariance, generator):
    series = torch.randn(300, 2, 6, generator=generator)
    x = (series[:, :, -1:] + 0.3 * torch.randn(300, 2, 4, generator=generator)).clone()
    options = {"mapper": "linear", "covariance": covariance, "hidden": 8, "depth": 0, "rank": 3}
    options |= {"steps": 20, "components": 2, "sigma": 0.3}
    prior = Prior.create("learned-mean", **options).fit((x, series), generator=generator)
    copy = Prior.create("learned-mean", **options)
    copy.load_state_dict(prior.state_dict())
    draws = [one.sample(series[:5], 5, generator=torch.Generator().manual_seed(1)) for one in (prior, copy)]
    assert draws[0].shape == (5, 2, 4)
    assert torch.allclose(*draws, atol=1e-6)


def test_labels_are_refused(generator):
    x = torch.randn(40, 3, generator=generator)
    with pytest.raises(InputError, match="mapper='linear', got labels; use 'gmm'"):
        Prior.create("learned-mean", mapper="linear").fit((x, torch.arange(40) % 4))


def test_the_units_of_the_condition_do_not_matter(generator):
    """Mean and spread, whose deviations grow with a number of the condition."""
    cond = torch.randn(3000, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(3000, 3, generator=generator, dtype=torch.float64)
    x = cond.sum(1, keepdim=True) + (0.5 * cond[:, :1]).exp() * noise
    spec = "learned-mean:mapper=linear,covariance=diagonal,steps=200,reg_covar=0"
    found = []
    for shift, factor in ((0.0, 1.0), (1000.0, 1.0), (0.0, 1e-3), (0.0, 1e3)):
        given = factor * cond + shift
        prior = Prior.create(spec).fit((x, given), generator=torch.Generator().manual_seed(0))
        found.append(prior.log_prob(x, given).mean().item())
    assert found == pytest.approx([found[0]] * 4, abs=1e-3)


def test_conditions_far_from_zero_lose_no_digits(generator):
    cond = 1e8 + torch.randn(500, 2, generator=generator, dtype=torch.float64)
    x = (cond - 1e8) @ torch.ones(2, 3, dtype=torch.float64)
    mapper = LinearMapper(Condition("embeddings", 2), 3).double()
    mapper.fit(Holdout(CheckedBatches((x, cond), "learned-mean"), 0.25), x.mean(0))
    assert float((mapper(cond) + x.mean(0) - x).detach().square().mean()) < 1e-4


# -- the projector --------------------------------------------------------------------------------


SMALL = {"mapper": "projector", "hidden": 32, "depth": 1}


@pytest.mark.parametrize("event", [(3, 8, 8), (1, 5, 7), (4, 1, 2)])
@pytest.mark.parametrize("kind", ["labels", "embeddings"])
def test_it_gives_flat_events_which_begin_at_zero(event, kind, generator):
    network = Projector(Condition(kind, 6), torch.Size(event), hidden=32, depth=1)
    network.initialise(generator)
    cond = torch.arange(5) if kind == "labels" else torch.randn(5, 6, generator=generator)
    means = network(cond)
    assert means.shape == (5, event[0] * event[1] * event[2])
    assert not means.any()
    torch.nn.init.normal_(network.out.weight, generator=generator)
    assert float(network(cond).std(0).mean().detach()) > 0, "the condition is read"


def size_of(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def convolution(before: int, after: int) -> int:
    """The number of weights of a convolution of 3 × 3."""
    return 9 * before * after + after


def residual(channels: int) -> int:
    """The number of weights of a residual convolution, whose norm has two for each channel."""
    return convolution(channels, channels) + 2 * channels


def test_its_stated_size_is_its_size():
    network = Projector(Condition("embeddings", 384), torch.Size((3, 32, 32)), hidden=256, depth=2)
    assert round(size_of(network) / 1e6, 1) == 1.3


@pytest.mark.parametrize(
    ("hidden", "channels", "half", "quarter"), [(160, 40, 20, 8), (62, 12, 8, 8), (16, 8, 8, 8)]
)
@pytest.mark.parametrize("depth", [0, 2])
def test_its_channels_are_a_quarter_of_the_width_in_fours_and_eight_at_the_least(
    hidden, channels, half, quarter, depth
):
    network = Projector(Condition("embeddings", 6), torch.Size((3, 9, 4)), hidden, depth)
    grid = 3 * channels  # ⌈9/4⌉ × ⌈4/4⌉ places
    expected = hidden * grid + grid + depth * residual(channels)
    expected += convolution(channels, half) + residual(half) + convolution(half, quarter) + residual(quarter)
    assert size_of(network) - size_of(network.embed) == expected + 2 * quarter + convolution(quarter, 3)


@pytest.mark.parametrize(("hidden", "channels"), [(256, 16), (240, 12), (32, 8)])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_of_pictures_the_channels_are_a_sixteenth_of_the_width(hidden, channels, depth):
    """At this size and, twice as many, at half of it; squares of 2 × 2 pixels are four channels."""
    twice = 2 * channels
    expected = convolution(4 * 2, channels) + convolution(channels, twice)
    expected += convolution(twice + channels, channels) + 2 * channels + convolution(channels, 4 * 3)
    expected += depth * (2 * residual(channels) + residual(twice))
    assert size_of(PictureMapper((2, 5, 7), (3, 9, 4), hidden, depth)) == expected
    assert round(size_of(PictureMapper((1, 28, 28), (1, 28, 28))), -3) == 27_000


@pytest.mark.parametrize("event", [(3, 8, 8), (1, 9, 6), (2, 2, 3)])
def test_of_pictures_each_size_has_its_own_shapes(event, generator):
    """Half the size in squares, a quarter below; edges are padded to multiples of four, and cut off."""
    network = PictureMapper((2, 5, 7), event, hidden=128)
    network.initialise(generator)
    assert not network(torch.rand(2, 70, generator=generator)).any()
    torch.nn.init.normal_(network.out.weight, generator=generator)
    seen = {}
    for name in ("first", "lowest", "norm"):
        hook = lambda module, _, out, name=name: seen.update({name: tuple(out.shape)})  # noqa: E731
        network.get_submodule(name).register_forward_hook(hook)
    means = network(torch.rand(2, 70, generator=generator))
    half = -(-event[1] // 4) * 2, -(-event[2] // 4) * 2
    assert seen["first"] == seen["norm"] == (2, 8, *half)
    assert seen["lowest"] == (2, 16, half[0] // 2, half[1] // 2)
    assert means.shape == (2, event[0] * event[1] * event[2])
    assert network(torch.rand(0, 70)).shape == (0, means.shape[1])


def test_it_learns_the_mean_of_pictures_and_travels(generator):
    """A bright spot whose place follows from the embedding."""
    place = torch.randint(4, (200, 2), generator=generator)
    cond = torch.nn.functional.one_hot(place, 4).flatten(1).float()
    x = torch.zeros(200, 1, 8, 8)
    for row, (i, j) in zip(x, place.tolist(), strict=True):
        row[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 1
    prior = Prior.create("learned-mean", **SMALL, sigma="scalar", epochs=25, lr=1e-2, batch_size=50)
    prior.fit((x, cond), generator=generator)
    assert float((prior.mean(cond) - x).square().mean()) < 0.4 * float(x.var())
    other = Prior.create("learned-mean", **SMALL)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.log_prob(x, cond), prior.log_prob(x, cond))


def test_events_that_are_no_pictures_and_unknown_mappers_are_refused():
    with pytest.raises(InputError, match=r"expected events \[C, H, W\] for mapper='projector', got \[6\]"):
        Prior.create("learned-mean", **SMALL).fit((torch.zeros(20, 6), torch.arange(20) % 2))
    with pytest.raises(OptionError, match="mapper='cnn' is not possible"):
        Prior.create("learned-mean", mapper="cnn")
