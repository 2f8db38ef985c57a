"""Conditions that are embeddings: a problem, and the distance within conditions that no training has seen.

    values = "benchmarks.studies.embeddings:within_conditions"

``turning-residuals`` has 24 numbers under an embedding of 8, which follows from three factors. The mean is
not linear in the embedding; the residuals have two modes in each of three planes, which turn with the
embedding. Every embedding of the test split is new, and the distribution of its data is known, so that each
has as many data as are asked for.

Plain sliced W2² would pool embeddings; here it is taken within each condition and then averaged.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, draw, everything, rows_of
from flowprior.data import DATA, TensorData, load_data
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.metrics import sliced_wasserstein2_per_condition
from flowprior.pictures import first_of_each
from flowprior.registry import check_counts

NFES = (0, 1, 4)
ASKED, BATCH = 250, 1000
WIDTH = 8
LAW = 20250926
"""Seed of the maps from embeddings to distributions, which are the same for every seed of the data."""


class GroupedData(TensorData):
    """Data held in memory whose rows are known to belong to conditions: ``group`` ``[N]``, from 0 on."""

    def __init__(self, x: Tensor, cond: Tensor, group: Tensor, **options: Any) -> None:
        super().__init__(x, cond, **options)
        self.group = group


# -- residuals that turn with the embedding -----------------------------------------------------------------

DIM, HIDDEN, PLANES = 24, 16, 3
FACTORS = 3
"""Dimensions of the plane that embeddings lie on, as those of words and pictures have fewer than numbers."""
LENGTHS = (1.5, 1.0, 0.7)
MODE_NOISE, NOISE = 0.25, 0.1
CONDITIONS, OF_EACH = 40, 500
"""Embeddings of the test split, and data of each of them."""


@DATA.register("turning-residuals")
def turning_residuals(split: Any = "train", n: int = 8_000, seed: int = 0) -> GroupedData:
    """24 numbers under embeddings of 8: a non-linear mean, residuals of two modes in planes that turn.

    Args:
        split: ``"train"`` has another embedding in each row, ``"test"`` 40 new ones with 500 rows each.
        n: rows of the training split.
        seed: of embeddings and rows; the law is always the same.
    """
    check_counts("turning-residuals", n=n)
    generator = torch.Generator().manual_seed(2 * seed + (split == "test"))
    count = n if split == "train" else CONDITIONS
    group = torch.arange(count)
    cond = torch.randn(count, FACTORS, generator=generator) @ _map("embedding", WIDTH, FACTORS).T
    if split != "train":
        group = group.repeat_interleave(OF_EACH)
        cond = cond[group]
    x = mean_of(cond) + residuals_of(cond, generator)
    return GroupedData(x, cond, group, name="turning-residuals")


def mean_of(cond: Tensor) -> Tensor:
    """The mean ``[B, 24]`` under embeddings ``[B, 8]``: two layers with a hyperbolic tangent between."""
    first, second = _map("first layer", HIDDEN, WIDTH), _map("second layer", DIM, HIDDEN)
    return 1.5 * (1.5 * cond @ first.T).tanh() @ second.T


def residuals_of(cond: Tensor, generator: torch.Generator) -> Tensor:
    """Draws ``[B, 24]`` around the mean: two modes in each plane, along an axis that turns by up to 90°."""
    count = len(cond)
    angle = math.pi / 2 * (cond @ _map("angles", PLANES, WIDTH).T).tanh()
    length = torch.tensor(LENGTHS) * (1 + 0.5 * (cond @ _map("lengths", PLANES, WIDTH).T).tanh())
    mode = 2 * torch.randint(2, (count, PLANES), generator=generator) - 1
    own = MODE_NOISE * torch.randn(count, PLANES, 2, generator=generator)
    own[..., 0] += mode * length
    turned = torch.stack(
        [
            angle.cos() * own[..., 0] - angle.sin() * own[..., 1],
            angle.sin() * own[..., 0] + angle.cos() * own[..., 1],
        ],
        dim=2,
    )
    planes = torch.linalg.qr(_map("planes", DIM, 2 * PLANES)).Q
    return turned.flatten(1) @ planes.T + NOISE * torch.randn(count, DIM, generator=generator)


def _map(name: str, rows: int, columns: int) -> Tensor:
    """A fixed linear map ``[rows, columns]`` that keeps the scale of what it is applied to."""
    generator = torch.Generator().manual_seed(LAW + sum(name.encode()))
    return torch.randn(rows, columns, generator=generator) / math.sqrt(columns)


# -- values -------------------------------------------------------------------------------------------------


def within_conditions(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Sliced W2² within each condition of the test split, averaged over them; of as many real data, too.

    Of each condition the first 250 rows give the embeddings that are asked for; the others are the reference.
    """
    real = load_data(cell.config.data, "test")
    assert isinstance(real, GroupedData)
    points, cond = everything(real)
    asked = first_of_each(real.group, len(points), ASKED, len(points)).sort().values
    others = torch.ones(len(points), dtype=torch.bool).index_fill(0, asked, False)
    reference, group = (points[others], real.group[others]), real.group[asked]
    shared = {"split": "test", "samples": len(asked)}
    rows = rows_of(distance((points[asked], group), reference), flow=REAL_DATA, **shared)
    for nfe in NFES:
        x = torch.cat([draw(flow, part, nfe, cell.seed) for part in cond[asked].split(BATCH)])
        rows += rows_of(distance((x, group), reference), nfe=nfe, sampler="euler", **shared)
    return rows


def distance(generated: tuple[Tensor, Tensor], real: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Mean over the groups of sliced W2² between their rows; both are rows and their groups."""
    distances = sliced_wasserstein2_per_condition(*generated, *real)
    return {"sliced_w2_squared_within": math.fsum(distances.values()) / len(distances)}
