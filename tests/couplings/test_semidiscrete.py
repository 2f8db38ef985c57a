"""Semidiscrete transport: the map that is known in one dimension, its marginals, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from flowprior.couplings import Coupling, transport_cost
from flowprior.couplings.semidiscrete import SemidiscreteCoupling, Target
from flowprior.errors import CouplingError, NotFittedError
from flowprior.priors import Prior

from .laws import fitted, two_classes

POINTS = 8


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on_a_line() -> tuple[Prior, torch.Tensor]:
    """N(0, 1), and eight points on a line in no order."""
    points = torch.tensor([3.0, -1.0, 0.2, 10.0, -4.0, 0.1, 7.0, -0.5], dtype=torch.float64)[:, None]
    return Prior.create("gaussian").fit(points, generator=generator()), points


def test_on_a_line_the_map_is_that_of_the_quantiles() -> None:
    """There the optimal map is the monotone one: the k-th eighth of the source goes to the k-th point.

    One fit has .93 to .98 of the pairs right, on either back end; the mean of eight is .966.
    """
    prior, points = on_a_line()
    right = []
    for seed in range(8):
        coupling = SemidiscreteCoupling().fit(prior, points, generator=generator(seed))
        x0, x1 = coupling.pairs(prior, points.repeat(500, 1), None, generator=generator(100 + seed))
        rank = (torch.special.ndtr(x0) * POINTS).long().clamp_max(POINTS - 1)
        right.append((x1 == points.sort(0).values[rank[:, 0]]).double().mean())
    assert torch.stack(right).mean() > 0.955


def test_a_source_sample_goes_to_the_datum_of_least_cost_beyond_its_potential() -> None:
    points, sources = (torch.randn(n, 3, generator=generator(n)).double() for n in (9, 200))
    points = points * torch.linspace(0.5, 2.0, 9)[:, None].double()
    potentials = torch.randn(9, generator=generator()).double()
    costs = 0.5 * (sources[:, None] - points).square().sum(2) - potentials
    chosen = Target(points, potentials).nearest(sources)
    assert torch.equal(chosen, costs.argmin(1))
    assert len(chosen.unique()) > 4


def test_every_datum_is_met_equally_often() -> None:
    x1, labels = two_classes(300, 3)
    prior = fitted("gaussian")
    coupling = SemidiscreteCoupling().fit(prior, (x1, labels), generator=generator())
    assert abs(coupling.unevenness) < 0.1
    nearest = SemidiscreteCoupling(passes=1, rate=1e-9)
    with pytest.warns(UserWarning, match="uneven shares"):
        nearest.fit(prior, (x1, labels), generator=generator())
    assert nearest.unevenness > 1.0
    ones = torch.ones(60_000, dtype=torch.long)
    _, met = coupling.pairs(prior, x1[:1].expand(60_000, 2), ones, generator=generator(1))
    _, counts = met.unique(dim=0, return_counts=True)
    assert len(counts) > 0.97 * int((labels == 1).sum())
    assert (counts.double() / counts.double().mean() - 1).square().mean() < 0.1


def test_few_data_need_few_source_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time goes into drawing them; a label of few rows drew as many as one of hundreds."""
    drawn = []
    sources = SemidiscreteCoupling._sources
    monkeypatch.setattr(
        SemidiscreteCoupling, "_sources", lambda *given: drawn.append(given[2]) or sources(*given)
    )
    x1, labels = two_classes(330, 3)
    rows = torch.cat([(labels == 0).nonzero()[:10, 0], (labels == 1).nonzero()[:200, 0]])
    coupling = SemidiscreteCoupling()
    coupling.fit(fitted("gaussian"), (x1[rows], labels[rows]), generator=generator())
    assert [drawn.count(torch.tensor([label])) for label in (0, 1)] == [25 + 3, 50 + 3]
    assert abs(coupling.unevenness) < 0.1


def test_data_keep_their_condition_and_pairs_are_short() -> None:
    x1, labels = two_classes(300, 3)
    prior = fitted("gaussian")
    coupling = SemidiscreteCoupling().fit(prior, (x1, labels), generator=generator())
    x0, chosen = coupling.pairs(prior, x1, labels, generator=generator(1))
    for label in (0, 1):
        own = {tuple(row) for row in x1[labels == label].tolist()}
        assert {tuple(row) for row in chosen[labels == label].tolist()} <= own
    within, draw = generator(1), Coupling.create("ot").draw
    batches = zip(x1.split(10), labels.split(10), strict=True)
    paired = torch.cat([draw(prior, x, label, generator=within) for x, label in batches])
    assert transport_cost(x0, chosen) < 0.9 * transport_cost(paired, x1)


def test_source_samples_are_those_of_the_prior() -> None:
    x1, labels = two_classes(60, 3)
    prior = fitted("gmm")
    coupling = SemidiscreteCoupling().fit(prior, (x1, labels), generator=generator())
    x0, _ = coupling.pairs(prior, x1, labels, generator=generator(1))
    torch.testing.assert_close(x0, prior.sample(labels, generator=generator(1)), rtol=0, atol=0)


def test_refusals() -> None:
    x1, labels = two_classes(30, 3)
    prior = fitted("gaussian")
    with pytest.raises(NotFittedError, match=r"call coupling\.fit\(prior, data\) first"):
        SemidiscreteCoupling().pairs(prior, x1, labels)
    with pytest.raises(CouplingError, match=r"expected labels or no condition, got .*; use 'ot'"):
        SemidiscreteCoupling().fit(Prior.create("gaussian").fit((x1, x1)), (x1, x1))
    few = SemidiscreteCoupling().fit(prior, (x1[labels == 0], labels[labels == 0]))
    with pytest.raises(CouplingError, match="label 1 had no data"):
        few.pairs(prior, x1, labels)
