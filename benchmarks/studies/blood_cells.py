"""Distances between generated and held-out blood cells of one type that stay well posed with few cells.

    values = "benchmarks.studies.blood_cells:values"

W2² of two finite clouds in 50 dimensions is mostly their sampling error: two independent halves of the same
cells lie as far apart as their spread, while copies of the mean lie nearer to either. Beside the raw value
there are therefore three which are zero (on average) where the laws agree, and not before:

    debiased   W2²(X, Y) − ½ W2²(X, X') − ½ W2²(Y, Y')     equal counts; X', Y' further draws of either law
    energy     2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖           unbiased; zero only where the laws agree
    sliced     E_θ W2²(θ·X, θ·Y)                            one dimension at a time, so its bias is small

Every seed halves the cells anew. Beside the flow's distances stand those of the training cells (the real-data
score) and of the type's mean repeated (``class means``).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies.protocol import Row, draw, everything, rows_of
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.metrics import sliced_wasserstein2_squared, wasserstein2_squared

NFES = (0, 1, 2, 4, 15)
DRAWS = 4
METRICS = ("raw", "debiased", "energy", "sliced")
Cells = tuple[Tensor, Tensor]
"""Cells ``[N, D]`` and their types ``[N]``."""


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Every distance to the held-out cells, averaged over types, and those of training cells and means.

    With a validation part of the study, these are the held-out cells in place of the test split.
    """
    held_out = getattr(data, "validation", None)
    split = "test" if held_out is None else "validation"
    real, twin = everything(held_out or data.test), everything(data.train)
    shared = {"samples": DRAWS * len(real[0]), "split": split}
    rows: list[Row] = []
    for nfe in NFES:
        found = compare_types(lambda types, nfe=nfe: draw(flow, types, nfe, cell.seed), real, twin)
        rows += rows_of(cell, found, nfe=nfe, sampler="euler", **shared)
    means = torch.stack([twin[0][twin[1] == kind].mean(0) for kind in range(int(twin[1].max()) + 1)])
    rows += rows_of(cell, compare_types(lambda types: means[types], real, twin), flow="class means", **shared)
    return [*rows, *rows_of(cell, real_data_score(real, twin), flow=REAL_DATA, **shared)]


def compare_types(
    draw: Callable[[Tensor], Tensor], real: Cells, twin: Cells, draws: int = DRAWS
) -> dict[str, float]:
    """Every distance, averaged over the types that have held-out cells.

    Args:
        draw: types ``[N]`` -> as many cells ``[N, D]``.
        real: held-out cells.
        twin: other real cells.
        draws: how often as many cells are drawn as are held out, at least 2.
    """
    x, types = real
    drawn = draw(types.repeat(draws)).view(draws, *x.shape)
    return _mean_over(
        types, lambda own: compare_type(drawn[:, types == own], x[types == own], _of(twin, own))
    )


def real_data_score(real: Cells, twin: Cells) -> dict[str, float]:
    """What other real cells have in place of generated ones; debiased, that is zero by its making."""

    def score(kind: int) -> dict[str, float]:
        x, y = _of(twin, kind), _of(real, kind)
        sliced = sliced_wasserstein2_squared(x, y)
        found = (wasserstein2_squared(x, y), 0.0, energy_distance(x, y), sliced)
        return dict(zip(METRICS, found, strict=True))

    return _mean_over(real[1], score)


def compare_type(drawn: Tensor, real: Tensor, twin: Tensor) -> dict[str, float]:
    """Every distance for one type.

    Args:
        drawn: ``[R, n, D]``, R ≥ 2 draws of as many cells as ``real`` has.
        real: held-out cells ``[n, D]``.
        twin: other real cells of the type ``[m, D]``, independent of ``real``.
    """
    raw = statistics.mean(wasserstein2_squared(draw, real) for draw in drawn)
    own = statistics.mean(wasserstein2_squared(a, b) for a, b in zip(drawn, drawn.roll(1, 0), strict=True))
    debiased = raw - own / 2 - wasserstein2_squared(real, twin) / 2
    pooled = drawn.flatten(0, 1)
    found = (raw, debiased, energy_distance(pooled, real), sliced_wasserstein2_squared(pooled, real))
    return dict(zip(METRICS, found, strict=True))


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖ of x ``[N, D]`` and y ``[M, D]``, over pairs of different cells."""
    x, y = x.double(), y.double()
    return float(2 * torch.cdist(x, y).mean() - _mean_apart(x) - _mean_apart(y))


def _mean_apart(x: Tensor) -> Tensor:
    return torch.cdist(x, x).sum() / max(len(x) * (len(x) - 1), 1)


def _of(cells: Cells, kind: int) -> Tensor:
    return cells[0][cells[1] == kind]


def _mean_over(types: Tensor, distances: Callable[[int], dict[str, float]]) -> dict[str, float]:
    each = [distances(kind) for kind in types.unique().tolist()]
    return {name: statistics.mean(found[name] for found in each) for name in METRICS}
