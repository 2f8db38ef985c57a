"""The solves of a flow: forward to samples, in batches of rows, and both ways for its log-likelihood.

Along the flow d/dt log p_t(x_t) = −div v(x_t, t) (Chen et al. 2018), so
log p1(x1) = log p0(x0) − ∫₀¹ div v dt, solved from the datum back to its source sample, or from the source
sample on; the estimated divergence is that of Grathwohl et al. 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions
from flowprior.conditions.rows import rows
from flowprior.errors import InputError, OptionError
from flowprior.processes.group import Group, compact
from flowprior.registry.options import choose
from flowprior.samplers import CountedVelocity, Velocity
from flowprior.samplers.base import Solution
from flowprior.samplers.torchdiffeq import Limited, integrate

METHODS = ("dopri5", "dopri8", "bosh3")
Divergence = Callable[[Tensor, Tensor], Tensor]
"""div(x ``[B, *event]``, v(x) with its graph) -> ``[B]``."""


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own mode afterwards.

    Who samples a model with dropout from several threads puts it into evaluation mode before.
    """
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_batch_size(batch_size: int | None) -> None:
    """Refuse a size below 1.

    Raises:
        OptionError: it says which.
    """
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"batch_size={batch_size} is not possible; choose 1 or more")


def batches(
    x: Tensor, cond: Conditions | None, batch_size: int | None
) -> Iterator[tuple[Tensor, Conditions | None]]:
    """Yield x ``[N, *event]`` and its condition in batches, at least one; all rows at once for None.

    Raises:
        OptionError: a ``batch_size`` below 1.
    """
    check_batch_size(batch_size)
    size = batch_size or max(len(x), 1)
    for start in range(0, max(len(x), 1), size):
        part = slice(start, start + size)
        yield x[part], rows(cond, part)


def in_batches(velocity: Velocity, batch_size: int | None, group: Group) -> Velocity:
    """``velocity`` evaluated in batches of rows, for samplers whose noise is drawn for all rows at once.

    The batches are shared out over the processes of a group, which all call it with the same rows.
    """

    def evaluate(x: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        size = for_group(batch_size, len(x), group)
        parts: list[Any] = list(zip(batches(x, cond, size), batches(t, None, size), strict=True))

        def work(row: Any) -> Tensor:
            (part, c), (times, _) = row
            return sent(velocity(part, times, c), group)

        return torch.cat(group.in_parts(work, parts)).to(x.device)

    return evaluate


def solve_batches(
    solve: Callable[[Tensor, Conditions | None], Solution],
    rows: Iterable[tuple[Tensor, Conditions | None]],
    group: Group,
) -> Solution:
    """One solution of all batches, which are shared out over the processes of a group.

    Every process of the group calls it with the same batches, and gets the whole.
    """

    def work(row: tuple[Tensor, Conditions | None]) -> Solution:
        found = solve(*row)
        path = None if found.trajectory is None else sent(found.trajectory, group)
        return Solution(sent(found.x, group), found.nfe, sent(found.times, group), path)

    held = list(rows)
    parts, device = group.in_parts(work, held), held[0][0].device
    paths = [part.trajectory for part in parts if part.trajectory is not None]
    return Solution(
        x=torch.cat([part.x for part in parts]).to(device),
        nfe=max(part.nfe for part in parts),  # those of the most expensive batch
        times=parts[0].times.to(device),
        trajectory=torch.cat(paths, dim=1).to(device) if paths else None,
    )


def for_group(batch_size: int | None, rows: int, group: Group) -> int | None:
    """``batch_size``, or less where some process of the group would get no batch of ``rows``."""
    if group.size == 1:
        return batch_size
    return max(1, min(batch_size or rows, -(-rows // group.size)))


def sent(x: Tensor, group: Group) -> Tensor:
    """A tensor as it goes to the other processes of a group, which may not have its device."""
    return x if group.size == 1 else compact(x)


def unmoved(x0: Tensor, trajectory: bool) -> Solution:
    """The solution that spends no evaluation: the source samples ``[B, *event]`` at time 0."""
    return Solution(x0, 0, x0.new_zeros(1), x0[None] if trajectory else None)


def check_samples(x: Tensor, owner: str) -> None:
    """Refuse samples ``[N, *event]`` that are not finite.

    Raises:
        InputError: how many are not; ``owner`` is named.
    """
    bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
    if bad:
        raise InputError(
            f"{owner}: {bad} of {len(x)} generated samples have NaN or infinite numbers; use less guidance "
            "or a lower temperature, or train with a smaller learning rate"
        )


def check_options(owner: str, divergence: str, method: str, probes: int) -> None:
    """Raise OptionError where a solve for a density or a source sample is asked for what it cannot do."""
    choose(owner, "divergence", divergence, ("exact", "hutchinson"))
    choose(owner, "method", method, METHODS)
    if probes < 1:
        raise OptionError(f"{owner}: probes={probes} is not possible; choose 1 or more")


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


def carry(
    velocity: Velocity,
    x: Tensor,
    cond: Conditions | None,
    divergence: Divergence | None,
    *,
    backward: bool,
    owner: str,
    method: str,
    rtol: float,
    atol: float,
    max_nfe: int,
) -> tuple[Tensor, Tensor]:
    """The other end ``[B, *event]`` of the flow from x, and −∫₀¹ div v dt ``[B]``, 0 without a divergence.

    From t = 0 to 1, or ``backward`` in s = 1 − t, with state and log-density side by side, each with its own
    error norm, in the dtype of x; with gradients in x where they are enabled.
    """
    counted = CountedVelocity(velocity, cond)
    differentiable = torch.is_grad_enabled()

    def change(s: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        t, sign = (1.0 - s, -1) if backward else (s, 1)
        if divergence is None:
            return sign * counted(state[0], t), torch.zeros_like(state[1])
        with torch.enable_grad():
            point = 1 * state[0] if differentiable else state[0].detach().requires_grad_(True)
            v = counted(point, t)
            spread = divergence(point, v)
        return (sign * v, -spread) if differentiable else (sign * v.detach(), -spread.detach())

    limited = Limited(change, f"{owner} with {method}", max_nfe)
    times = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
    start = (x, torch.zeros(len(x), dtype=x.dtype, device=x.device))
    states, changes = integrate(limited, start, times, method=method, rtol=rtol, atol=atol)
    return states[-1], changes[-1]


def _gradient(output: Tensor, x: Tensor) -> Tensor:
    """∂output/∂x, zero where the output does not depend on x; differentiable of an x that is no leaf."""
    if not output.requires_grad:
        return torch.zeros_like(x)
    again = not x.is_leaf
    (gradient,) = torch.autograd.grad(output, x, retain_graph=True, create_graph=again, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient
