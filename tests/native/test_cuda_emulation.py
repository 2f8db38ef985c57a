"""The CUDA kernels, run on the host, against plain torch in float64."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.ops.gmm_log_prob import plain_gmm_log_prob, plain_gmm_log_prob_all
from tests.native.emulated import DTYPES, ORDERS, Emulation, Layout
from tests.native.parity import (
    CHECKS,
    Case,
    Recorder,
    agree,
    check_loss,
    wide,
)
from tests.native.subspace_cases import source_arguments, view_arguments

SHAPES = ((0, 7), (1, 1), (3, 7), (41, 401))
CASES = [
    *itertools.starmap(Case, ((*shape, k, d) for shape, k, d in itertools.product(SHAPES, (1, 5), DTYPES))),
    *itertools.starmap(Case, ((*shape, 64, d) for shape, d in itertools.product(((1, 1), (5, 40)), DTYPES))),
    Case(7, 401, 64),
    Case(64, 3072),
    Case(16, 3072, 5, torch.bfloat16),
    # Gradients are float32 sums of hundreds of terms of both signs, as the CPU's in test_parity.
    Case(512, 100),
    Case(256, 20, 64),
    Case(3, 12_288, 2),
    # Tables with whole 16-byte rows, a tail in float64, one σ a component, more conditions than rows.
    *(Case(9, 402, 3, dtype) for dtype in DTYPES),
    *(Case(9, 400, 3, dtype, spherical=True) for dtype in DTYPES),
    *(Case(6, 19, 2, dtype, conditions=40) for dtype in DTYPES),
]
LAYOUTS = (Layout(offset=1), Layout(gap=3), Layout(gap=7), Layout(offset=3, gap=8))
LAID_OUT = [
    Case(5, dim, 5, dtype, layout=layout)
    for dim, dtype, layout in itertools.product((32, 101), DTYPES, LAYOUTS)
]
SPLIT = [Case(70, 401, 5), Case(70, 290, 5, torch.bfloat16, spherical=True)]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_parity(emulation: Emulation, case: Case, check: Any) -> None:
    check(emulation, case)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", LAID_OUT, ids=str)
def test_parity_of_misaligned_and_padded_rows(emulation: Emulation, case: Case, check: Any) -> None:
    with emulation.setting(layout=case.layout):
        check(emulation, case)


@pytest.mark.parametrize(("most", "wanted"), [(2, 1), (2, 10**6), (65535, 40), (65535, 10**6)])
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", SPLIT, ids=str)
def test_parity_however_the_work_is_cut(
    emulation: Emulation, case: Case, check: Any, most: int, wanted: int
) -> None:
    """Grids too small for the work, and sums in one part or in many."""
    with emulation.setting(most_blocks_x=most, most_blocks_yz=most, wanted_blocks=wanted):
        check(emulation, case)


@pytest.mark.parametrize("check", [*CHECKS.values(), "loss"], ids=[*CHECKS, "loss"])
@pytest.mark.parametrize("case", [Case(41, 401, 5), Case(9, 2200, 2, conditions=2)], ids=str)
def test_order_of_threads_and_blocks_changes_no_bit(emulation: Emulation, case: Case, check: Any) -> None:
    results = []
    for order in ORDERS:
        recorder = Recorder(emulation)
        with emulation.setting(order):
            if check == "loss":
                check_loss(recorder, case, given_u=False, weighted=True, mean=True, wide_target=False)
            else:
                check(recorder, case)
        results.append([result.contiguous().view(torch.uint8) for result in recorder.results if result.dim()])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(("given_u", "weighted", "mean"), list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_loss(
    emulation: Emulation, shape: tuple[int, int], given_u: bool, weighted: bool, mean: bool
) -> None:
    check_loss(emulation, Case(*shape), given_u=given_u, weighted=weighted, mean=mean, wide_target=False)


@pytest.mark.parametrize("layout", [Layout(), *LAYOUTS], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(41, 401), (300, 9), (2, 9000)], ids=str)
def test_loss_of_every_dtype(
    emulation: Emulation, shape: tuple[int, int], dtype: torch.dtype, layout: Layout
) -> None:
    case = Case(*shape, dtype=dtype, layout=layout)
    with emulation.setting(layout=layout):
        check_loss(emulation, case, given_u=False, weighted=True, mean=True, wide_target=False)
        if dtype != torch.float32:
            check_loss(emulation, case, given_u=True, weighted=True, mean=False, wide_target=True)


def test_loss_when_rows_exceed_the_grid(emulation: Emulation) -> None:
    with emulation.setting(most_blocks_x=2):
        check_loss(emulation, Case(700, 70), given_u=True, weighted=True, mean=True, wide_target=False)


def test_loss_of_no_rows(emulation: Emulation) -> None:
    v = torch.empty(0, 5)
    loss, squared_error, gradient = emulation.flow_matching_loss(v, v, None, None, None, True, True)
    assert loss.isnan()
    assert squared_error.shape == (0,)
    assert gradient.shape == (0, 5)
    loss, _, _ = emulation.flow_matching_loss(v, v, None, None, None, False, False)
    assert loss.shape == (0,)


@pytest.mark.parametrize("kind", ["log_prob", "log_prob_all"])
def test_log_prob_a_thousand_deviations_away(emulation: Emulation, kind: str) -> None:
    """float32 within 1e-6 of float64, far away and in many dimensions."""
    case = Case(4, 12_288, 3, conditions=2)
    (logits, mean, scale), cond = case.mixture(), case.cond()
    signs = case.numbers(4, case.dim, key=40).sign()
    x = mean[cond, 0] + 1e3 * signs * scale[cond, 0]
    plain = {"log_prob": plain_gmm_log_prob, "log_prob_all": plain_gmm_log_prob_all}[kind]
    labels = (cond,) if kind == "log_prob" else ()
    log_prob, _ = getattr(emulation, f"gmm_{kind}")(x, logits, mean, scale, *labels)
    expected, _ = plain(*wide(x, logits, mean, scale), *labels)
    assert expected.min() < -1e9
    assert ((log_prob.double() - expected) / expected).abs().max() < 1e-6


def test_unknown_labels_become_nan_and_leave_other_rows_alone(emulation: Emulation) -> None:
    case = Case(8, 37, 4)
    tables, x, cond = case.mixture(), case.x(), case.cond()
    wrong = cond.clone()
    wrong[1], wrong[4], wrong[6] = -1, case.conditions, 2**40
    bad = wrong != cond
    x0, component = emulation.gmm_sample(*tables, cond, case.seed())
    result, chosen = emulation.gmm_sample(*tables, wrong, case.seed())
    assert result[bad].isnan().all()
    assert (chosen[bad] == -1).all()
    assert torch.equal(result[~bad], x0[~bad])
    assert torch.equal(chosen[~bad], component[~bad])

    densities = emulation.gmm_log_prob(x, *tables, cond)
    for result, good in zip(emulation.gmm_log_prob(x, *tables, wrong), densities, strict=True):
        assert result[bad].isnan().all()
        assert torch.equal(result[~bad], good[~bad])

    grad = case.numbers(8, 4, key=30)
    gradients = emulation.gmm_log_prob_backward(grad, x, *tables[1:], wrong)
    masked = emulation.gmm_log_prob_backward(grad[~bad], x[~bad], *tables[1:], cond[~bad])
    assert gradients[0][bad].isnan().all()
    assert torch.equal(gradients[0][~bad], masked[0])
    for result, good in zip(gradients[1:], masked[1:], strict=True):
        agree(result, good)


def test_unknown_conditions_of_a_subspace_become_nan_and_leave_other_rows_alone(emulation: Emulation) -> None:
    case = Case(8, 37, 4)
    for operator, arguments in (
        (emulation.subspace_source, source_arguments(case)),
        (emulation.subspace_view, view_arguments(case)),
    ):
        place = next(
            i for i, argument in enumerate(arguments) if getattr(argument, "dtype", None) == torch.int64
        )
        wrong = arguments[place].clone()
        wrong[1], wrong[4], wrong[6] = -1, case.conditions, 2**40
        bad = wrong != arguments[place]
        results, expected = (
            operator(*arguments[:place], cond, *arguments[place + 1 :]) for cond in (wrong, arguments[place])
        )
        listed = ([found] if isinstance(found, Tensor) else found for found in (results, expected))
        for result, good in zip(*listed, strict=True):
            assert result[bad].isnan().all()
            assert torch.equal(result[~bad], good[~bad])


@pytest.mark.parametrize("check", ["subspace_source", "subspace_view"])
def test_a_subspace_of_as_many_axes_as_there_may_be(emulation: Emulation, check: str) -> None:
    """Their weights and a chunk of columns fill the shared memory that there is."""
    CHECKS[check](emulation, Case(2, 520, 512, torch.float64, conditions=2))


def test_component_at_the_ends_of_the_cumulative_weights(emulation: Emulation) -> None:
    logits = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0], dtype=torch.float64).log()
    heights = {0.0: 1, 0.2499: 1, 0.25: 3, 0.7499: 3, 0.75: 4, 1 - 2.0**-53: 4, 1.0: 4}
    assert {height: emulation.choice(logits, height) for height in heights} == heights


def test_gradient_in_a_batch_of_thousands(emulation: Emulation) -> None:
    """Sums over 5,000 rows, in one part and in many, keep float32's digits."""
    case = replace(Case(5000, 3, 2), conditions=2)
    for wanted in (1, 64):
        with emulation.setting(wanted_blocks=wanted):
            CHECKS["log_prob_backward"](emulation, case)
            CHECKS["log_prob_all_backward"](emulation, case)


def _far_apart(rows: Tensor, file: Path) -> Tensor:
    """The rows more than 2³¹ elements apart, in a file of which hardly anything is stored."""
    pitch = 2**31 + 8
    memory = torch.from_file(str(file), shared=True, size=2 * pitch + rows.shape[1], dtype=rows.dtype)
    return memory.as_strided(rows.shape, (pitch, 1)).copy_(rows)


def test_rows_beyond_32_bits_of_elements(emulation: Emulation, tmp_path: Path) -> None:
    case = Case(3, 20, 2, torch.bfloat16)
    near = [case.numbers(3, 20, key=key) for key in (50, 51)]
    far = [_far_apart(rows, tmp_path / str(i)) for i, rows in enumerate(near)]
    log_prob = emulation.gmm_log_prob(far[0], *case.mixture(), case.cond())[0]
    assert torch.equal(log_prob, emulation.gmm_log_prob(near[0], *case.mixture(), case.cond())[0])
    log_prob = emulation.gmm_log_prob_all(far[0], *case.mixture())[0]
    assert torch.equal(log_prob, emulation.gmm_log_prob_all(near[0], *case.mixture())[0])
    loss, expected = (
        emulation.flow_matching_loss(v, u, None, None, None, True, False)[0] for v, u in (far, near)
    )
    assert torch.equal(loss, expected)
