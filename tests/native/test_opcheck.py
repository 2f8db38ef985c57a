"""torch.library.opcheck over every operator, native and reference: schema, fakes, autograd, compilation.

Tracing for the compiler is most of the work. It sees a dtype only through the fakes, which are compared with
the operator for every dtype, so it is done for two of them: one that is computed in, and one that is not. Of
mixtures, one has a scale for each coordinate then, the other one for all.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from flowprior.ops import transposed_bases
from flowprior.ops.backend import backend, native_devices

NATIVE = pytest.mark.skipif("cpu" not in native_devices(), reason=f"no native operators: {backend()}")
LIBRARIES = [pytest.param("flowprior", marks=NATIVE), "flowprior_reference"]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
TRACED = (torch.float32, torch.bfloat16)
WITHOUT_TRACING = ("test_schema", "test_autograd_registration", "test_faketensor")
SEED = torch.tensor([-5])
COND = torch.tensor([0, 2, 1, 2, 0, 0])


def check(operator: Any, arguments: tuple[Any, ...], dtype: torch.dtype, trace: bool = True) -> None:
    """All of opcheck, or all but tracing."""
    if trace and dtype in TRACED:
        opcheck(operator, arguments)
    else:
        opcheck(operator, arguments, test_utils=WITHOUT_TRACING)


def numbers(*shape: int, dtype: torch.dtype, key: int = 0, grad: bool = False) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(key)).to(dtype)
    return drawn.requires_grad_() if grad else drawn


def tables(dtype: torch.dtype, spherical: bool, grad: bool) -> tuple[Tensor, Tensor, Tensor]:
    scale = 0.5 + numbers(3, 4, 1 if spherical else 7, dtype=torch.float32, key=3).abs()
    scale = scale.to(dtype).requires_grad_(grad)
    return (
        numbers(3, 4, dtype=dtype, key=1, grad=grad),
        numbers(3, 4, 7, dtype=dtype, key=2, grad=grad),
        scale,
    )


def times(dtype: torch.dtype, count: int, grad: bool = False) -> list[Tensor]:
    return [numbers(6, dtype=dtype, key=10 + i, grad=grad) for i in range(count)]


def operator(library: str, name: str) -> Any:
    return getattr(getattr(torch.ops, library), name)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spherical", [False, True])
def test_mixture_operators(library: str, dtype: torch.dtype, spherical: bool) -> None:
    compute = torch.promote_types(dtype, torch.float32)
    fixed, x = tables(dtype, spherical, grad=False), numbers(6, 7, dtype=dtype)
    t = torch.rand(6).to(compute)
    trace = spherical == (dtype == torch.bfloat16)
    check(operator(library, "gmm_sample"), (*fixed, COND, SEED), dtype, trace)
    check(operator(library, "gmm_path"), (*fixed, COND, x, t, SEED, 0.1), dtype, trace)
    backward = operator(library, "gmm_log_prob_backward")
    check(backward, (numbers(6, 4, dtype=compute), x, *fixed[1:], COND), dtype, trace)
    backward = operator(library, "gmm_log_prob_all_backward")
    check(backward, (numbers(6, 3, 4, dtype=compute), x, *fixed[1:]), dtype, trace)
    for grad in (False, True):
        x, free = numbers(6, 7, dtype=dtype, grad=grad), tables(dtype, spherical, grad)
        check(operator(library, "gmm_log_prob"), (x, *free, COND), dtype, trace)
        check(operator(library, "gmm_log_prob_all"), (x, *free), dtype, trace)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise(library: str, dtype: torch.dtype) -> None:
    check(operator(library, "standard_normal"), (numbers(1, dtype=dtype), SEED, 5, 7, 2), dtype)
    check(operator(library, "standard_normal"), (numbers(1, dtype=dtype, grad=True), SEED, 0, 7, 0), dtype)


@NATIVE
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grad", [False, True])
def test_paths(dtype: torch.dtype, grad: bool) -> None:
    x0, x1 = (numbers(6, 7, dtype=dtype, key=key, grad=grad) for key in (4, 5))
    compute = torch.promote_types(dtype, torch.float32)
    check(torch.ops.flowprior.affine_path, (x0, x1, *times(compute, 4, grad)), dtype)
    check(torch.ops.flowprior.interpolate, (x0, x1, *times(compute, 1, grad), 0.1), dtype)


@NATIVE
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_loss(dtype: torch.dtype, mean: bool, grad: bool) -> None:
    v, x0, x1 = (numbers(6, 7, dtype=dtype, key=key, grad=grad) for key in (6, 7, 8))
    weight = numbers(6, dtype=torch.promote_types(dtype, torch.float32), grad=grad)
    for targets in ((x1, None, None, None), (None, x0, x1, weight)):
        check(torch.ops.flowprior.flow_matching_loss, (v, *targets, mean, grad), dtype)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_subspaces(library: str, dtype: torch.dtype) -> None:
    rows, (noise, spread) = (
        numbers(6, 7, dtype=dtype, key=30),
        (1 + numbers(6, n, dtype=dtype).abs() for n in (7, 2)),
    )
    basis = transposed_bases(torch.linalg.qr(numbers(3, 7, 2, dtype=torch.float64)).Q.to(dtype))
    x, latent = (numbers(6, n, dtype=dtype, key=31) for n in (7, 2))
    check(operator(library, "subspace_source"), (x, latent, rows, rows, noise, spread, basis, COND), dtype)
    times, lengths = numbers(6, 4, dtype=dtype, key=32), basis[..., :7].square().sum(1)
    arguments = (x, times, rows, noise, spread, 1 - 1 / spread, basis, lengths, COND, 0.1, 0.05)
    check(operator(library, "subspace_view"), arguments, dtype)


@NATIVE
def test_both_libraries_have_the_same_operators_and_arguments() -> None:
    mixtures = ("gmm_sample", "gmm_path", "gmm_log_prob", "gmm_log_prob_all")
    for name in ("standard_normal", *mixtures, "subspace_source", "subspace_view"):
        native, reference = (
            operator(library, name).default._schema for library in ("flowprior", "flowprior_reference")
        )
        assert [(a.name, str(a.type)) for a in native.arguments] == [
            (a.name, str(a.type)) for a in reference.arguments
        ], name
        assert [str(r.type) for r in native.returns] == [str(r.type) for r in reference.returns], name
