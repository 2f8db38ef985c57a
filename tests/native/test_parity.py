"""The native operators on this machine against plain torch in float64."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.library import opcheck

from flowprior.ops.backend import backend, native_devices
from tests.native import philox
from tests.native.emulated import Layout
from tests.native.parity import CHECKS, OPERATORS, SEED, Case, Recorder, calls, check_loss

pytestmark = pytest.mark.skipif("cpu" not in native_devices(), reason=f"no native operators: {backend()}")
NATIVE = torch.ops.flowprior

DTYPES = (torch.float32, torch.float64)
"""The dtypes of the CPU's operators; those of 16 bits are plain torch's there."""
SHAPES = ((0, 7), (1, 1), (3, 7), (41, 401))
CASES = [
    *(Case(*shape, k, dtype) for shape, k, dtype in itertools.product(SHAPES, (1, 5, 64), DTYPES)),
    Case(256, 3072),
    Case(41, 3072, 5, torch.float64),
    Case(41, 3072, 16),
    Case(2, 12_288, 3),
    # Gradients are float32 sums of hundreds of terms of both signs.
    Case(512, 784),
    Case(256, 101, 64),
    *(Case(9, 400, 3, dtype, spherical=True) for dtype in DTYPES),
    *(Case(6, 19, 2, dtype, conditions=40) for dtype in DTYPES),
    *(Case(1000, 2, 8, dtype) for dtype in DTYPES),
]
LAYOUTS = (Layout(offset=1), Layout(gap=3), Layout(offset=3, gap=8))
LAID_OUT = [
    Case(5, dim, 5, dtype, layout=layout)
    for dim, dtype, layout in itertools.product((32, 401), DTYPES, LAYOUTS)
]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", [*CASES, *LAID_OUT], ids=str)
def test_parity(case: Case, check: Any) -> None:
    check(NATIVE, case)


@pytest.mark.parametrize(("given_u", "weighted", "mean"), list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*itertools.product([*SHAPES[1:], (300, 9)], DTYPES), ((40, 3072), torch.float32)],
    ids=str,
)
def test_loss(shape: tuple[int, int], dtype: torch.dtype, given_u: bool, weighted: bool, mean: bool) -> None:
    for layout in (Layout(), Layout(1, 3)):
        case = Case(*shape, dtype=dtype, layout=layout)
        check_loss(NATIVE, case, given_u=given_u, weighted=weighted, mean=mean, wide_target=False)


@pytest.mark.parametrize("seed", [0, 1, -1, SEED, (1 << 62) + 12_345, -(1 << 63)])
def test_normals_come_of_philox(seed: int) -> None:
    """float64 to 1e-12; float32 to a few units in the last place of each number, the smallest included."""
    rows, dim, key = 300, 1025, torch.tensor([seed])
    exact = philox.normal(key, rows, dim)
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 8 * torch.finfo(torch.float32).eps)):
        mean, one = torch.zeros(1, 1, dim, dtype=dtype), torch.ones(1, 1, 1, dtype=dtype)
        cond = torch.zeros(rows, dtype=torch.long)
        found, _ = NATIVE.gmm_sample(one[0], mean, one, cond, key)
        torch.testing.assert_close(found.double(), exact, rtol=bound, atol=0.0)


def test_a_hundred_thousand_components_are_the_same() -> None:
    """Integers exactly: inverse of cumulative weights, 64 components, some of them excluded."""
    case = Case(100_000, 1, 64, conditions=7)
    tables = case.mixture()
    chosen = NATIVE.gmm_sample(*tables, case.cond(), case.seed())[1]
    assert torch.equal(chosen, philox.gmm_sample(*tables, case.cond(), case.seed())[1])
    assert len(chosen.unique()) == 63


@pytest.mark.parametrize("check", [*CHECKS, "loss"])
@pytest.mark.parametrize("case", [Case(41, 401, 5), Case(70, 1800, 2), Case(2000, 3, 4)], ids=str)
def test_threads_change_no_bit(case: Case, check: str) -> None:
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            recorder = Recorder(NATIVE)
            if check == "loss":
                check_loss(recorder, case, given_u=False, weighted=True, mean=True, wide_target=False)
            else:
                CHECKS[check](recorder, case)
            results.append(
                [result.contiguous().view(torch.uint8) for result in recorder.results if result.dim()]
            )
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", OPERATORS)
def test_schema_tells_what_is_written(name: str) -> None:
    opcheck(getattr(NATIVE, name), calls(Case(6, 7, 3))[name], test_utils="test_schema")


ONE_SET = """
import torch
from tests.native.parity import CHECKS, Case, check_loss
from flowprior.ops.backend import backend
kernels = torch.ops.flowprior
print(backend().instruction_set)
cases = [Case(41, 401, 5, dtype) for dtype in (torch.float32, torch.float64)]
for case in (*cases, Case(7, 33, 3, spherical=True), Case(64, 3072)):
    for check in CHECKS.values():
        check(kernels, case)
    check_loss(kernels, case, given_u=False, weighted=True, mean=True, wide_target=False)
"""


@pytest.mark.parametrize("instruction_set", ["baseline", "avx2"])
def test_parity_with_every_instruction_set(instruction_set: str) -> None:
    if instruction_set not in backend().build["instruction_sets"]:
        pytest.skip(f"the extension has no {instruction_set} kernels")
    if instruction_set != "baseline" and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip(f"this processor has no {instruction_set}")
    if instruction_set == backend().instruction_set:
        pytest.skip(f"the rest of this file runs with {instruction_set}")
    environment = {**os.environ, "FLOWPRIOR_CPU_ISA": instruction_set, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", ONE_SET], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == [instruction_set]
