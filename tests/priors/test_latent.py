"""A prior with latents says so, and is asked for them by one function."""

from __future__ import annotations

import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.errors import InputError, NotFittedError
from flowprior.priors import GaussianPrior, GmmPrior
from flowprior.priors.base import latents_of


class Moved(GaussianPrior):
    """A plug-in that infers x0 = x1 + 1."""

    has_latents = True

    def _infer(self, x1, cond, generator):
        return x1 + 1


def test_a_prior_without_latents_is_none():
    for prior in (GaussianPrior(), GmmPrior(), GmmPrior(covariance="full")):
        assert latents_of(prior) is None
    for mixture in (GmmPrior(covariance="lowrank"), GmmPrior(components=2)):
        assert latents_of(mixture) is mixture
        assert (mixture.has_spread, mixture.spread(None, 1)) == (False, None)


def test_a_plug_in_infers_after_its_arguments_are_checked():
    x1 = torch.zeros(3, 2)
    latents = Moved().fit(x1)
    assert torch.equal(Coupling.create("posterior").draw(latents, x1, None), x1 + 1)
    with pytest.raises(NotFittedError, match=r"infer: the prior is not fitted"):
        Coupling.create("posterior").draw(Moved(), x1, None)
    with pytest.raises(InputError, match="expected finite x1"):
        latents.infer(x1 + torch.nan)
