"""Laws that a Gaussian does not fit, and two that it fits: data, and what is measured of flows to them.

data = "awkward-laws:dim=2"
values = "benchmarks.studies.awkward_laws:values"

Each label has a law of its own, turned and moved: a ring, a spiral, a checkerboard, Student's t with two
degrees of freedom, a point mass in a wide cloud; a Gaussian, and three Gaussians. Of the first three the
further dimensions are Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, everything, generator, rows_of
from flowprior.data import DATA, TensorData
from flowprior.flow import Flow
from flowprior.inspection.simulated_flow import energy_coefficient

GRIDS: Mapping[str, str] = {
    "uniform": "euler",
    "power": "euler:grid=power,exponent=0.5",
    "last-0.7": "euler:grid=last,at=0.7",
}
NFES = (0, 1, 4, 15)
SAMPLES = 3000
"""Of each label."""
ASIDE = 0.3
"""Standard deviation of the dimensions beside a law of the plane."""
Law = Callable[[int, int, torch.Generator], Tensor]


def ring(n: int, dim: int, random: torch.Generator) -> Tensor:
    """Radius 1 ± 0.05."""
    angle = 2 * math.pi * torch.rand(n, generator=random)
    radius = 1 + 0.05 * torch.randn(n, generator=random)
    return _beside(radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), dim, random)


def spiral(n: int, dim: int, random: torch.Generator) -> Tensor:
    """One and a half turns out to radius 1.5."""
    share = torch.rand(n, generator=random).sqrt()
    angle = 3 * math.pi * share
    x = 1.5 * share[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return _beside(x + 0.04 * torch.randn(n, 2, generator=random), dim, random)


def checkerboard(n: int, dim: int, random: torch.Generator) -> Tensor:
    """Eight dark squares of side 0.83."""
    column = torch.randint(4, (n,), generator=random)
    row = 2 * torch.randint(2, (n,), generator=random) + column % 2
    x = torch.stack([column, row], 1) + torch.rand(n, 2, generator=random) - 2
    return _beside(x / 1.2, dim, random)


def student(n: int, dim: int, random: torch.Generator) -> Tensor:
    """Student's t with two degrees of freedom, which has no variance; scale 0.5."""
    square = torch.randn(n, 2, generator=random).square().mean(1, keepdim=True)
    return 0.5 * torch.randn(n, dim, generator=random) / square.sqrt()


def point_mass(n: int, dim: int, random: torch.Generator) -> Tensor:
    """Half of all in one point, at a distance of √2 from the middle of a standard normal cloud."""
    x = torch.randn(n, dim, generator=random)
    x[torch.rand(n, generator=random) < 0.5] = math.sqrt(2 / dim)
    return x


def gaussian(n: int, dim: int, random: torch.Generator) -> Tensor:
    """Standard deviations from 0.21 to 1.05."""
    return 0.7 * torch.randn(n, dim, generator=random) * torch.linspace(0.3, 1.5, dim)


def three_gaussians(n: int, dim: int, random: torch.Generator) -> Tensor:
    """Standard deviation 0.25, means at (1.5, 0), (0, 1.5) and (-1, -1)."""
    mean = torch.zeros(3, dim)
    mean[:, :2] = torch.tensor([[1.5, 0.0], [0.0, 1.5], [-1.0, -1.0]])
    return mean[torch.randint(3, (n,), generator=random)] + 0.25 * torch.randn(n, dim, generator=random)


def _beside(x: Tensor, dim: int, random: torch.Generator) -> Tensor:
    return torch.cat([x, ASIDE * torch.randn(len(x), dim - 2, generator=random)], 1)


LAWS: Mapping[str, Law] = {
    "ring": ring,
    "spiral": spiral,
    "checkerboard": checkerboard,
    "student-t": student,
    "point-mass": point_mass,
    "gaussian": gaussian,
    "three-gaussians": three_gaussians,
}


@DATA.register("awkward-laws")
def awkward_laws(split: Any = "train", dim: int = 2, each: int = 2000, seed: int = 0) -> TensorData:
    """Points whose label says which of the laws they follow; where they lie is the same for all seeds.

    Args:
        split: ``"train"``, or ``"test"``, which has another seed and 3,000 of each label.
        dim: dimensions, two or more.
        each: training examples of each label.
        seed: of the points.
    """
    random = torch.Generator().manual_seed(2 * seed + (split == "test"))
    place = torch.Generator().manual_seed(7)
    count, parts = each if split == "train" else SAMPLES, []
    for law in LAWS.values():
        turn = torch.linalg.qr(torch.randn(dim, dim, generator=place)).Q
        parts.append(law(count, dim, random) @ turn.T + torch.randn(dim, generator=place))
    labels = torch.arange(len(LAWS)).repeat_interleave(count)
    return TensorData(torch.cat(parts), labels, name=f"awkward-laws-{dim}", classes=len(LAWS))


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """``energy-LAW`` at every number of evaluations and with every grid of times.

    Unbiased energy distance between 3,000 samples and 3,000 test points of a label, as a share of the largest
    it could be (Székely & Rizzo 2013).
    """
    x, labels = everything(data.test)
    rows = []
    for nfe in NFES:
        for name, sampler in GRIDS.items():
            found = {}
            for label, law in enumerate(LAWS):
                cond = torch.full((SAMPLES,), label)
                drawn = flow.sample(cond, nfe=nfe, sampler=sampler, generator=generator(cell.seed))
                real = x[labels == label]
                found[f"energy-{law}"] = energy_coefficient(drawn.double(), real.double())
            rows += rows_of(found, nfe=nfe, sampler=name, samples=SAMPLES, split="test")
    return rows
