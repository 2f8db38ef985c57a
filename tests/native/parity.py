"""Parity of native kernels with plain torch in float64, over one case at a time.

The kernels are those of an object with the operators of ``torch.ops.flowprior`` as attributes: the emulation,
or torch's own namespace on a real device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.ops.flow_matching_loss import plain_flow_matching_loss
from flowprior.ops.gmm_log_prob import plain_gmm_log_prob, plain_gmm_log_prob_all
from tests.native import philox
from tests.native.emulated import Layout
from tests.native.subspace_cases import source_arguments, source_of, view_arguments, view_of

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 1e-2}
SEED = -(0x1234_5678_9ABC)


@dataclass(frozen=True)
class Case:
    """One shape, dtype and layout: x ``[rows, dim]`` and a mixture ``[conditions, components, dim]``."""

    rows: int
    dim: int
    components: int = 1
    dtype: torch.dtype = torch.float32
    spherical: bool = False
    layout: Layout = field(default_factory=Layout)
    conditions: int = 3
    device: str = "cpu"

    def __str__(self) -> str:
        size = f"{self.rows}x{self.dim}-{self.conditions}x{self.components}"
        layout = f"+{self.layout.offset}+{self.layout.gap}" if self.layout != Layout() else ""
        return (
            f"{size}-{str(self.dtype).removeprefix('torch.')}{layout}{'-spherical' if self.spherical else ''}"
        )

    @property
    def compute(self) -> torch.dtype:
        return torch.promote_types(self.dtype, torch.float32)

    def numbers(self, *shape: int, key: int) -> Tensor:
        """Normal numbers in the case's dtype."""
        generator = torch.Generator().manual_seed(key)
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        return numbers.to(self.dtype).to(self.device)

    def placed(self, rows: Tensor) -> Tensor:
        """Rows in the case's layout."""
        return self.layout.place(rows.cpu()) if self.device == "cpu" else _placed_on_device(self.layout, rows)

    def cond(self) -> Tensor:
        """Labels; the last condition is never used where there are several."""
        used = max(1, self.conditions - 1)
        generator = torch.Generator().manual_seed(3)
        return torch.randint(used, (self.rows,), generator=generator).to(self.device)

    def seed(self) -> Tensor:
        return torch.tensor([SEED], device=self.device)

    def mixture(self) -> tuple[Tensor, Tensor, Tensor]:
        """logits, mean and scale; means so near each other that no responsibility is lost in rounding."""
        table = (self.conditions, self.components, self.dim)
        logits = self.numbers(*table[:2], key=4)
        if self.components > 1:
            logits[:, 1] = -torch.inf
        base = self.numbers(self.conditions, 1, self.dim, key=5)
        mean = (base + self.numbers(*table, key=6) / self.dim**0.5).to(self.dtype)
        width = 1 if self.spherical else self.dim
        return logits, mean, (0.5 + self.numbers(*table[:2], width, key=7).abs()).to(self.dtype)

    def x(self) -> Tensor:
        """Rows about the means of their conditions, in the case's layout."""
        mean = self.mixture()[1][:, 0]
        return self.placed((mean[self.cond()] + self.numbers(self.rows, self.dim, key=8)).to(self.dtype))


def _placed_on_device(layout: Layout, rows: Tensor) -> Tensor:
    pitch = rows.shape[1] + layout.gap
    memory = torch.full(
        (layout.offset + rows.shape[0] * pitch,), torch.nan, dtype=rows.dtype, device=rows.device
    )
    return memory.as_strided(rows.shape, (pitch, 1), layout.offset).copy_(rows)


def agree(result: Tensor, expected: Tensor, bound: float | None = None, size: float | None = None) -> None:
    """Each number is within ``bound`` of the expected one, relative to it or to a term's typical ``size``."""
    bound = bound or BOUNDS[result.dtype]
    if size is None:
        finite = expected[expected.isfinite()]
        size = finite.square().mean().sqrt().item() if finite.numel() else 0.0
    torch.testing.assert_close(
        result.double().cpu(), expected.double().cpu(), rtol=bound, atol=bound * size, equal_nan=True
    )


class Recorder:
    """Kernels that keep what they returned."""

    def __init__(self, kernels: Any) -> None:
        self.kernels, self.results = kernels, []

    def __getattr__(self, name: str) -> Any:
        def run(*arguments: Any) -> Any:
            result = getattr(self.kernels, name)(*arguments)
            self.results += [result] if isinstance(result, Tensor) else result
            return result

        return run


def wide(*tensors: Tensor) -> list[Tensor]:
    """The same numbers in float64."""
    return [tensor.double() for tensor in tensors]


def check_gmm_sample(kernels: Any, case: Case) -> None:
    tables = case.mixture()
    x0, component = kernels.gmm_sample(*tables, case.cond(), case.seed())
    expected, chosen = philox.gmm_sample(*wide(*tables), case.cond(), case.seed())
    assert x0.dtype == case.dtype
    assert torch.equal(component.cpu(), chosen.cpu())
    agree(x0, expected)


UNRULY = {
    (torch.nan, 0.0, -torch.inf, 0.0): {1, 3},
    (torch.nan, torch.nan, torch.nan, torch.nan): {0},
    (-torch.inf, -torch.inf, -torch.inf, -torch.inf): {0},
    (-torch.inf, torch.nan, -torch.inf, torch.nan): {0},
    (torch.inf, 0.0, torch.inf, torch.nan): {0, 2},
    (0.0, torch.nan, -torch.inf, torch.inf): {3},
    (-torch.inf, -torch.inf, -1000.0, torch.nan): {2},
}
"""Logits of four components, and which of them may be drawn."""


def check_unruly_logits(kernels: Any, case: Case) -> None:
    """NaN and infinite logits choose the same component everywhere, one in range."""
    case = replace(case, components=4, conditions=len(UNRULY))
    _, mean, scale = case.mixture()
    logits = torch.tensor(list(UNRULY)).to(mean)
    cond = (torch.arange(case.rows) % len(UNRULY)).to(mean.device)
    x0, component = kernels.gmm_sample(logits, mean, scale, cond, case.seed())
    _, chosen = philox.gmm_sample(*wide(logits, mean, scale), cond, case.seed())
    assert torch.equal(component.cpu(), chosen)
    assert torch.isfinite(x0).all()
    allowed = list(UNRULY.values())
    assert all(k in allowed[c] for c, k in zip(cond.tolist(), component.tolist(), strict=True))


def check_loss(
    kernels: Any, case: Case, *, given_u: bool, weighted: bool, mean: bool, wide_target: bool
) -> None:
    """Loss, squared errors and gradient; with ``wide_target`` the target is in float32."""
    v, x0, x1 = (case.placed(case.numbers(case.rows, case.dim, key=key)) for key in (18, 19, 20))
    if wide_target:
        narrow = replace(case, dtype=torch.float32)
        x0, x1 = (narrow.placed(narrow.numbers(case.rows, case.dim, key=key)) for key in (19, 20))
    weight = case.numbers(case.rows, key=21).abs().to(case.compute) if weighted else None
    targets = (x1, None, None) if given_u else (None, x0, x1)
    loss, squared_error, gradient = kernels.flow_matching_loss(v, *targets, weight, mean, True)

    exact = v.double().requires_grad_()
    goals = wide(*(target for target in targets if target is not None))
    exact_weight = None if weight is None else weight.double()
    expected = plain_flow_matching_loss(exact, goals, exact_weight, "mean" if mean else "none")
    (expected_gradient,) = torch.autograd.grad(expected.sum(), exact)
    assert loss.dtype == squared_error.dtype == case.compute
    assert gradient.dtype == case.dtype
    assert loss.shape == expected.shape
    agree(loss, expected.detach())
    agree(squared_error, plain_flow_matching_loss(exact, goals, None, "none").detach())
    agree(gradient, expected_gradient)
    again, _, none = kernels.flow_matching_loss(v, *targets, weight, mean, False)
    assert none.shape == (0,)
    assert torch.equal(again, loss)


def check_log_prob(kernels: Any, case: Case) -> None:
    tables, x, cond = case.mixture(), case.x(), case.cond()
    log_prob, shares = kernels.gmm_log_prob(x, *tables, cond)
    expected, expected_shares = plain_gmm_log_prob(*wide(x, *tables), cond)
    _check_densities(case, log_prob, shares, expected, expected_shares)


def check_log_prob_all(kernels: Any, case: Case) -> None:
    tables, x = case.mixture(), case.x()
    log_prob, shares = kernels.gmm_log_prob_all(x, *tables)
    expected, expected_shares = plain_gmm_log_prob_all(*wide(x, *tables))
    _check_densities(case, log_prob, shares, expected, expected_shares)


def _check_densities(
    case: Case, log_prob: Tensor, shares: Tensor, expected: Tensor, expected_shares: Tensor
) -> None:
    assert log_prob.dtype == shares.dtype == case.compute
    bound = 1e-6 if case.compute == torch.float32 else BOUNDS[torch.float64]
    agree(log_prob, expected, bound)
    # A responsibility is an exponential of log-densities: its relative error is their absolute one.
    agree(shares, expected_shares, bound * max(1.0, expected.abs().max().item() if expected.numel() else 1.0))


def check_log_prob_backward(kernels: Any, case: Case) -> None:
    (_, mean, scale), x, cond = case.mixture(), case.x(), case.cond()
    grad = case.numbers(case.rows, case.components, key=22).to(case.compute)
    result = kernels.gmm_log_prob_backward(grad, x, mean, scale, cond)

    def joint(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        return _log_normal(x[:, None], mean[cond], scale[cond])

    _check_gradients(case, result, joint, grad, x, mean, scale)


def check_log_prob_all_backward(kernels: Any, case: Case) -> None:
    (_, mean, scale), x = case.mixture(), case.x()
    grad = case.numbers(case.rows, case.conditions, case.components, key=23).to(case.compute)
    result = kernels.gmm_log_prob_all_backward(grad, x, mean, scale)
    _check_gradients(
        case, result, lambda x, *table: _log_normal(x[:, None, None], *table), grad, x, mean, scale
    )


def _log_normal(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return (-0.5 * ((x - mean) / scale).square() - scale.log()).sum(-1)


def _check_gradients(
    case: Case, result: Any, joint: Callable[..., Tensor], grad: Tensor, *inputs: Tensor
) -> None:
    """Gradients of Σ grad · joint, by torch's own."""
    exact = [tensor.requires_grad_() for tensor in wide(*inputs)]
    expected = torch.autograd.grad((joint(*exact) * grad.double()).sum(), exact)
    for gradient, one in zip(result, expected, strict=True):
        assert gradient.dtype == case.dtype
        agree(gradient, one)


def check_subspace_source(kernels: Any, case: Case) -> None:
    """Source samples with latents inferred from data, and with latents that are given."""
    x1, *rest, cond = source_arguments(case)
    if not _is_computed(case, kernels.subspace_source, (x1, *rest, cond)):
        return
    for data in (x1, None):
        result = kernels.subspace_source(data, *rest, cond)
        assert result.dtype == case.dtype
        agree(result, source_of(None if data is None else data.double(), *wide(*rest), cond), size=2)


def check_subspace_view(kernels: Any, case: Case) -> None:
    *tensors, cond, floor, least = view_arguments(case)
    if not _is_computed(case, kernels.subspace_view, (*tensors, cond, floor, least)):
        return
    results = kernels.subspace_view(*tensors, cond, floor, least)
    for result, exact in zip(results, view_of(*wide(*tensors), cond, floor), strict=True):
        assert result.dtype == case.dtype
        agree(result, exact, size=2)


def _is_computed(case: Case, operator: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether the dtype is one that these operators take; that another one is refused."""
    if case.dtype in (torch.float32, torch.float64):
        return True
    with pytest.raises(RuntimeError, match="expected basis in float32 or float64"):
        operator(*arguments)
    return False


CHECKS = {
    "gmm_sample": check_gmm_sample,
    "unruly_logits": check_unruly_logits,
    "log_prob": check_log_prob,
    "log_prob_all": check_log_prob_all,
    "log_prob_backward": check_log_prob_backward,
    "log_prob_all_backward": check_log_prob_all_backward,
    "subspace_source": check_subspace_source,
    "subspace_view": check_subspace_view,
}


def calls(case: Case) -> dict[str, tuple[Any, ...]]:
    """The arguments of every operator, one case of each; in float32 for those that take no half precision."""
    computed = replace(case, dtype=torch.float64 if case.dtype == torch.float64 else torch.float32)
    tables, cond, seed, x = case.mixture(), case.cond(), case.seed(), case.x()
    v = case.placed(case.numbers(case.rows, case.dim, key=60))
    t = case.numbers(case.rows, key=61).to(case.compute).sigmoid()
    grad = case.numbers(case.rows, case.components, key=62).to(case.compute)
    grad_all = case.numbers(case.rows, case.conditions, case.components, key=63).to(case.compute)
    return {
        "gmm_sample": (*tables, cond, seed),
        "gmm_log_prob": (x, *tables, cond),
        "gmm_log_prob_backward": (grad, x, *tables[1:], cond),
        "gmm_log_prob_all": (x, *tables),
        "gmm_log_prob_all_backward": (grad_all, x, *tables[1:]),
        "flow_matching_loss": (v, None, v, x, t, True, True),
        "subspace_source": source_arguments(computed),
        "subspace_view": view_arguments(computed),
    }


OPERATORS = tuple(calls(Case(1, 1)))
