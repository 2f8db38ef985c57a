"""The CUDA kernels on a real device: ``pytest -m cuda tests/native``; skipped where there is none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from flowprior.ops.backend import backend, native_devices
from tests.native.emulated import DTYPES, Layout
from tests.native.parity import CHECKS, OPERATORS, Case, calls, check_loss

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif("cuda" not in native_devices(), reason=f"no CUDA kernels: {backend()}"),
]

NATIVE = torch.ops.flowprior
LAYOUTS = (Layout(), Layout(offset=1), Layout(gap=3), Layout(offset=8, gap=8))
SHAPES = ((0, 7, 1), (1, 1, 1), (3, 7, 5), (41, 401, 5), (41, 401, 64), (256, 3072, 1), (512, 784, 8))
CASES = [
    *(Case(*shape, dtype, device="cuda") for shape, dtype in itertools.product(SHAPES, DTYPES)),
    *(Case(9, 402, 3, dtype, spherical=True, device="cuda") for dtype in DTYPES),
    *(Case(6, 19, 2, dtype, conditions=40, device="cuda") for dtype in DTYPES),
    *(
        Case(70, dim, 5, dtype, layout=layout, device="cuda")
        for dim, dtype, layout in itertools.product((32, 401), DTYPES, LAYOUTS)
    ),
    Case(256, 12_288, 8, device="cuda"),
    Case(100_000, 2, 8, device="cuda"),
]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_parity(case: Case, check: Callable[[Any, Case], None]) -> None:
    check(NATIVE, case)


@pytest.mark.parametrize(("given_u", "weighted", "mean"), list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 7), (41, 401), (256, 3072), (70_000, 9), (3, 500_000)], ids=str
)
def test_loss(shape: tuple[int, int], dtype: torch.dtype, given_u: bool, weighted: bool, mean: bool) -> None:
    for layout in (Layout(), Layout(1, 3)):
        case = Case(*shape, dtype=dtype, layout=layout, device="cuda")
        for wide_target in {False, dtype in (torch.bfloat16, torch.float16)}:
            check_loss(NATIVE, case, given_u=given_u, weighted=weighted, mean=mean, wide_target=wide_target)


def run(name: str, arguments: tuple[Any, ...]) -> list[Tensor]:
    result = getattr(NATIVE, name)(*arguments)
    return [result] if isinstance(result, Tensor) else list(result)


def same(results: list[Tensor], expected: list[Tensor]) -> None:
    """Bit for bit; what is not a number counts as equal."""
    for a, b in zip(results, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_schema_tells_what_is_written(name: str, dtype: torch.dtype) -> None:
    opcheck(getattr(NATIVE, name), calls(Case(6, 7, 3, dtype, device="cuda"))[name], test_utils="test_schema")


@pytest.mark.parametrize("name", OPERATORS)
def test_never_waits_for_the_device(name: str) -> None:
    arguments = calls(Case(70, 40, 3, device="cuda"))[name]
    run(name, arguments)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(name, arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", OPERATORS)
def test_capture_and_replay(name: str) -> None:
    """A graph captured once follows what its inputs hold later, bit for bit: numbers, labels and seed."""
    arguments = calls(Case(70, 401, 3, device="cuda"))[name]
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        run(name, arguments)
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run(name, arguments)
    for _ in range(2):
        for argument in {id(a): a for a in arguments if isinstance(a, Tensor)}.values():
            argument.copy_(argument.flip(0) + 1 if argument.shape == (1,) else argument.flip(0))
        graph.replay()
        same(results, run(name, arguments))


@pytest.mark.parametrize("name", OPERATORS)
def test_runs_on_the_current_stream(name: str) -> None:
    """Inputs that a busy side stream writes only after a while are what the operator there reads."""
    arguments = calls(Case(70, 401, 3, device="cuda"))[name]
    expected = run(name, arguments)
    late = tuple(torch.zeros_like(a) if isinstance(a, Tensor) else a for a in arguments)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        for target, source in zip(late, arguments, strict=True):
            if isinstance(target, Tensor):
                target.copy_(source)
        results = run(name, late)
    stream.synchronize()
    same(results, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
@pytest.mark.parametrize("name", OPERATORS)
def test_runs_on_the_device_of_its_tensors(name: str) -> None:
    arguments = calls(Case(70, 401, 3, device="cuda:0"))[name]
    moved = tuple(a.to("cuda:1") if isinstance(a, Tensor) else a for a in arguments)
    with torch.cuda.device(0):
        results = run(name, moved)
        assert torch.cuda.current_device() == 0
    assert all(result.device == torch.device("cuda:1") for result in results)
    same(results, run(name, arguments))


def test_labels_and_tables_on_another_device_are_refused() -> None:
    logits, mean, scale = Case(5, 7, 3, device="cuda").mixture()
    cond, seed = torch.zeros(5, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="gmm_sample: expected cond on cuda:0"):
        NATIVE.gmm_sample(logits, mean, scale, cond, seed.cuda())
    with pytest.raises(RuntimeError, match="gmm_sample: expected seed on cuda:0"):
        NATIVE.gmm_sample(logits, mean, scale, cond.cuda(), seed)
    with pytest.raises(RuntimeError, match="gmm_sample: expected mean on a CUDA device"):
        NATIVE.gmm_sample(logits, mean.cpu(), scale, cond.cuda(), seed.cuda())


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.mem_get_info()[0] < 20 << 30,
    reason="needs 20 GiB of device memory",
)
def test_more_than_2_to_the_31_elements() -> None:
    """Means that name their rows, and hardly any noise."""
    rows, dim, options = 70_000, 32_768, {"dtype": torch.bfloat16, "device": "cuda"}
    mean = torch.tensor([0.0, 1.0], **options).view(2, 1, 1).expand(2, 1, dim)
    cond = torch.zeros(rows, dtype=torch.long, device="cuda")
    cond[-2:] = 1
    seed = torch.tensor([5], device="cuda")
    scale = torch.full((2, 1, 1), 1e-3, **options)
    x0, _ = NATIVE.gmm_sample(torch.zeros(2, 1, **options), mean, scale, cond, seed)
    torch.testing.assert_close(
        x0[-3:].float().mean(1).cpu(), torch.tensor([0.0, 1.0, 1.0]), rtol=1e-2, atol=1e-2
    )
