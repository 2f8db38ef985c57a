"""A prior with latents says so, and they are inferred after its arguments are checked."""

from __future__ import annotations

import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.errors import InputError, NotFittedError
from flowprior.priors import GaussianPrior, GmmPrior


class Moved(GaussianPrior):
    """A plug-in that infers x0 = x1 + 1."""

    has_latents = True

    def _infer(self, x1, cond, generator):
        return x1 + 1


def test_components_and_a_factor_are_latents():
    for prior in (GaussianPrior(), GmmPrior(), GmmPrior(covariance="full")):
        assert not prior.has_latents
    for mixture in (GmmPrior(covariance="lowrank"), GmmPrior(components=2)):
        assert mixture.has_latents
        assert (mixture.has_spread, mixture.spread(None, 1)) == (False, None)


def test_a_plug_in_infers_after_its_arguments_are_checked():
    x1 = torch.zeros(3, 2)
    latents = Moved().fit(x1)
    assert torch.equal(Coupling.create("posterior").draw(latents, x1, None), x1 + 1)
    with pytest.raises(NotFittedError, match=r"infer: the prior is not fitted"):
        Coupling.create("posterior").draw(Moved(), x1, None)
    with pytest.raises(InputError, match="expected finite x1"):
        latents.infer(x1 + torch.nan)
