"""Pairs of a flow's own making, of one whose map is known: which ones, how many, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from flowprior.conditions import Parts
from flowprior.couplings import Coupling, source_mismatch
from flowprior.couplings.reflow import ReflowCoupling
from flowprior.errors import CouplingError, NotFittedError, OptionError, UnknownComponentError
from flowprior.priors import Prior

from .laws import fitted, two_classes
from .teachers import Affine, taught


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def teacher_of(coupling: ReflowCoupling) -> Affine:
    assert isinstance(coupling.teacher, Affine)
    return coupling.teacher


def p_value(x: Tensor, y: Tensor) -> float:
    """Of the Kolmogorov-Smirnov test between two samples of numbers."""
    return ks_2samp(x.numpy(), y.numpy())[1]  # type: ignore[index]


def are_pairs(x0: Tensor, x1: Tensor, labels: Tensor) -> bool:
    return bool(torch.isclose(x1, 2 * x0 + 1 + labels[:, None]).all())


@pytest.mark.parametrize("real", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("pool", [0, 500])
def test_every_pair_lies_on_the_map_of_the_flow(pool: int, real: float) -> None:
    x1, labels = two_classes(300, 3)
    prior = fitted("gmm")
    coupling = taught(prior, pool=pool, real=real).fit(prior, (x1, labels), generator=generator())
    x0, ends = coupling.pairs(prior, x1, labels, generator=generator(1))
    assert x0.shape == ends.shape == x1.shape
    assert are_pairs(x0, ends, labels)


def test_the_share_of_real_data_is_as_asked() -> None:
    x1, labels = two_classes(300, 3)
    prior, rows = fitted("gmm"), {tuple(row) for row in x1.tolist()}
    for real in (0.0, 0.3, 1.0):
        coupling = taught(prior, pool=200, real=real).fit(prior, (x1, labels), generator=generator())
        assert coupling.made
        ends = torch.cat([ends for _, ends in coupling.made.values()])
        assert sum(tuple(row) in rows for row in ends.tolist()) == pytest.approx(200 * real, abs=1)
        assert (teacher_of(coupling).forth_rows, teacher_of(coupling).back_rows) == pytest.approx(
            (200 * (1 - real), 200 * real), abs=1
        )
        _, fresh = taught(prior, pool=0, real=real).pairs(prior, x1, labels, generator=generator(1))
        assert (fresh == x1).all(1).double().mean() == pytest.approx(real, abs=0.1)


def test_the_pool_is_divided_as_the_data_are_and_made_once() -> None:
    x1, labels = two_classes(400, 3)
    prior = fitted("gmm")
    coupling = taught(prior, pool=100).fit(prior, (x1, labels), generator=generator())
    assert coupling.made
    for label in (0, 1):
        share = (labels == label).double().mean().item()
        assert len(coupling.made[label][0]) == pytest.approx(100 * share, abs=1)
    rows = teacher_of(coupling).forth_rows
    for seed in range(3):
        coupling.pairs(prior, x1, labels, generator=generator(seed))
    assert teacher_of(coupling).forth_rows == rows
    x0, _ = coupling.pairs(prior, x1.repeat(20, 1), labels.repeat(20), generator=generator(1))
    assert len(x0.unique(dim=0)) == sum(len(sources) for sources, _ in coupling.made.values()), "all of them"


def test_a_label_of_one_datum_has_a_pair() -> None:
    x1, labels = two_classes(200, 3)
    labels[0], prior = 2, Prior.create("gaussian")
    prior.fit((x1, labels))
    coupling = taught(prior, pool=20).fit(prior, (x1, labels), generator=generator())
    x0, ends = coupling.pairs(prior, x1[:1], labels[:1], generator=generator(1))
    assert are_pairs(x0, ends, labels[:1])


@pytest.mark.parametrize("pool", [0, 20_000])
def test_the_source_samples_of_training_are_those_of_sampling(pool: int) -> None:
    """Per label, on each coordinate: what a pool gives follows the prior as fresh draws do."""
    x1, labels = two_classes(4000, 3)
    prior = fitted("gmm")
    coupling = taught(prior, pool=pool).fit(prior, (x1, labels), generator=generator())
    x0, ends = coupling.pairs(prior, x1, labels, generator=generator(1))
    sampled = coupling.source(prior, labels, generator=generator(2))
    for label in (0, 1):
        of_it = labels == label
        for axis in (0, 1):
            carried = 2 * sampled[of_it, axis] + 1 + label
            assert p_value(x0[of_it, axis], sampled[of_it, axis]) > 0.01
            assert p_value(ends[of_it, axis], carried) > 0.01
    assert source_mismatch(coupling, prior, x1[:800], labels[:800], generator=generator(3)).p_value > 0.01


def test_a_fit_and_its_pairs_follow_from_the_generator() -> None:
    x1, labels = two_classes(100, 3)
    prior = fitted("gmm")
    drawn = []
    for fit, draw in ((0, 1), (0, 1), (5, 1), (0, 5)):
        coupling = taught(prior, pool=40, real=0.5).fit(prior, (x1, labels), generator=generator(fit))
        drawn.append(torch.cat(coupling.pairs(prior, x1, labels, generator=generator(draw))))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])


def test_the_flow_is_asked_with_the_options() -> None:
    x1, labels = two_classes(50, 3)
    prior = fitted("gmm")
    coupling = taught(prior, pool=0, nfe=7, guidance=2.5, real=0.5)
    coupling.pairs(prior, x1, labels, generator=generator())
    assert teacher_of(coupling).asked == [{"nfe": 7, "guidance": 2.5}] * 2


@pytest.mark.parametrize("origin", ["condot", "independent", "posterior"])
def test_sampling_starts_where_the_first_flow_starts(origin: str) -> None:
    _, labels = two_classes(50, 3)
    prior, first = fitted("latent-gmm:rank=1,components=2"), Coupling.create(origin)
    coupling = taught(prior, origin=origin)
    starts = [c.source(prior, labels, generator=generator()) for c in (coupling, first)]
    assert torch.equal(*starts)
    assert torch.equal(*(c.source_log_prob(prior, starts[0], labels) for c in (coupling, first)))
    assert type(coupling.first) is type(first)
    assert not coupling.has_law(prior)
    if origin != "independent":
        assert torch.equal(*(c.source_mean(prior, labels, len(labels)) for c in (coupling, first)))


def test_embeddings_and_parts_have_pairs_of_each_batch() -> None:
    x1, labels = two_classes(60, 3)
    embedding = torch.nn.functional.one_hot(labels, 2).to(x1)
    prior = Prior.create("learned-mean", epochs=1).fit((x1, embedding), generator=generator())
    for cond in (embedding, Parts({"kind": embedding})):
        coupling = taught(prior, pool=0).fit(prior, (x1, embedding))
        assert are_pairs(*coupling.pairs(prior, x1, cond, generator=generator()), torch.zeros(60))
        message = "expected labels or no condition, got .*; use pool=0"
        with pytest.raises(CouplingError, match=message):
            taught(prior, pool=10).fit(prior, [(x1, cond)])


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    x1, labels = two_classes(30, 3)
    prior, loaded = fitted("gaussian"), ReflowCoupling(flow="runs/first", origin="condot")
    few = taught(prior, pool=10).fit(prior, (x1[labels == 0], labels[labels == 0]))
    loaded.check(prior)
    assert not loaded.is_fitted
    asked: dict[str, Callable[[], object]] = {
        "expected a trained flow, got none; name a run or a saved flow": lambda: ReflowCoupling().check(
            prior
        ),
        "train reads it from the flow, or name it": lambda: ReflowCoupling(flow="runs/first").check(prior),
        "its flow is not loaded; train loads it": lambda: loaded.fit(prior, (x1, labels)),
        "flow is not loaded; train loads it": lambda: loaded.draw(prior, x1, labels),
        r"no pairs yet; call coupling\.fit\(prior, data\) first": lambda: taught(prior).pairs(
            prior, x1, labels
        ),
        "there are no pairs of label 1": lambda: few.pairs(prior, x1, labels),
        "expected the fitted prior of the flow, got another one": lambda: taught(prior).check(
            fitted("gaussian:moments=diagonal")
        ),
        "has no latent variables": lambda: taught(prior, origin="posterior").check(prior),
    }
    for message, call in asked.items():
        with pytest.raises((CouplingError, NotFittedError), match=message):
            call()
    monkeypatch.setattr("flowprior.couplings.reflow.MOST_BYTES", 1 << 10)
    with pytest.raises(CouplingError, match=r"take more than .* use a smaller pool, or pool=0"):
        taught(prior).fit(prior, (x1, labels))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"origin": "reflow"}, "name the coupling of the first flow"),
        ({"origin": "posteriour"}, "unknown coupling 'posteriour'"),
        ({"real": 2}, "expected real to be a number from 0 to 1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises((OptionError, UnknownComponentError), match=message):
        ReflowCoupling(**options)
