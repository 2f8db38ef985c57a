"""What pairs of N(0, I) and pictures cost a batch, by how many are paired at once, and torchcfm's.

Thousands at once and semidiscrete transport take minutes, so they run with ``FLOWPRIOR_FULL_SIZE=1`` alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import pytest
import torch

from benchmarks.operators.peers import MissingError, peer
from benchmarks.operators.problem import pictures
from flowprior import Coupling, Prior

BATCH = 64
PASSES = 1
"""Of the semidiscrete potentials, whose values do not matter to the time of a draw."""
GROUP = f"pairs of N(0, I) and pictures for batches of {BATCH}"
WAYS = {
    "condot": "condot",
    "ot": "ot",
    "ot-1024": "ot:ot_batch=1024",
    "ot-ignoring": "ot:condition=ignore",
    "torchcfm, 64 ignoring": "",
    "torchcfm, 1024 ignoring": "",
}
if os.environ.get("FLOWPRIOR_FULL_SIZE"):
    WAYS |= {"ot-8192": "ot:ot_batch=8192", "semidiscrete": f"semidiscrete:passes={PASSES}"}
    for pairs in (8192, 16384):
        spec = f"ot:method=sinkhorn,reg=0.01,ot_batch={pairs},condition=ignore"
        WAYS[f"sinkhorn-{pairs}-ignoring"] = spec


@cache
def prior() -> Prior:
    """N(0, I) for pictures."""
    return Prior.create("gaussian").fit((pictures().x[:BATCH], pictures().y[:BATCH]))


def by_torchcfm(count: int) -> Callable[[], object]:
    """An exact plan and pairs drawn from it, as torchcfm's OT-CFM does."""
    sampler = peer("torchcfm.optimal_transport").OTPlanSampler(method="exact")
    generator = torch.Generator().manual_seed(0)
    x1 = pictures().x[:count]
    return lambda: sampler.sample_plan(torch.randn(count, 784, generator=generator), x1)


def call_of(way: str) -> tuple[Callable[[], object], int]:
    """What makes the pairs of several batches, and of how many."""
    if way.startswith("torchcfm"):
        count = int(way.split()[1])
        return by_torchcfm(count), count // BATCH
    coupling = Coupling.registry.resolve(WAYS[way])
    coupling.fit(prior(), (pictures().x, pictures().y), generator=torch.Generator().manual_seed(0))
    count = coupling.draw_size(BATCH)
    x1, labels, generator = pictures().x[:count], pictures().y[:count], torch.Generator().manual_seed(0)
    return lambda: coupling.pairs(prior(), x1, labels, generator=generator), count // BATCH


@pytest.mark.parametrize("way", WAYS)
def test_pairs(benchmark, way):
    benchmark.group = GROUP
    try:
        call, batches = call_of(way)
    except MissingError as missing:
        benchmark.skipped = True
        pytest.skip(str(missing))
    large = way.startswith("sinkhorn")
    benchmark.pedantic(call, rounds=1 if large else 5 if batches == 1 else 2, warmup_rounds=int(not large))
    benchmark.extra_info.update(way=way, batches=batches)
