"""The operators against eager torch and its compiled form, timed in turn in one run (issue 3, item 3).

Every figure of a row comes from the same seconds of the machine: ours, each peer and a plain copy take
turns of ten calls, and the ratio is that of their medians. ``bandwidth`` is what the operator must at
least read and write, over its time, as a share of the copy's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import compositions
from flowprior import ops

CONDITIONS = 10
SIZES = [(256, 3072), (512, 784)]
CASES = [(batch, dim, components) for batch, dim in SIZES for components in (1, 8)]
ROUNDS = 20
IN_A_ROW = 10
"""Calls of one kind between changes: everyone finds its own data in the caches."""
Call = Callable[[], Any]

mixtures = pytest.mark.parametrize(("batch", "dim", "components"), CASES)
pairs = pytest.mark.parametrize(("batch", "dim"), SIZES)


@dataclass
class Problem:
    """A mixture for each of ten conditions, a batch of data and everything that goes with it."""

    batch: int
    dim: int
    components: int

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        table = (CONDITIONS, self.components, self.dim)
        self.logits = torch.randn(table[:2], generator=generator)
        self.mean = torch.randn(table, generator=generator)
        self.scale = torch.rand(table, generator=generator) + 0.5
        self.cond = torch.randint(CONDITIONS, (self.batch,), generator=generator)
        self.x0, self.x1, self.v = torch.randn(3, self.batch, self.dim, generator=generator)
        self.t = torch.rand(self.batch, generator=generator)
        self.seed = torch.tensor([20250211])
        self.tables = (self.logits, self.mean, self.scale)

    @property
    def event_bytes(self) -> int:
        return self.batch * self.dim * 4

    @property
    def table_bytes(self) -> int:
        return 2 * self.mean.numel() * 4


def compiled(function: Callable[..., Any], *arguments: Any) -> Call:
    """``torch.compile`` of a composition, warmed up."""
    fast = torch.compile(function, fullgraph=False, dynamic=False)
    for _ in range(3):
        fast(*arguments)
    return partial(fast, *arguments)


def medians(calls: dict[str, Call], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each call, the calls taking turns of ten, of which the first two do not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for place in range(IN_A_ROW):
                start = time.perf_counter()
                call()
                if place >= 2:
                    times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def compare(
    benchmark: Any, ours: Call, peers: dict[str, Call], goals: dict[str, float], *, moved: int, work: int = 0
) -> None:
    """Time ``ours``, the peers and a copy in turn; keep milliseconds, ratios and the share of the limit."""
    benchmark.pedantic(ours, rounds=ROUNDS, warmup_rounds=5)
    source = torch.randn(max(moved // 8, 1 << 20))
    target = torch.empty_like(source)
    seconds = medians({"ours": ours, "copy": partial(target.copy_, source), **peers})
    own = seconds["ours"]
    copied = 2 * source.numel() * 4 / seconds["copy"]
    benchmark.extra_info.update(
        backend=str(ops.backend().name),
        milliseconds={name: value * 1e3 for name, value in seconds.items()},
        ratio={name: seconds[name] / own for name in peers},
        goal=goals,
        copy_rate=copied,
        bandwidth=moved / own / copied,
        gigaflops=work / own / 1e9,
    )


@mixtures
def test_gmm_sample(benchmark, batch, dim, components):
    p = Problem(batch, dim, components)
    arguments = (*p.tables, p.cond)
    compare(
        benchmark,
        partial(ops.gmm_sample, *arguments, p.seed),
        {
            "composition": partial(compositions.sample, *arguments),
            "MixtureSameFamily": partial(compositions.mixture_sample, *arguments),
            "compiled composition": compiled(compositions.sample, *arguments),
        },
        {"composition": 5, "MixtureSameFamily": 15, "compiled composition": 1},
        moved=p.event_bytes + p.table_bytes,
    )


@mixtures
def test_gmm_log_prob(benchmark, batch, dim, components):
    p = Problem(batch, dim, components)
    arguments = (p.x1, *p.tables, p.cond)
    compare(
        benchmark,
        partial(ops.gmm_log_prob, *arguments),
        {
            "MixtureSameFamily": partial(compositions.mixture_log_prob, *arguments),
            "compiled MixtureSameFamily": compiled(compositions.mixture_log_prob, *arguments),
        },
        {"MixtureSameFamily": 25, "compiled MixtureSameFamily": 1},
        moved=p.event_bytes + p.table_bytes,
        work=4 * batch * components * dim,
    )


@mixtures
def test_gmm_log_prob_all(benchmark, batch, dim, components):
    p = Problem(batch, dim, components)
    arguments = (p.x1, *p.tables)
    compare(
        benchmark,
        partial(ops.gmm_log_prob_all, *arguments),
        {
            "two products": partial(compositions.two_products, *arguments),
            "compiled two products": compiled(compositions.two_products, *arguments),
        },
        {"two products": 1.5, "compiled two products": 1},
        moved=p.event_bytes + p.table_bytes,
        work=4 * batch * CONDITIONS * components * dim,
    )
    exact = ops.gmm_log_prob_all(*(part.double() for part in arguments))[0]
    errors = {
        "ours": _error(ops.gmm_log_prob_all(*arguments)[0], exact),
        "two products": _error(compositions.two_products(*arguments), exact),
    }
    benchmark.extra_info["relative_error"] = errors
    assert errors["ours"] < errors["two products"]


@mixtures
def test_gmm_path(benchmark, batch, dim, components):
    p = Problem(batch, dim, components)
    arguments = (*p.tables, p.cond, p.x1, p.t)
    compare(
        benchmark,
        partial(ops.gmm_path, *arguments, p.seed),
        {
            "composition": partial(compositions.path, *arguments),
            "compiled composition": compiled(compositions.path, *arguments),
        },
        {"composition": 4, "compiled composition": 1},
        moved=3 * p.event_bytes + p.table_bytes,
    )


@pairs
def test_interpolate(benchmark, batch, dim):
    p = Problem(batch, dim, 1)
    arguments = (p.x0, p.x1, p.t)
    compare(
        benchmark,
        partial(ops.interpolate, *arguments),
        {
            "composition": partial(compositions.interpolate, *arguments),
            "compiled composition": compiled(compositions.interpolate, *arguments),
        },
        {"composition": 1, "compiled composition": 1},
        moved=4 * p.event_bytes,
    )


@pairs
def test_loss_forward_and_backward(benchmark, batch, dim):
    p = Problem(batch, dim, 1)
    v = p.v.requires_grad_()
    fast = torch.compile(compositions.loss)

    def step(function: Callable[..., Tensor]) -> Tensor:
        return torch.autograd.grad(function(v, p.x0, p.x1), v)[0]

    compare(
        benchmark,
        partial(step, lambda v, x0, x1: ops.flow_matching_loss(v, x0=x0, x1=x1)),
        {"composition": partial(step, compositions.loss), "compiled composition": partial(step, fast)},
        {"composition": 2, "compiled composition": 1},
        moved=4 * p.event_bytes,
    )


def _error(value: Tensor, exact: Tensor) -> float:
    """Largest relative error."""
    return float(((value.double() - exact) / exact).abs().max())
