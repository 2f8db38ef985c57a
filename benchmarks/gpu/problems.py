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
    p, pair = on_device(problem, device), problem.event_bytes
    mixed, points, path = (*p.tables, p.cond), (p.x0, p.x1, p.t), (*p.tables, p.cond, p.x1, p.t)
    rows, all_rows = (p.x1, *p.tables, p.cond), (p.x1, *p.tables)
    v = p.v.requires_grad_()

    def step(loss: Callable[..., Tensor]) -> Call:
        return lambda: torch.autograd.grad(loss(v, p.x0, p.x1), v)[0]

    return [
        Contest(
            "gmm_sample",
            partial(ops.gmm_sample, *mixed, p.seed),
            pair + p.table_bytes,
            lambda: partial(peers.eager_sample, *mixed),
        ),
        Contest(
            "gmm_path",
            partial(ops.gmm_path, *path, p.seed),
            3 * pair + p.table_bytes,
            lambda: partial(peers.eager_path, *path),
            {
                "torchcfm": lambda: peers.from_mixture(peers.torchcfm_point(), p),
                "flow_matching": lambda: peers.from_mixture(peers.flow_matching_point(), p),
            },
        ),
        Contest(
            "gmm_log_prob",
            partial(ops.gmm_log_prob, *rows),
            pair + p.table_bytes,
            lambda: partial(peers.mixture_log_prob, *rows),
        ),
        Contest(
            "gmm_log_prob_all",
            partial(ops.gmm_log_prob_all, *all_rows),
            pair + p.table_bytes,
            lambda: partial(peers.two_products, *all_rows),
        ),
        Contest(
            "interpolate",
            partial(ops.interpolate, *points),
            4 * pair,
            lambda: partial(peers.eager_interpolate, *points),
            {
                "torchcfm": lambda: partial(peers.torchcfm_point(), *points),
                "flow_matching": lambda: partial(peers.flow_matching_point(), *points),
            },
        ),
        Contest(
            "flow_matching_loss and its gradient",
            step(lambda v, x0, x1: ops.flow_matching_loss(v, x0=x0, x1=x1)),
            4 * pair,
            lambda: step(peers.eager_loss),
        ),
    ]
