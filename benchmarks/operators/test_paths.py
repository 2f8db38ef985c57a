"""Points and velocities of the straight path, and the loss with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from benchmarks.operators import peers
from benchmarks.operators.groups import WHOLE, Group, composed, ours, rows_of
from benchmarks.operators.problem import PAIRS, Problem
from flowprior import Path, ops


@lru_cache(maxsize=1)
def interpolation(*size: int) -> Group:
    p = Problem(*size)
    arguments = (p.x0, p.x1, p.t)
    return Group(
        p.name("Path.interpolate", mixture=False),
        {
            WHOLE: lambda: partial(Path.create("condot").interpolate, *arguments),
            **composed("eager", peers.eager_interpolate, *arguments),
            "torchcfm": lambda: partial(peers.torchcfm_point(), *arguments),
            "flow_matching": lambda: partial(peers.flow_matching_point(), *arguments),
        },
        {"torchcfm": 1, "flow_matching": 1},
        moved=4 * p.event_bytes,
    )


@lru_cache(maxsize=1)
def loss(*size: int) -> Group:
    p = Problem(*size)
    v = p.v.requires_grad_()

    def step(loss: Callable[..., Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(v, p.x0, p.x1), v)[0]

    return Group(
        p.name("flow_matching_loss and its gradient", mixture=False),
        {
            **ours(step(lambda v, x0, x1: ops.flow_matching_loss(v, x0=x0, x1=x1))),
            **composed("eager", peers.eager_loss, bind=step),
        },
        {"eager": 2, "compiled eager": 1},
        moved=4 * p.event_bytes,
    )


test_interpolate = rows_of(interpolation, PAIRS)
test_loss_and_gradient = rows_of(loss, PAIRS)
