"""What runs beside flowprior, and the line that installs what is missing.

Compositions of torch take the parameters of a mixture as the operators of ``flowprior.ops`` do: as tables
(logits ``[C, K]``, mean and scale ``[C, K, D]``) and labels ``[B]``. Packages are called as they are.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from benchmarks.operators.problem import Problem
from flowprior.ops.backend import backend, native_devices

PACKAGES = ("torchcfm", "flow_matching", "gpytorch", "linear_operator")
PEERS = "pip install --no-deps --requirement benchmarks/peers.txt"
OURS = "pip install --editable '.[benchmark]'"
COMPILER = "apt-get install g++"
Call = Callable[[], Any]
Point = Callable[[Tensor, Tensor, Tensor], Any]
"""(x0, x1, t) -> point and velocity."""


class MissingError(Exception):
    """A peer is not there; the message is the line that installs it."""


def peer(module: str) -> ModuleType:
    """The module of a peer.

    Raises:
        MissingError: it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingError(PEERS if module.startswith(PACKAGES) else OURS) from None


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A composition under ``torch.compile``, for one size.

    Raises:
        MissingError: there is no C++ compiler for it.
    """
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise MissingError(COMPILER)
    return torch.compile(function, fullgraph=False, dynamic=False)


def warm(call: Call) -> Call:
    """The call, after three of them."""
    for _ in range(3):
        call()
    return call


def need_native() -> None:
    """Return where flowprior's native operators serve the CPU.

    Raises:
        MissingError: they were not built, or ``FLOWPRIOR_OPS=torch`` leaves them aside.
    """
    if "cpu" in native_devices():
        return
    if backend().asked:
        raise MissingError("unset FLOWPRIOR_OPS FLOWPRIOR_BUILD; " + OURS)
    raise MissingError(OURS if shutil.which("g++") else f"{COMPILER} && {OURS}")


# -- compositions of torch ----------------------------------------------------------------------------------


def eager_sample(logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Tensor:
    """multinomial, gather, randn, addcmul."""
    component = torch.multinomial(logits[cond].softmax(-1), 1)[:, 0]
    noise = torch.randn(len(cond), mean.shape[-1])
    return torch.addcmul(mean[cond, component], scale[cond, component], noise)


def mixture(logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> MixtureSameFamily:
    """torch.distributions on gathered parameters ``[B, K, D]``."""
    parts = Independent(Normal(mean[cond], scale[cond], validate_args=False), 1, validate_args=False)
    return MixtureSameFamily(Categorical(logits=logits[cond]), parts, validate_args=False)


def mixture_log_prob(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Tensor:
    """MixtureSameFamily.log_prob."""
    return mixture(logits, mean, scale, cond).log_prob(x)


def two_products(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log p(x | c) ``[B, C]`` as x²·a + x·b + constant: two matrix products, which cancel far from 0."""
    conditions, components, dim = mean.shape
    precision = scale.reciprocal().square().view(-1, dim)
    centre = mean.reshape(-1, dim)
    constant = (centre.square() * precision).sum(1) + 2 * scale.log().sum(-1).flatten()
    quadratic = x.square() @ precision.T - 2 * (x @ (centre * precision).T) + constant
    joint = -0.5 * (quadratic + dim * math.log(2 * math.pi))
    return (joint.view(-1, conditions, components) + logits.log_softmax(-1)).logsumexp(-1)


def eager_interpolate(x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """t x1 + (1 − t) x0 and x1 − x0."""
    t = t[:, None]
    return t * x1 + (1 - t) * x0, x1 - x0


def eager_loss(v: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
    """((v − (x1 − x0))²).mean()."""
    return (v - (x1 - x0)).square().mean()


# -- packages -----------------------------------------------------------------------------------------------


def torchcfm_point() -> Point:
    """torchcfm's matcher: x_t and u_t of the straight path."""
    matcher = peer("torchcfm.conditional_flow_matching").ConditionalFlowMatcher(sigma=0.0)
    return matcher.sample_location_and_conditional_flow


def flow_matching_point() -> Point:
    """flow_matching's path: x_t and dx_t of the straight path."""
    path = peer("flow_matching.path").CondOTProbPath()
    return lambda x0, x1, t: path.sample(x_0=x0, x_1=x1, t=t)


def scikit_learn_log_prob(p: Problem) -> Call:
    """``score_samples`` of each row by the mixture of its label."""
    models = _scikit_learn(p)
    pairs = [(models[label], p.x1[p.cond == label].numpy()) for label in p.cond.unique()]
    return lambda: [model.score_samples(rows) for model, rows in pairs]


def scikit_learn_log_prob_all(p: Problem) -> Call:
    """``score_samples`` of all rows by each of the ten mixtures."""
    models, x = _scikit_learn(p), p.x1.numpy()
    return lambda: [model.score_samples(x) for model in models]


def _scikit_learn(p: Problem) -> list[Any]:
    """A GaussianMixture for each condition, holding the problem's tables as if it had been fitted to them."""
    kind = peer("sklearn.mixture").GaussianMixture
    models = []
    for logits, mean, scale in zip(*p.tables, strict=True):
        model = kind(p.components, covariance_type="diag")
        model.weights_, model.means_ = logits.softmax(-1).numpy(), mean.numpy()
        model.covariances_ = scale.square().numpy()
        model.precisions_cholesky_ = scale.reciprocal().numpy()
        model.n_features_in_ = p.dim
        models.append(model)
    return models
