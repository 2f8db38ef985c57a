"""The operators on a device, and what one would write in torch or call of a peer in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from benchmarks.operators import peers
from benchmarks.operators.peers import Call
from benchmarks.operators.problem import Problem
from flowprior import ops


@dataclass(frozen=True)
class Contest:
    """An operator at one size.

    Attributes:
        name: of the operator.
        ours: our call.
        moved: bytes that it must at least read and write.
        eager: the function of torch and its arguments that does the same.
        packages: what makes a peer's call, by the peer's name.
    """

    name: str
    ours: Call
    moved: int
    eager: Callable[[], Call]
    packages: dict[str, Callable[[], Call]] = field(default_factory=dict)


def on_device(problem: Problem, device: str) -> Problem:
    """The same numbers on another device."""
    for name, value in vars(problem).items():
        if isinstance(value, Tensor):
            setattr(problem, name, value.to(device))
    problem.tables = (problem.logits, problem.mean, problem.scale)
    return problem


def contests(problem: Problem, device: str) -> list[Contest]:
    """Every operator of a training step and of the densities, on the problem's tensors."""
    p = on_device(problem, device)
    return [sampling(p), mixed_path(p), *densities(p), interpolation(p), loss(p)]


def sampling(p: Problem) -> Contest:
    arguments = (*p.tables, p.cond)
    return Contest(
        "gmm_sample",
        partial(ops.gmm_sample, *arguments, p.seed),
        p.event_bytes + p.table_bytes,
        lambda: partial(peers.eager_sample, *arguments),
    )


def mixed_path(p: Problem) -> Contest:
    arguments = (*p.tables, p.cond, p.x1, p.t)
    return Contest(
        "gmm_path",
        partial(ops.gmm_path, *arguments, p.seed),
        3 * p.event_bytes + p.table_bytes,
        lambda: partial(peers.eager_path, *arguments),
        {
            "torchcfm": lambda: peers.from_mixture(peers.torchcfm_point(), p),
            "flow_matching": lambda: peers.from_mixture(peers.flow_matching_point(), p),
        },
    )


def densities(p: Problem) -> list[Contest]:
    """Of each row under its own condition, and under every one."""
    moved = p.event_bytes + p.table_bytes
    own, every = (p.x1, *p.tables, p.cond), (p.x1, *p.tables)
    return [
        Contest(
            "gmm_log_prob",
            partial(ops.gmm_log_prob, *own),
            moved,
            lambda: partial(peers.mixture_log_prob, *own),
        ),
        Contest(
            "gmm_log_prob_all",
            partial(ops.gmm_log_prob_all, *every),
            moved,
            lambda: partial(peers.two_products, *every),
        ),
    ]


def interpolation(p: Problem) -> Contest:
    arguments = (p.x0, p.x1, p.t)
    return Contest(
        "interpolate",
        partial(ops.interpolate, *arguments),
        4 * p.event_bytes,
        lambda: partial(peers.eager_interpolate, *arguments),
        {
            "torchcfm": lambda: partial(peers.torchcfm_point(), *arguments),
            "flow_matching": lambda: partial(peers.flow_matching_point(), *arguments),
        },
    )


def loss(p: Problem) -> Contest:
    """With its gradient by the network's velocity."""
    v = p.v.requires_grad_()

    def step(loss: Callable[..., Tensor]) -> Call:
        return lambda: torch.autograd.grad(loss(v, p.x0, p.x1), v)[0]

    return Contest(
        "flow_matching_loss and its gradient",
        step(lambda v, x0, x1: ops.flow_matching_loss(v, x0=x0, x1=x1)),
        4 * p.event_bytes,
        lambda: step(peers.eager_loss),
    )
