"""Log-likelihood of a flow, by the instantaneous change of variables.

Along the flow d/dt log p_t(x_t) = −div v(x_t, t) (Chen et al. 2018), so
log p1(x1) = log p0(x0) − ∫₀¹ div v dt, solved from the datum back to its source sample; the estimated
divergence is that of Grathwohl et al. 2019.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import OptionError
from flowprior.registry import choose
from flowprior.samplers.base import CountedVelocity, Velocity
from flowprior.samplers.torchdiffeq import Limited, integrate

DIVERGENCES = ("exact", "hutchinson")
METHODS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
Divergence = Callable[[Tensor, Tensor], Tensor]
"""div(x ``[B, *event]``, v(x) with its graph) -> ``[B]``."""


def check_options(divergence: str, method: str, probes: int) -> None:
    """Raise OptionError where ``log_prob`` is asked for what it cannot do."""
    choose("flow.log_prob", "divergence", divergence, DIVERGENCES)
    choose("flow.log_prob", "method", method, METHODS)
    if probes < 1:
        raise OptionError(f"flow.log_prob: probes={probes} is not possible; choose 1 or more")


def estimator(divergence: str, x: Tensor, probes: int, generator: torch.Generator | None) -> Divergence:
    """The divergence of that name, with its probes drawn for x."""
    if divergence == "exact":
        return exact_divergence
    # Random signs are the probes of least variance (Hutchinson 1990).
    signs = torch.randint(0, 2, (probes, *x.shape), generator=generator, device=x.device)
    return hutchinson_divergence(2 * signs.to(x.dtype) - 1)


def exact_divergence(x: Tensor, v: Tensor) -> Tensor:
    """Σ_d ∂v_d/∂x_d, ``[B]``: one backward pass for each of the D numbers of an event."""
    columns = v.flatten(1).sum(0)
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for d, column in enumerate(columns):
        total += _gradient(column, x).flatten(1)[:, d]
    return total


def hutchinson_divergence(probes: Tensor) -> Divergence:
    """Unbiased estimate of the divergence, the mean of εᵀ (∂v/∂x) ε over the fixed probes.

    Args:
        probes: ε ``[P, B, *event]`` of mean 0 and covariance I, the same during the whole solve.
    """

    def estimate(x: Tensor, v: Tensor) -> Tensor:
        products = [(_gradient((v * probe).sum(), x) * probe).flatten(1).sum(1) for probe in probes]
        return torch.stack(products).mean(0)

    return estimate


def trace_back(
    velocity: Velocity,
    x: Tensor,
    cond: Conditions | None,
    divergence: Divergence,
    *,
    method: str,
    rtol: float,
    atol: float,
    max_nfe: int,
) -> tuple[Tensor, Tensor]:
    """Source sample x0 ``[B, *event]`` of x at t = 1, and −∫₀¹ div v dt ``[B]``.

    Solved in s = 1 − t with state and log-density side by side, each with its own error norm, in the
    dtype of x.
    """
    counted = CountedVelocity(velocity, cond)

    def backwards(s: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            point = state[0].detach().requires_grad_(True)
            v = counted(point, 1.0 - s)
            spread = divergence(point, v)
        return -v.detach(), -spread.detach()

    limited = Limited(backwards, f"log_prob with {method}", max_nfe)
    times = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
    start = (x, torch.zeros(len(x), dtype=x.dtype, device=x.device))
    states, changes = integrate(limited, start, times, method=method, rtol=rtol, atol=atol)
    return states[-1], changes[-1]


def _gradient(output: Tensor, x: Tensor) -> Tensor:
    """∂output/∂x, zero where the output does not depend on x."""
    if not output.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(output, x, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient
