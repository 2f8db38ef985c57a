"""A fit is the same whatever the number of threads, for every registered prior and covariance."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.priors.checks import one_thread
from tests.given_mean import prior_of

NETWORKS = {
    "flow": {"rank": 4, "steps": 3, "transforms": 2, "hidden": 16, "batch_size": 128},
    "learned-mean": {"sigma": "diagonal", "hidden": 32, "epochs": 3},
    "vae": {"latent": 4, "components": 2, "steps": 6, "width": 4, "importance": 8},
}
"""Small trainings; a prior that is not named here is fitted with what is its default."""
MIXTURES = {
    f"gmm-{covariance}": {"covariance": covariance, "components": 3, "shrinkage": 2.0, "rank": 8}
    for covariance in ("diag", "spherical", "full", "tied", "lowrank")
}
CASES = {name: (name, NETWORKS.get(name, {})) for name in Prior.available()}
CASES |= {label: ("gmm", options) for label, options in MIXTURES.items()}


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    """Small pictures ``[1240, 1, 8, 8]`` as digits are: correlated, bounded, with a margin that never varies.

    Six classes of 200 rows, and four of 10: fewer rows than the default prior has latents.
    """
    generator = torch.Generator().manual_seed(5)
    labels = torch.repeat_interleave(torch.arange(10), torch.tensor([200] * 6 + [10] * 4))
    strength = torch.linspace(1.5, 0.02, 64)[:, None]
    loading = strength * torch.randn(10, 64, 64, generator=generator) / 4
    latents = torch.randn(len(labels), 64, generator=generator)
    x = torch.stack([z @ loading[c] for z, c in zip(latents, labels.tolist(), strict=True)])
    x = (x + torch.randn(10, 64, generator=generator)[labels]).tanh().view(-1, 1, 8, 8)
    x[..., 0] = -1.0
    order = torch.randperm(len(x), generator=generator)
    return x[order], labels[order]


def fitted_with(threads: int, case: str, data: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Return draws, log-densities of data, and samples inferred from data if there are any."""
    name, options = CASES[case]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        prior = prior_of(name, data[0].shape[1:], **options)
        prior.fit(data, generator=torch.Generator().manual_seed(0))
        assert torch.get_num_threads() == threads
        x, labels = data[0][:100], data[1][:100]
        generator = torch.Generator().manual_seed(1)
        found = [prior.sample(labels, generator=generator)]
        found += [prior.log_prob(x, labels).detach()] if prior.has_density else []
        return [*found, *([prior.infer(x, labels, generator=generator)] if prior.has_latents else [])]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("case", sorted(CASES))
def test_fits_on_one_and_four_threads_are_one(case, pictures):
    if CASES[case][0] == "flow":
        pytest.importorskip("zuko")
    for alone, shared in zip(*(fitted_with(threads, case, pictures) for threads in (1, 4)), strict=True):
        torch.testing.assert_close(shared, alone, rtol=1e-5, atol=1e-5)


def test_a_fit_that_fails_gives_the_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 // 0
        with one_thread():
            inside = torch.get_num_threads()
        assert (inside, torch.get_num_threads()) == (1, 3)
    finally:
        torch.set_num_threads(before)


def test_fits_of_several_python_threads_wait_for_each_other():
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with one_thread():
                inside += 1
                most = max(most, inside)
                inside -= 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (inside, most) == (0, 1)
