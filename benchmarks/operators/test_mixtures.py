"""Sampling and densities of a Gaussian mixture for each condition."""

from __future__ import annotations

from functools import lru_cache, partial

from torch import Tensor

from benchmarks.operators import peers
from benchmarks.operators.groups import NATIVE, OURS, QUICK, Group, composed, ours, rows_of, time_row
from benchmarks.operators.problem import CONDITIONS, MIXTURES, Problem
from flowprior import ops

pytestmark = QUICK
SAMPLE = (*OURS, "eager", "compiled eager", "MixtureSameFamily")
LOG_PROB = (*OURS, "MixtureSameFamily", "compiled MixtureSameFamily", "scikit-learn")
LOG_PROB_ALL = (*OURS, "two products", "compiled two products", "scikit-learn")


@lru_cache(maxsize=1)
def sample(*size: int) -> Group:
    p = Problem(*size)
    arguments = (*p.tables, p.cond)
    call = partial(ops.gmm_sample, *arguments, p.seed)
    return Group(
        p.name("gmm_sample"),
        {
            **ours(call),
            **composed("eager", peers.eager_sample, *arguments),
            "MixtureSameFamily": lambda: partial(peers.mixture_sample, *arguments),
        },
        {"eager": 5, "MixtureSameFamily": 15, "compiled eager": 1},
        moved=p.event_bytes + p.table_bytes,
    )


@lru_cache(maxsize=1)
def log_prob(*size: int) -> Group:
    p = Problem(*size)
    arguments = (p.x1, *p.tables, p.cond)
    call = partial(ops.gmm_log_prob, *arguments)
    return Group(
        p.name("gmm_log_prob"),
        {
            **ours(call),
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
    call = partial(ops.gmm_log_prob_all, *arguments)
    return Group(
        p.name("gmm_log_prob_all"),
        {
            **ours(call),
            **composed("two products", peers.two_products, *arguments),
            "scikit-learn": lambda: peers.scikit_learn_log_prob_all(p),
        },
        {"two products": 1.5, "compiled two products": 1},
        moved=p.event_bytes + p.table_bytes,
        work=4 * p.batch * CONDITIONS * p.components * p.dim,
    )


@rows_of(MIXTURES, SAMPLE)
def test_gmm_sample(benchmark, size, way):
    time_row(benchmark, sample(*size), way)


@rows_of(MIXTURES, LOG_PROB)
def test_gmm_log_prob(benchmark, size, way):
    time_row(benchmark, log_prob(*size), way)


@rows_of(MIXTURES, LOG_PROB_ALL)
def test_gmm_log_prob_all(benchmark, size, way):
    time_row(benchmark, log_prob_all(*size), way)
    if way == NATIVE:
        ours, theirs = errors(size)
        benchmark.extra_info["relative_error"] = {"ours": ours, "two products": theirs}
        assert ours < theirs


def errors(size: tuple[int, ...]) -> tuple[float, float]:
    """Largest relative errors of our density and of the two products against float64."""
    p = Problem(*size)
    arguments = (p.x1, *p.tables)
    exact = ops.gmm_log_prob_all(*(part.double() for part in arguments))[0]

    def error(value: Tensor) -> float:
        return float(((value.double() - exact) / exact).abs().max())

    return error(ops.gmm_log_prob_all(*arguments)[0]), error(peers.two_products(*arguments))
