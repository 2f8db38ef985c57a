"""The CUDA operators whole, their kernels emulated: checks, layouts, conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from tests.native.emulated import DTYPES, Layout
from tests.native.parity import CHECKS, OPERATORS, Case, calls, check_loss

CASES = [
    *(Case(*shape, 5, dtype) for shape in ((0, 7), (3, 7), (5, 401)) for dtype in DTYPES),
    *(Case(9, 24, 3, dtype, spherical=True, layout=Layout(1, 3)) for dtype in DTYPES),
]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_parity(operators: Any, case: Case, check: Callable[[Any, Case], None]) -> None:
    check(operators, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given_u", [False, True])
def test_loss(operators: Any, dtype: torch.dtype, given_u: bool) -> None:
    case = Case(41, 401, dtype=dtype)
    for mean in (False, True):
        for wide_target in {False, dtype != torch.float32}:
            check_loss(operators, case, given_u=given_u, weighted=mean, mean=mean, wide_target=wide_target)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_schema_tells_what_is_written(operators: Any, name: str, dtype: torch.dtype) -> None:
    opcheck(getattr(operators, name), calls(Case(6, 7, 3, dtype))[name], test_utils="test_schema")


def strided(tensor: Tensor) -> Tensor:
    """The same numbers, no two of them adjacent."""
    wide = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1] + 1)
    view = wide[..., 1::2]
    return view.copy_(tensor)


@pytest.mark.parametrize("change", [strided, lambda t: t.T.contiguous().T if t.dim() == 2 else strided(t)])
@pytest.mark.parametrize("name", OPERATORS)
def test_strides_change_nothing(operators: Any, name: str, change: Callable[[Tensor], Tensor]) -> None:
    arguments = calls(Case(41, 30, 3))[name]
    changed = [change(a) if isinstance(a, Tensor) and a.numel() > 1 else a for a in arguments]
    operator = getattr(operators, name)
    expected, result = operator(*arguments), operator(*changed)
    for a, b in zip(*([r] if isinstance(r, Tensor) else r for r in (result, expected)), strict=True):
        assert torch.equal(a, b)
        assert a.is_contiguous()


def test_expanded_rows_and_tables(operators: Any) -> None:
    case = Case(6, 40, 2)
    logits, mean, scale = case.mixture()
    x, cond, seed = case.x()[:1].expand(6, -1), case.cond(), case.seed()
    tables = (logits[:1].expand(3, -1), mean[:1].expand(3, -1, -1), scale[:1, :1].expand(3, 2, -1))
    plain = tuple(table.contiguous() for table in tables)
    for operator, before, after in (
        (operators.gmm_log_prob, (x,), (cond,)),
        (operators.gmm_log_prob_all, (x,), ()),
        (operators.gmm_sample, (), (cond, seed)),
    ):
        expected = operator(*(t.contiguous() for t in before), *plain, *after)
        for a, b in zip(operator(*before, *tables, *after), expected, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_storage_or_compute_dtype(operators: Any, dtype: torch.dtype) -> None:
    case = Case(5, 9, dtype=dtype)
    x0, x1 = (case.numbers(5, 9, key=key) for key in (1, 2))
    weight = case.numbers(5, key=3).sigmoid()
    losses = [
        operators.flow_matching_loss(x0, x1, None, None, w, True, True) for w in (weight, weight.float())
    ]
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))


def refusals() -> dict[str, tuple[str, tuple[Any, ...], str]]:
    """Operator, arguments, and what the refusal says."""
    case = Case(5, 7, 3)
    logits, mean, scale = tables = case.mixture()
    cond, seed, x = case.cond(), case.seed(), case.x()
    t = torch.rand(5)
    loss = "flow_matching_loss"
    return {
        "labels int32": ("gmm_sample", (*tables, cond.int(), seed), "expected cond in int64, got Int"),
        "two seeds": ("gmm_sample", (*tables, cond, seed.repeat(2)), r"seed of shape \[1\], got \[2\]"),
        "mean float64": (
            "gmm_log_prob",
            (x, logits, mean.double(), scale, cond),
            "mean in float32, got float64",
        ),
        "scale": ("gmm_sample", (logits, mean, scale[..., :3], cond, seed), r"scale of shape \[3, 3, 7\]"),
        "logits": ("gmm_sample", (logits[:2], mean, scale, cond, seed), r"logits of shape \[3, 3\]"),
        "no columns": (
            "gmm_sample",
            (logits, mean[..., :0], scale[..., :0], cond, seed),
            "D of at least 1",
        ),
        "x": ("gmm_log_prob", (x[:, :4], *tables, cond), r"x of shape \[any, 7\], got \[5, 4\]"),
        "rows": ("gmm_log_prob", (x, *tables, cond[:3]), r"cond of shape \[5\], got \[3\]"),
        "grad_joint": (
            "gmm_log_prob_backward",
            (torch.zeros(5, 2), x, mean, scale, cond),
            r"grad_joint of shape \[5, 3\], got \[5, 2\]",
        ),
        "axes": (
            "subspace_source",
            (x, torch.zeros(5, 513), x, x, x, torch.ones(5, 513), torch.zeros(3, 513, 16), cond),
            "with r of 1 to 512 and W a multiple of 16 of at least D = 7, got r = 513 and W = 16",
        ),
        "width": (
            "subspace_view",
            (x, t, x, x, x, x, torch.zeros(3, 7, 8), x, cond, 0.0, 0.1),
            "got r = 7 and W = 8",
        ),
        "integers": (
            "gmm_sample",
            (logits, mean.int(), scale, cond, seed),
            "expected mean in float32, float64, bfloat16 or float16, got Int",
        ),
        "no target": (loss, (x, None, x, None, None, True, True), "either u, or x0 and x1"),
        "both": (loss, (x, x, x, x, None, True, True), "either u, or x0 and x1"),
        "target": (loss, (x, x.half(), None, None, None, True, True), "expected u in float32, got float16"),
        "weight": (loss, (x, x, None, None, t[:2], True, True), r"weight of shape \[5\], got \[2\]"),
    }


@pytest.mark.parametrize("name", refusals())
def test_refusals_say_operator_and_argument(operators: Any, name: str) -> None:
    operator, arguments, message = refusals()[name]
    with pytest.raises(RuntimeError, match=message) as refused:
        getattr(operators, operator)(*arguments)
    assert operator in str(refused.value)
