"""Distances between generated and held-out blood cells of one type that stay well posed with few cells.

    values = "benchmarks.studies.blood_cells:values"

W2² of two finite clouds in 50 dimensions is mostly their sampling error: two independent halves of the same
cells lie as far apart as their spread, while copies of the mean lie nearer to either. Beside the raw value
there are therefore three which are zero (on average) where the laws agree, and not before:

    debiased   W2²(X, Y) − ½ W2²(X, X') − ½ W2²(Y, Y')     equal counts; X', Y' further draws of either law
    energy     2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖           unbiased; zero only where the laws agree
    sliced     E_θ W2²(θ·X, θ·Y)                            one dimension at a time, so its bias is small
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, draw, everything, rows_of
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.metrics import sliced_wasserstein2_squared, wasserstein2_squared

NFES = (0, 1, 2, 4, 15)
DRAWS = 4
Cells = tuple[Tensor, Tensor]
"""Cells ``[N, D]`` and their types ``[N]``."""


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Every distance to the held-out cells, averaged over types, and those of training cells and means.

    With a validation part of the study, these are the held-out cells in place of the test split.
    """
    held_out = getattr(data, "validation", None)
    real, twin = everything(held_out or data.test), everything(data.train)
    shared = {"samples": DRAWS * len(real[0]), "split": "validation" if held_out else "test"}
    rows: list[Row] = []
    for nfe in NFES:
        found = compare_types(partial(draw, flow, nfe=nfe, seed=cell.seed), real, twin)
        rows += rows_of(found, nfe=nfe, sampler="euler", **shared)
    means = torch.stack([twin[0][twin[1] == kind].mean(0) for kind in range(int(twin[1].max()) + 1)])
    rows += rows_of(compare_types(means.__getitem__, real, twin), flow="class means", **shared)
    return rows + rows_of(real_data_score(real, twin), flow=REAL_DATA, **shared)


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
    return _mean_over_types(real, twin, lambda own, x, y: compare_type(drawn[:, types == own], x, y))


def real_data_score(real: Cells, twin: Cells) -> dict[str, float]:
    """What other real cells have in place of generated ones; debiased, that is zero by its making."""

    def score(_: int, y: Tensor, x: Tensor) -> dict[str, float]:
        return {"raw": wasserstein2_squared(x, y), "debiased": 0.0} | _unbiased(x, y)

    return _mean_over_types(real, twin, score)


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
    return {"raw": raw, "debiased": debiased} | _unbiased(drawn.flatten(0, 1), real)


def _unbiased(x: Tensor, y: Tensor) -> dict[str, float]:
    return {"energy": energy_distance(x, y), "sliced": sliced_wasserstein2_squared(x, y)}


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖ of x ``[N, D]`` and y ``[M, D]``, over pairs of different cells."""
    x, y = x.double(), y.double()
    own = [torch.cdist(one, one).sum() / max(len(one) * (len(one) - 1), 1) for one in (x, y)]
    return float(2 * torch.cdist(x, y).mean() - own[0] - own[1])


def _mean_over_types(
    real: Cells, twin: Cells, distances: Callable[[int, Tensor, Tensor], dict[str, float]]
) -> dict[str, float]:
    """``distances`` of each type's cells of both, averaged over the types."""
    types = real[1].unique().tolist()
    each = [distances(own, *(x[labels == own] for x, labels in (real, twin))) for own in types]
    return {name: statistics.mean(found[name] for found in each) for name in each[0]}
