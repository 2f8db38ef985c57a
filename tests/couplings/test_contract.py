"""What every registered coupling owes its callers, with every registered prior it can serve."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flowprior.couplings import Coupling, PairingCoupling
from flowprior.errors import CouplingError, InputError
from flowprior.priors import KernelMeanPrior, Prior
from tests.given_mean import prior_of

LATENT = {
    "gmm": "gmm:components=2,covariance=lowrank,rank=1",
    "learned-mean": "learned-mean:covariance=lowrank,rank=2,components=1,steps=4",
    "vae": "vae:latent=2,width=4,steps=4,importance=4",
    "latent-gmm": "latent-gmm:components=2,rank=1",
    "around": "around:sigma=lowrank,rank=1",
    "flow": "flow:rank=1,steps=4,hidden=8,transforms=2",
}
PRIORS = Prior.available()


def data(
    n: int, event: tuple[int, ...], kind: str, dtype: torch.dtype, seed: int
) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=generator)
    x = (torch.randn(n, *event, generator=generator) + labels.view(-1, *[1] * len(event))).to(dtype)
    embedding = torch.nn.functional.one_hot(labels, 3).to(dtype)
    return x, {"none": None, "labels": labels, "embeddings": embedding}[kind]


@functools.cache
def fitted(name: str, event: tuple[int, ...], kind: str, dtype: torch.dtype) -> Prior:
    spec = LATENT.get(name, name)
    prior = prior_of(spec, event)
    return prior.fit(data(60, event, kind, dtype, 0), generator=torch.Generator().manual_seed(0))


def kinds(prior: str) -> list[str]:
    return (
        ["labels", "embeddings"] if prior in ("learned-mean", "kernel-mean", "around") else ["none", "labels"]
    )


@pytest.mark.parametrize("name", Coupling.available())
@pytest.mark.parametrize("prior_name", PRIORS)
@settings(max_examples=8)  # of which all couplings meet the same, so that a fit serves several
@given(
    n=st.integers(1, 12),
    event=st.sampled_from([(1,), (3,), (1, 2, 2)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 100),
    choice=st.integers(0, 1),
)
def test_contract(
    name: str, prior_name: str, n: int, event: tuple[int, ...], dtype: torch.dtype, seed: int, choice: int
) -> None:
    kind = kinds(prior_name)[choice]
    prior = fitted(prior_name, event, kind, dtype)
    coupling = Coupling.create(name)
    x1, cond = data(n, event, kind, dtype, seed)
    if name == "posterior" and not prior.has_latents:
        with pytest.raises(CouplingError, match="no latent variables"):
            coupling.check(prior)
        return
    if name == "leave-one-out" and not isinstance(prior, KernelMeanPrior):
        with pytest.raises(CouplingError, match="does not know what it would be without a datum"):
            coupling.check(prior)
        return
    coupling.check(prior)
    if coupling.takes_sources:
        with pytest.raises(CouplingError, match="expected source samples beside the data, got none"):
            coupling.draw(prior, x1, cond)
        return
    before = x1.clone()
    x0, again = (
        coupling.draw(prior, x1, cond, generator=torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    torch.testing.assert_close(x0, again, rtol=0, atol=0)
    torch.testing.assert_close(x1, before, rtol=0, atol=0)
    source = coupling.source(prior, cond, n, generator=torch.Generator().manual_seed(seed))
    for samples in (x0, source):
        assert samples.shape == (n, *event)
        assert samples.dtype == dtype
        assert torch.isfinite(samples).all()
    assert not prior.has_density or coupling.source_log_prob(prior, source, cond).shape == (n,)
    assert coupling.draw_size(n) % n == 0
    if isinstance(coupling, PairingCoupling):
        assert sorted(coupling.pair(x0, x1, cond).tolist()) == list(range(n))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("prior_name", [name for name in PRIORS if name in LATENT])
def test_posterior_refuses_rows_that_are_not_finite(prior_name: str, bad: float) -> None:
    kind = kinds(prior_name)[1]
    prior = fitted(prior_name, (3,), kind, torch.float32)
    x1, cond = data(6, (3,), kind, torch.float32, 1)
    x1[2, 1] = bad
    with pytest.raises(InputError, match=r"infer: expected finite x, got NaN or infinity in 1 of 6 rows"):
        Coupling.create("posterior").draw(prior, x1, cond)


def test_large_finite_rows_are_no_nan() -> None:
    """Their sum overflows, they do not."""
    prior = fitted("gmm", (3,), "none", torch.float32)
    x1 = torch.full((4, 3), 3e38)
    assert Coupling.create("posterior").draw(prior, x1, None).shape == (4, 3)


@pytest.mark.parametrize("name", Coupling.available())
def test_arguments_in_another_order_are_refused(name: str) -> None:
    x, prior = torch.zeros(4, 2), Prior.create("gaussian")
    coupling = object.__new__(Coupling.record(name).factory)  # what its options are does not matter
    for (first, second), got in (
        ((x, prior), "Tensor and .*Prior"),
        ((x, x), "Tensor and Tensor"),
        ((prior, []), "list"),
    ):
        with pytest.raises(InputError, match=rf"{name}.draw: expected a prior .* got .*{got}; call draw"):
            coupling.draw(first, second, None)
