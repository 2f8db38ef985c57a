"""Whatever the shapes, labels and dtypes: priors and couplings give finite starts, shaped like the data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flowprior.errors import InputError
from flowprior.priors import Prior
from tests.expected_warnings import FEW_EXAMPLES
from tests.given_mean import prior_of

SPECS = {
    "gaussian": ["gaussian", "gaussian:moments=scalar", "gaussian:moments=diagonal"],
    "gmm": [
        *(f"gmm:covariance={name},rank=2,shrinkage=1" for name in ("diag", "full", "lowrank")),
        *(
            f"gmm:covariance={name},components=2,rank=1,shrinkage=0.5,max_iter=3"
            for name in ("spherical", "tied", "lowrank")
        ),
    ],
    "latent-gmm": ["latent-gmm:components=2,rank=2,max_iter=3"],
    "averaged-gmm": ["averaged-gmm:members=1,rows_each=4"],
    "vae": ["vae:latent=2,width=4,steps=4,importance=4"],
    "flow": ["flow:rank=2,steps=4,hidden=8,transforms=2"],
    "around": ["around", "around:sigma=lowrank,rank=2"],
    "learned-mean": [
        "learned-mean:epochs=1,hidden=8,depth=1",
        "learned-mean:epochs=1,hidden=8,depth=0,covariance=lowrank,rank=1,components=1,steps=4",
        "learned-mean:epochs=1,hidden=8,depth=0,covariance=diagonal,steps=4",
    ],
}
PRIORS = [spec for name in Prior.available() for spec in SPECS.get(name, [name])]
KINDS = {
    "gmm": ("none", "labels"),
    "latent-gmm": ("none", "labels"),
    "averaged-gmm": ("none", "labels"),
    "learned-mean": ("labels", "embeddings"),
    "kernel-mean": ("labels", "embeddings"),
    "around": ("labels", "embeddings"),
}


@dataclass
class Example:
    """A small data set with whatever is nasty in small data sets."""

    x: Tensor
    cond: Tensor | None
    seed: int

    @property
    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


@st.composite
def examples(draw: st.DrawFn, kinds: tuple[str, ...]) -> Example:
    """1 to 12 events of 1 to 3 dimensions; any labels, gaps included; scales from 1e-3 to 1e3; duplicates."""
    count = draw(st.integers(1, 12))
    event = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *event, generator=generator) * 10.0 ** draw(st.integers(-3, 3))
    x = x + draw(st.sampled_from([0.0, 1.0, -100.0]))
    if draw(st.booleans()):
        x = x[torch.randint(0, (count + 1) // 2, (count,), generator=generator)]
    kind = draw(st.sampled_from(kinds))
    cond = None
    if kind == "labels":
        cond = torch.tensor(draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)))
    if kind == "embeddings":
        cond = torch.randn(count, draw(st.integers(1, 3)), generator=generator).to(dtype)
    return Example(x.to(dtype), cond, seed)


def check_starts(x0: Tensor, x1: Tensor) -> None:
    assert x0.shape == x1.shape
    assert x0.dtype == x1.dtype
    assert x0.isfinite().all()


@FEW_EXAMPLES
@pytest.mark.parametrize("spec", PRIORS)
@settings(max_examples=12)
@given(drawn=st.data())
def test_every_prior_serves_what_it_was_fitted_on(spec, drawn):
    data = drawn.draw(examples(KINDS.get(spec.split(":")[0], ("none", "labels", "embeddings"))))
    prior = prior_of(spec, data.x.shape[1:])
    prior.fit((data.x, data.cond), generator=data.generator)
    count = len(data.x) if data.cond is None else None
    check_starts(prior.sample(data.cond, count, generator=data.generator), data.x)
    check_starts(prior.sample_marginal(len(data.x), generator=data.generator), data.x)
    check_starts(prior.mean(data.cond, count), data.x)
    if prior.has_latents:
        check_starts(prior.infer(data.x, data.cond, generator=data.generator), data.x)
    if not prior.has_density:
        return
    for density in (prior.log_prob(data.x, data.cond), prior.log_prob_marginal(data.x)):
        assert density.shape == (len(data.x),)
        assert density.dtype == data.x.dtype
        assert density.isfinite().all()


@pytest.mark.parametrize("spec", PRIORS)
@settings(max_examples=8)
@given(drawn=st.data(), bad=st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_one_number_that_is_not_finite_is_never_overlooked(spec, drawn, bad):
    data = drawn.draw(examples(KINDS.get(spec.split(":")[0], ("none", "labels"))))
    x = data.x.clone()
    x.view(-1)[data.seed % x.numel()] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="expected finite data, got NaN or infinity in"):
            prior_of(spec, x.shape[1:]).fit((x, data.cond))
