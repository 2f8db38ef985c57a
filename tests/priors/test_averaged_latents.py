"""latent-gmm with an average of mixtures as the law of its latents: moments, inferred latents, state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.priors import latent_gmm

DIM, RANK = 8, 3


def rings(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two labels; the three leading coordinates of each hold a ring and its height, no Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    angle = 6.2832 * torch.rand(count, generator=generator)
    z = torch.stack([angle.cos(), angle.sin(), (2 * angle).sin()], 1)
    loading = torch.linalg.qr(torch.randn(2, DIM, DIM, generator=torch.Generator().manual_seed(9))).Q[
        :, :, :RANK
    ]
    x = torch.einsum("nr,ndr->nd", 3 * z, loading[labels]) + labels[:, None]
    return x + 0.4 * torch.randn(count, DIM, generator=generator), labels


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return rings(3000, 0)


def fitted(data: tuple[Tensor, Tensor], law: str) -> Prior:
    prior = Prior.create("latent-gmm", rank=RANK, reg_covar=1e-3, law=law)
    return prior.fit(data, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def averaged(data) -> Prior:
    return fitted(data, "averaged-gmm")


def test_drawn_latents_have_mean_zero_and_covariance_one(averaged, generator):
    """What ``posterior`` and ``residual`` rely on."""
    for label in (0, 1):
        h = averaged.latents.sample(torch.full((20_000,), label), generator=generator)
        torch.testing.assert_close(h.mean(0), torch.zeros(RANK), rtol=0, atol=0.08)
        torch.testing.assert_close(h.T.cov(), torch.eye(RANK), rtol=0, atol=0.12)


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({}, "averaged-gmm"),
        ({"components": 10}, "gmm"),
        ({"law": "mixture"}, "gmm"),
        ({"basis": "shared"}, "averaged-gmm"),
    ],
)
def test_the_law_that_the_fit_chooses_travels_with_the_state(data, options, law):
    def prior() -> Prior:
        return Prior.create("latent-gmm", rank=RANK, reg_covar=1e-3, **options)

    fitted = prior().fit(data, generator=torch.Generator().manual_seed(0))
    assert fitted.latents.name == law
    other = prior()
    other.load_state_dict(fitted.state_dict())
    x, labels = data[0][:50], data[1][:50]
    assert torch.equal(other.log_prob(x, labels), fitted.log_prob(x, labels))


@pytest.mark.parametrize(
    ("options", "bound", "most", "within", "beyond"),
    [
        ({}, "AVERAGED_LABELS", 2, ("averaged-gmm", None), ("gmm", "full")),
        ({}, "MOST_BYTES", 4 * 2 * (2 * 6 * 4), ("averaged-gmm", None), ("gmm", "diag")),
        ({"components": 10}, "MOST_BYTES", 4 * 2 * (10 * 9), ("gmm", "full"), ("gmm", "diag")),
        ({"law": "mixture"}, "MOST_BYTES", 4 * 2 * (10 * 9), ("gmm", "full"), ("gmm", "diag")),
    ],
)
def test_the_law_becomes_a_plainer_one_where_labels_are_many_or_numbers_are(
    options, bound, most, within, beyond, monkeypatch
):
    """Of 100 rows a label, at most four components of six numbers in two mixtures; ten of nine numbers.

    Also of a prior that was fitted with the other law before.
    """
    prior = Prior.create("latent-gmm", rank=RANK, reg_covar=1e-3, **options)
    for bound_there, law in ((most, within), (most - 1, beyond)):
        monkeypatch.setattr(latent_gmm, bound, bound_there)
        latents = prior.fit(rings(200, 0), generator=torch.Generator().manual_seed(0)).latents
        assert (latents.name, getattr(latents, "covariance", None)) == law
