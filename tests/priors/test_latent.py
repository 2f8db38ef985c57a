"""Latent priors are asked for by one function."""

from __future__ import annotations

import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.errors import InputError, NotFittedError
from flowprior.priors import GaussianPrior, GmmPrior, LatentPrior, Prior, latents_of

FOR_LATENTS = ("infer", "has_latents", "smoothed")


class Moved(GaussianPrior, LatentPrior):
    """A plug-in that infers x0 = x1 + 1."""

    def _infer(self, x1, cond, generator):
        return x1 + 1


def test_a_prior_has_no_member_that_latent_priors_alone_have():
    assert not any(hasattr(Prior, name) for name in FOR_LATENTS)
    assert all(hasattr(LatentPrior, name) for name in FOR_LATENTS)


def test_a_latent_prior_without_latents_is_none():
    assert latents_of(GaussianPrior()) is None
    assert latents_of(GmmPrior()) is None
    assert latents_of(GmmPrior(covariance="full")) is None
    for mixture in (GmmPrior(covariance="lowrank"), GmmPrior(components=2)):
        assert latents_of(mixture) is mixture
    assert (mixture.has_spread, mixture.spread(None, 1)) == (False, None)


def test_a_plug_in_infers_after_its_questions_are_checked():
    x1 = torch.zeros(3, 2)
    latents = latents_of(Moved().fit(x1))
    assert latents is not None
    assert torch.equal(Coupling.create("posterior").draw(latents, x1, None), x1 + 1)
    with pytest.raises(NotFittedError, match=r"infer: the prior is not fitted"):
        Coupling.create("posterior").draw(Moved(), x1, None)
    with pytest.raises(InputError, match="expected finite x1"):
        latents.infer(x1 + torch.nan)
