"""Latent priors are asked for by one function, which takes plug-ins that derive from Prior, too."""

from __future__ import annotations

import warnings

import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.errors import InputError, NotFittedError
from flowprior.priors import GaussianPrior, GmmPrior, LatentPrior, Prior, VaePrior, latents_of

FOR_LATENTS = ("infer", "fits_latents", "frame")


class Shifted(GaussianPrior):
    """A plug-in as it was written when ``Prior`` itself had ``infer``: x0 is x1, moved by 1."""

    @property
    def has_latents(self) -> bool:
        return True

    def _infer(self, x1, cond, generator):
        return x1 + 1


class Overriding(Shifted):
    """A plug-in that says more than it must; what it overrides is looked up on it."""

    @property
    def fits_latents(self) -> bool:
        return True


def test_a_prior_has_no_member_that_latent_priors_alone_have():
    assert not any(hasattr(Prior, name) for name in FOR_LATENTS)
    assert all(hasattr(LatentPrior, name) for name in FOR_LATENTS)


def test_a_latent_prior_without_latents_is_none():
    assert latents_of(GaussianPrior()) is None
    assert latents_of(GmmPrior()) is None
    mixture, network = GmmPrior(components=2), VaePrior()
    assert latents_of(mixture) is mixture
    assert latents_of(network) is network
    assert (mixture.fits_latents, mixture.frame(None, 1)) == (False, None)


def test_a_plug_in_that_derives_from_prior_is_taken_with_a_warning_once():
    class Fresh(Shifted):
        pass

    x1 = torch.zeros(3, 2)
    with pytest.warns(FutureWarning, match="Fresh has latent variables and derives from Prior"):
        latents = latents_of(Fresh().fit(x1))
    assert latents is not None
    assert (latents.fits_latents, latents.frame(None, 1)) == (False, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = Coupling.create("posterior").draw(Fresh().fit(x1), x1, None)
    assert torch.equal(drawn, x1 + 1)
    with pytest.raises(NotFittedError, match=r"infer: the prior is not fitted"):
        Coupling.create("posterior").draw(Fresh(), x1, None)
    with pytest.raises(InputError, match="expected finite x1"):
        latents.infer(x1 + torch.nan)


@pytest.mark.filterwarnings("ignore:.*derives from Prior:FutureWarning")
def test_what_a_plug_in_overrides_is_kept():
    latents = latents_of(Overriding())
    assert latents is not None
    assert latents.fits_latents
