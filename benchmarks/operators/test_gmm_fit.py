"""Fit of a mixture for each class: all at once against a scikit-learn fit of each; its memory on a stream."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.operators.groups import WHOLE
from benchmarks.operators.peers import peer
from benchmarks.operators.problem import pictures
from flowprior import Prior

COMPONENTS = 8
OPTIONS = {"reg_covar": 1e-3, "tol": 1e-3, "max_iter": 100}
DTYPES = {"scikit-learn float64": torch.float64, "scikit-learn float32": torch.float32}
SCORES: dict[str, float] = {}
"""The held-out log-density of the way that ran first."""
PEAKS: list[int] = []
"""Those of the sizes that ran before."""

STREAM = """
import sys, torch
from flowprior import Prior

class Pictures:
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(int(sys.argv[1])):
            yield torch.randn(1000, 784, generator=generator), torch.arange(1000) % 10

Prior.create("gmm", components=2, max_iter=2).fit(Pictures())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)  # unlike ru_maxrss, not inherited from the parent
"""


def fit_ours(x: Tensor, y: Tensor) -> Prior:
    """Float32 rows and float64 sums."""
    prior = Prior.create("gmm", components=COMPONENTS, **OPTIONS)
    return prior.fit((x, y), generator=torch.Generator().manual_seed(0))


def fit_sklearn(x: Tensor, y: Tensor, dtype: torch.dtype) -> list[Any]:
    """A fit for each class. In float32 scikit-learn's bound is too noisy to converge."""
    create = partial(peer("sklearn.mixture").GaussianMixture, COMPONENTS, covariance_type="diag", **OPTIONS)
    rows = [x[y == label].to(dtype).numpy() for label in range(10)]
    return [create(random_state=0).fit(part) for part in rows]


def score_sklearn(models: list[Any], dtype: torch.dtype) -> float:
    """Mean held-out log-density, each picture under the fit of its class."""
    data = pictures()
    tests = [data.x_test[data.y_test == label].to(dtype).numpy() for label in range(10)]
    scores = [model.score_samples(rows).sum() for model, rows in zip(models, tests, strict=True)]
    return float(sum(scores)) / len(data.x_test)


def score_ours(prior: Prior) -> float:
    """Mean held-out log-density."""
    return prior.log_prob(pictures().x_test, pictures().y_test).mean().item()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("way", [WHOLE, *DTYPES])
def test_fit_all_classes(benchmark, way):
    data = pictures()
    benchmark.group = f"gmm.fit, {data.name} 60,000 x 784, ten classes, K = {COMPONENTS}"
    if way == WHOLE:
        score = score_ours(benchmark.pedantic(fit_ours, args=(data.x, data.y)))
    else:
        models = benchmark.pedantic(fit_sklearn, args=(data.x, data.y, DTYPES[way]))
        score = score_sklearn(models, DTYPES[way])
    benchmark.extra_info.update(way=way, notes={"held-out log-density": score})
    assert score == pytest.approx(SCORES.setdefault("first", score), rel=0.005)


def peak_mib(thousands: int) -> int:
    """Highest resident memory of a process that fits to that many thousand streamed pictures."""
    command = [sys.executable, "-c", STREAM, str(thousands)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.parametrize("thousands", [15, 60])
def test_memory_does_not_grow_with_the_data(benchmark, thousands):
    """60,000 pictures of 784 numbers are 179 MiB."""
    benchmark.group = "gmm.fit in a process of its own, a stream of pictures of 784 numbers"
    peak = benchmark.pedantic(peak_mib, args=(thousands,))
    benchmark.extra_info.update(way=f"flowprior, {thousands},000", notes={"peak, MiB": peak})
    PEAKS.append(peak)
    assert peak <= min(PEAKS) + 32
