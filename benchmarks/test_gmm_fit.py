"""GMM fit: all classes of Fashion-MNIST at once against ten scikit-learn fits (issue 2, item 4)."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import torch

from flowprior import Prior

COMPONENTS = 8
REG_COVAR = 1e-3
TOL = 1e-3
MAX_ITER = 100


def fit_ours(x, y):
    prior = Prior.create("gmm", components=COMPONENTS, reg_covar=REG_COVAR, tol=TOL, max_iter=MAX_ITER)
    return prior.fit((x, y), generator=torch.Generator().manual_seed(0))


def fit_sklearn(x, y):
    from sklearn.mixture import GaussianMixture

    options = {"covariance_type": "diag", "reg_covar": REG_COVAR, "tol": TOL, "max_iter": MAX_ITER}
    rows = [x[y == label].numpy() for label in range(10)]
    return [GaussianMixture(COMPONENTS, random_state=0, **options).fit(part) for part in rows]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_all_classes(benchmark, fashion_mnist):
    x, y, x_test, y_test = fashion_mnist
    start = time.perf_counter()
    models = fit_sklearn(x, y)
    theirs_seconds = time.perf_counter() - start
    prior = benchmark.pedantic(fit_ours, args=(x, y), rounds=1)
    seconds = benchmark.stats.stats.min
    ours = prior.log_prob(x_test, y_test).mean().item()
    scores = [models[label].score_samples(x_test[y_test == label].numpy()).sum() for label in range(10)]
    theirs = float(sum(scores)) / len(x_test)
    benchmark.extra_info.update(
        ratio=theirs_seconds / seconds, held_out_ours=ours, held_out_sklearn=theirs,
        sklearn_seconds=theirs_seconds, components=COMPONENTS, reg_covar=REG_COVAR, dtype="float32",
    )  # fmt: skip
    assert abs(ours - theirs) <= 0.005 * abs(theirs)


def test_memory_does_not_grow_with_the_data(benchmark, fashion_mnist):
    """Peak Python-side memory of a streamed fit is the same for one and for four times the pictures."""
    x, y, _, _ = fashion_mnist

    class Repeated:
        def __init__(self, times: int) -> None:
            self.times = times

        def __iter__(self):
            for _ in range(self.times):
                for start in range(0, 8192, 1024):
                    yield x[start : start + 1024].clone(), y[start : start + 1024]

    def peak(times: int) -> float:
        import resource

        tracemalloc.start()
        Prior.create("gmm", components=2, max_iter=3).fit(Repeated(times))
        tracemalloc.stop()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    peak(1)
    before = peak(1)
    after = benchmark.pedantic(peak, args=(4,), rounds=1)
    benchmark.extra_info.update(peak_mib_once=before, peak_mib_four_times=after)
    assert after <= before + 16
