"""Sampling and densities of a Gaussian mixture for each condition."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from torch import Tensor

from benchmarks.operators import peers
from benchmarks.operators.groups import NATIVE, Group, composed, ours, rows_of
from benchmarks.operators.problem import CONDITIONS, MIXTURES, Problem
from flowprior import ops
from flowprior.ops.gmm_log_prob import gmm_log_prob_all


@lru_cache(maxsize=1)
def sample(*size: int) -> Group:
    p = Problem(*size)
    arguments = (*p.tables, p.cond)
    return Group(
        p.name("gmm_sample"),
        {
            **ours(partial(ops.gmm_sample, *arguments)),
            **composed("eager", peers.eager_sample, *arguments),
            "MixtureSameFamily": lambda: lambda: peers.mixture(*arguments).sample(),
        },
        {"eager": 5, "MixtureSameFamily": 15, "compiled eager": 1},
        moved=p.event_bytes + p.table_bytes,
    )


@lru_cache(maxsize=1)
def log_prob(*size: int) -> Group:
    p = Problem(*size)
    arguments = (p.x1, *p.tables, p.cond)
    return Group(
        p.name("gmm_log_prob"),
        {
            **ours(partial(ops.gmm_log_prob, *arguments)),
            **composed("MixtureSameFamily", peers.mixture_log_prob, *arguments),
            "scikit-learn": lambda: peers.scikit_learn_log_prob(p),
        },
        {"MixtureSameFamily": 25, "compiled MixtureSameFamily": 1},
        moved=p.event_bytes + p.table_bytes,
        work=4 * p.batch * p.components * p.dim,
    )


@lru_cache(maxsize=1)
def log_prob_all(*size: int) -> Group:
    p = Problem(*size)
    arguments = (p.x1, *p.tables)
    return Group(
        p.name("gmm_log_prob_all"),
        {
            **ours(partial(gmm_log_prob_all, *arguments)),
            **composed("two products", peers.two_products, *arguments),
            "scikit-learn": lambda: peers.scikit_learn_log_prob_all(p),
        },
        {"two products": 1.5, "compiled two products": 1},
        moved=p.event_bytes + p.table_bytes,
        work=4 * p.batch * CONDITIONS * p.components * p.dim,
    )


def compare_errors(benchmark: Any, size: tuple[int, ...], way: str) -> None:
    """Largest relative errors of our density and of the two products against float64."""
    if way != NATIVE:
        return
    p = Problem(*size)
    arguments = (p.x1, *p.tables)
    exact = gmm_log_prob_all(*(part.double() for part in arguments))[0]

    def error(value: Tensor) -> float:
        return float(((value.double() - exact) / exact).abs().max())

    ours, theirs = error(gmm_log_prob_all(*arguments)[0]), error(peers.two_products(*arguments))
    benchmark.extra_info["relative_error"] = {"ours": ours, "two products": theirs}
    assert ours < theirs


test_gmm_sample = rows_of(sample, MIXTURES)
test_gmm_log_prob = rows_of(log_prob, MIXTURES)
test_gmm_log_prob_all = rows_of(log_prob_all, MIXTURES, then=compare_errors)
