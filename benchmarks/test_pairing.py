"""Pairing of 1,024 starts and pictures within ten classes against torchcfm (issue 2, item 5)."""

from __future__ import annotations

import time

import pytest
import torch

from flowprior import Coupling


def median_seconds(function, rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[rounds // 2]


def test_pair_within_classes(benchmark, fashion_mnist):
    optimal_transport = pytest.importorskip("torchcfm.optimal_transport")
    x, y, _, _ = fashion_mnist
    x1, labels = x[:1024], y[:1024]
    x0 = torch.randn(1024, 784, generator=torch.Generator().manual_seed(0))
    coupling = Coupling.create("ot", condition="within")
    sampler = optimal_transport.OTPlanSampler(method="exact")
    theirs = median_seconds(lambda: sampler.sample_plan(x0, x1), 5)
    permutation = benchmark(coupling.pair, x0, x1, labels)
    benchmark.extra_info.update(ratio=theirs / benchmark.stats.stats.median, torchcfm_seconds=theirs)
    assert torch.equal(permutation.sort().values, torch.arange(1024))
    assert torch.equal(labels[permutation], labels)
