"""Points and velocities of the straight path, and the loss with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from benchmarks.operators import peers
from benchmarks.operators.groups import OURS, QUICK, Group, composed, ours, rows_of, time_row
from benchmarks.operators.peers import compile_once, warm
from benchmarks.operators.problem import MIXTURES, PAIRS, Problem
from flowprior import ops

pytestmark = QUICK
EAGER = (*OURS, "eager", "compiled eager")
POINTS = (*EAGER, "torchcfm", "flow_matching")


@lru_cache(maxsize=1)
def path_from_mixture(*size: int) -> Group:
    p = Problem(*size)
    arguments = (*p.tables, p.cond, p.x1, p.t)
    call = partial(ops.gmm_path, *arguments, p.seed)
    return Group(
        p.name("gmm_path"),
        {
            **ours(call),
            **composed("eager", peers.eager_path, *arguments),
            "torchcfm": lambda: peers.from_mixture(peers.torchcfm_point(), p),
            "flow_matching": lambda: peers.from_mixture(peers.flow_matching_point(), p),
        },
        {"eager": 4, "compiled eager": 1},
        moved=3 * p.event_bytes + p.table_bytes,
    )


@lru_cache(maxsize=1)
def interpolation(*size: int) -> Group:
    p = Problem(*size)
    arguments = (p.x0, p.x1, p.t)
    call = partial(ops.interpolate, *arguments)
    return Group(
        p.name("interpolate", mixture=False),
        {
            **ours(call),
            **composed("eager", peers.eager_interpolate, *arguments),
            "torchcfm": lambda: partial(peers.torchcfm_point(), *arguments),
            "flow_matching": lambda: partial(peers.flow_matching_point(), *arguments),
        },
        {"eager": 1, "compiled eager": 1},
        moved=4 * p.event_bytes,
    )


@lru_cache(maxsize=1)
def loss(*size: int) -> Group:
    p = Problem(*size)
    v = p.v.requires_grad_()

    def step(function: Callable[..., Tensor]) -> Tensor:
        return torch.autograd.grad(function(v, p.x0, p.x1), v)[0]

    call = partial(step, lambda v, x0, x1: ops.flow_matching_loss(v, x0=x0, x1=x1))
    return Group(
        p.name("flow_matching_loss and its gradient", mixture=False),
        {
            **ours(call),
            "eager": lambda: partial(step, peers.eager_loss),
            "compiled eager": lambda: warm(partial(step, compile_once(peers.eager_loss))),
        },
        {"eager": 2, "compiled eager": 1},
        moved=4 * p.event_bytes,
    )


@rows_of(MIXTURES, POINTS)
def test_gmm_path(benchmark, size, way):
    time_row(benchmark, path_from_mixture(*size), way)


@rows_of(PAIRS, POINTS)
def test_interpolate(benchmark, size, way):
    time_row(benchmark, interpolation(*size), way)


@rows_of(PAIRS, EAGER)
def test_loss_and_gradient(benchmark, size, way):
    time_row(benchmark, loss(*size), way)
