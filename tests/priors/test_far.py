"""Far from the embeddings of a fit the mean goes to that of all data, the spread grows; the nearest ones."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from flowprior.priors import Prior, learned_mean
from flowprior.priors.mean_prior import FarConditions, Part, trust_at
from flowprior.priors.nearest import distinct_embeddings, nearest
from tests.priors.captions import WIDTH, as_near, captions

MAPPER = {"hidden": 64, "depth": 1, "epochs": 40, "batch_size": 100, "lr": 5e-3}
SPECS = {
    "scalar": ("learned-mean", {**MAPPER, "sigma": "scalar"}),
    "kernel": ("kernel-mean", {"sigma": "diagonal"}),
}
every_prior = pytest.mark.parametrize("name", SPECS)


@functools.cache
def fitted(name: str) -> Prior:
    """Fit in float64 to 200 captions of five events."""
    kind, options = SPECS[name]
    x, cond = captions(200, 1)
    prior = Prior.create(kind, **options)
    return prior.fit((x.double(), cond.double()), generator=torch.Generator().manual_seed(0))


def near_and_far() -> tuple[Tensor, Tensor]:
    """An embedding of the fit, and one far away, ``[1, 4]`` each."""
    _, cond = captions(200, 1)
    return cond[:1].double(), torch.full((1, WIDTH), -9.0, dtype=torch.float64)


@every_prior
def test_draws_have_the_mean_and_the_density_that_are_told(name, generator):
    prior, n = fitted(name), 2000
    for asked in (*near_and_far(), torch.full((1, WIDTH), 1.1, dtype=torch.float64)):
        cond = asked.expand(n, -1)
        drawn = prior.sample(cond, generator=generator)
        error = 5 * drawn.std(0) / n**0.5
        assert ((drawn.mean(0) - prior.mean(asked)[0]).abs() < error).all()
        shift = 0.05 * drawn.std(0)
        ratio = (prior.log_prob(drawn + shift, cond) - prior.log_prob(drawn, cond)).exp()
        assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / n**0.5


@every_prior
def test_far_away_the_spread_is_wider_and_the_mean_that_of_all_data(name, generator):
    prior = fitted(name)
    near, far = near_and_far()
    spread = [prior.sample(c.expand(4000, -1), generator=generator).var(0) for c in (near, far)]
    assert float(spread[1].mean()) > 1.5 * float(spread[0].mean())
    x, _ = captions(200, 1)
    apart = float((prior.mean(far)[0] - x.mean(0)).norm())
    assert apart < 0.1 * float((prior.mean(near)[0] - x.mean(0)).norm())
    assert float(spread[1].mean()) == pytest.approx(float(x.var(0).mean()), rel=0.5), "of all data"


@every_prior
def test_unseen_captions_are_likelier_and_those_of_the_fit_lose_little(name):
    for (x, cond), least in ((captions(300, 2), 0.2), (captions(200, 1), -0.5)):
        each = [p.log_prob(x.double(), cond.double()).mean() for p in (fitted(name), as_near(fitted(name)))]
        assert float(each[0] - each[1]) > least, "nats"


def test_a_number_for_sigma_is_the_spread_of_captions_that_are_known(generator):
    x, cond = captions(200, 1)
    for name, options in (("kernel-mean", {}), ("learned-mean", MAPPER)):
        prior = Prior.create(name, sigma=0.3, **options).fit((x, cond), generator=generator)
        drawn = prior.sample(cond[:1].expand(4000, -1), generator=generator)
        torch.testing.assert_close(drawn.std(0), torch.full((6,), 0.3), rtol=0.3, atol=0.0)
        far = prior.sample(torch.full((4000, WIDTH), 9.0), generator=generator)
        assert float(far.var()) > 4 * 0.09


@pytest.mark.parametrize("name", ["scalar", "kernel"])
def test_few_embeddings_and_labels_say_nothing_of_distance(name):
    kind, options = SPECS[name]
    x, cond = captions(8, 1)
    labels = cond[:, 0].unique(return_inverse=True)[1]
    for condition in (cond, labels):
        prior = Prior.create(kind, **options).fit((x, condition), generator=torch.Generator().manual_seed(0))
        assert not prior.distance.is_fitted


@pytest.mark.parametrize(("captioned", "known"), [(90, False), (140, True)])
def test_of_fewer_than_ten_held_out_embeddings_nothing_is_learned_of_distance(captioned, known):
    prior = Prior.create("learned-mean", mapper="linear").fit(captions(captioned, 1, each=1))
    assert prior.distance.is_fitted is known


@pytest.mark.parametrize("name", ["learned-mean:epochs=1,sigma=scalar,hidden=8", "kernel-mean"])
def test_events_that_never_vary_say_nothing_of_distance(name):
    _, cond = captions(120, 1)
    prior = Prior.registry.resolve(name).fit((torch.ones(len(cond), 3), cond))
    far = torch.full((5, WIDTH), 9.0)
    torch.testing.assert_close(prior.sample(far), torch.ones(5, 3), rtol=0.0, atol=0.01)


def test_a_prior_that_was_saved_before_there_were_distances_loads_as_it_was():
    prior = as_near(fitted("scalar"))
    state = {
        name.replace("network.", "mapper."): value
        for name, value in prior.state_dict().items()
        if name not in ("known", "condition_dims") and not name.startswith("distance.")
    }
    other = Prior.create("learned-mean", **SPECS["scalar"][1])
    other.load_state_dict(state)
    x, cond = captions(20, 3)
    assert torch.equal(other.log_prob(x, cond.double()), prior.log_prob(x, cond.double()))
    assert torch.equal(other.condition_dims, prior.condition_dims)


# -- the two functions of the distance --------------------------------------------------------------


def fit_far(far: FarConditions, truth: tuple[float, float, float, float], n: int, dim: int) -> None:
    """Fit to rows whose mean is right by the share ρ of one length; by the other their noise grows."""
    generator = torch.Generator().manual_seed(3)
    shrinks, widens, near, most = truth
    distance = 3 * torch.rand(n, generator=generator)
    mean = torch.randn(n, dim, generator=generator)
    lost = 1 - trust_at(distance, torch.tensor(widens))
    deviation = (near + (most - near) * lost).sqrt()[:, None]
    x = trust_at(distance, torch.tensor(shrinks))[:, None] * mean
    x = x + deviation * torch.randn(n, dim, generator=generator)
    far.fit([Part(x, mean, distance)], torch.zeros(dim), torch.full((dim,), near))


def test_lengths_and_ends_are_found_again_and_trust_falls_with_the_distance():
    far = FarConditions()
    fit_far(far, (2.0, 1.0, 0.25, 1.0), 4000, 8)
    assert float(far.lengths[0]) == pytest.approx(2.0, rel=0.3)
    assert float(far.lengths[1]) == pytest.approx(1.0, rel=0.5)
    assert float(far.most) * 0.25 == pytest.approx(1.0, rel=0.4)
    distance = torch.linspace(0, 10, 50)
    around = far.around(torch.zeros(3), torch.ones(50, 3), torch.zeros(50, 1), distance)
    assert (around.loc.diff(dim=0) <= 0).all()
    assert (around.width.diff(dim=0) >= 0).all()
    assert around.loc[0].tolist() == [1, 1, 1]
    assert around.width[0] == 1
    assert (around.loc[-1] < 1e-6).all()


@pytest.mark.parametrize(
    ("bounds", "rows"), [({}, 100 + 90), ({"ROWS": 7}, 14), ({"NUMBERS": 7 * 6}, 14), ({"NUMBERS": 5}, 2)]
)
def test_the_rows_that_distances_are_learned_from_are_limited(bounds, rows, monkeypatch):
    """The five events of each of 20 captions of 200 are held out, and a tenth of the other events."""
    for name, value in bounds.items():
        monkeypatch.setattr(learned_mean, name, value)
    parts, own = [], FarConditions.fit
    monkeypatch.setattr(FarConditions, "fit", lambda *given: parts.extend(given[1]) or own(*given))
    Prior.create("learned-mean", mapper="linear").fit(captions(200, 1))
    assert sum(len(part.x) for part in parts) == rows


# -- distinct embeddings and the nearest ones -----------------------------------------------------


def over(x, cond, most, batch):
    return distinct_embeddings(lambda: zip(x.split(batch), cond.split(batch), strict=True), most)


@pytest.mark.parametrize("batch", [7, 64, 500])
def test_they_are_those_of_unique_with_the_means_of_their_events(batch):
    x, cond = captions(60, 1)
    found = over(x, cond, 1000, batch)
    rows, place = cond.unique(dim=0, return_inverse=True)
    means = torch.stack([x[place == i].mean(0) for i in range(60)])
    order = [int((found.rows == row).all(1).nonzero()) for row in rows]
    assert sorted(order) == list(range(60))
    torch.testing.assert_close(found.means[order].float(), means)
    assert found.counts.tolist() == [5] * 60


def test_what_stays_of_too_many_depends_on_no_order_and_misses_no_event():
    x, cond = captions(60, 1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    first, second = over(x, cond, 20, 16), over(x[order], cond[order], 20, 33)
    assert len(first.rows) == 20
    assert torch.equal(first.rows, second.rows)
    assert first.counts.tolist() == [5] * 20
    torch.testing.assert_close(first.means, second.means)


def test_distances_are_those_of_differences_and_equal_embeddings_are_none_apart():
    _, cond = captions(60, 1, each=1)
    asked = torch.cat([cond[:3] + 0.01, cond[5:6]])
    distance, place = nearest(asked, cond, 4)
    truth = (asked[:, None] - cond).square().sum(2).sqrt().sort(1)
    torch.testing.assert_close(distance, truth.values[:, :4])
    assert torch.equal(place, truth.indices[:, :4])
    assert distance[3, 0] == 0
    assert nearest(asked, cond[:2], 9)[0].shape == (4, 2)


def test_far_from_the_origin_the_nearest_are_found_all_the_same():
    near = torch.arange(30.0)[:, None]
    for offset in (1e4, 1e5):
        distance, place = nearest(near + offset, near + offset, 2)
        assert place[:, 0].tolist() == list(range(30))
        assert distance[:, 1].tolist() == [1.0] * 30


def test_an_embedding_is_found_among_others_close_by(generator):
    """Four copies of each, as far apart as encodings of one caption; float32 mixes up their products."""
    cond = torch.nn.functional.normalize(torch.randn(100, 384, generator=generator), dim=1)
    rows = cond.repeat(4, 1) + 1e-6 * torch.randn(400, 384, generator=generator)
    distance, place = nearest(rows, rows)
    assert torch.equal(place[:, 0], torch.arange(400))
    assert distance.max() == 0
