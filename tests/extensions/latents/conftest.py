"""One small autoencoder for all tests of latents."""

from __future__ import annotations

import pytest

from flowprior.extensions.latents.vae import VaeEncoder
from tests.extensions.latents.pictures import small_vae


@pytest.fixture(scope="session")
def vae() -> VaeEncoder:
    return small_vae()
