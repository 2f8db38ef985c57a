"""Two-dimensional toys, each drawn from its own ``torch.Generator``.

Scales follow torchcfm, whose 8gaussians and moons the literature measures on (Tong et al. 2302.00482,
C²OT 2503.10636): eight centres at radius 5 with variance 0.1; moons stretched by 3 and shifted by -1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.data.splits import check_seed
from flowprior.errors import OptionError
from flowprior.registry import choose
from flowprior.streams.data import TensorData

EIGHT_GAUSSIANS_STD = math.sqrt(0.1)
MOST_POINTS = 10_000_000


@DATA.register("eight-modes")
def eight_modes(split: Split = "train", n: int = 10_000, seed: int = 0, radius: float = 5.0) -> TensorData:
    """The paper's toy: 8 labels on a circle of radius R, std 0.03 R in x and 0.3 R in y.

    Args:
        split: the test split has another seed.
        n: number of points, equally many of each label.
        seed: seed of the points.
        radius: R.
    """
    generator = _generator("eight-modes", split, n, seed)
    labels = torch.arange(n) % 8
    std = radius * torch.tensor([0.03, 0.3])
    x = circle_of_centres(radius)[labels] + std * torch.randn(n, 2, generator=generator)
    return TensorData(x, labels, name="eight-modes", classes=8)


@DATA.register("8gaussians", aliases=["eight-gaussians"])
def eight_gaussians(
    split: Split = "train", n: int = 10_000, seed: int = 0, labels: bool = True
) -> TensorData:
    """Eight isotropic Gaussians of variance 0.1 on a circle of radius 5; the label is the mode.

    Args:
        split: the test split has another seed.
        n: number of points.
        seed: seed of the points.
        labels: False leaves the condition out.
    """
    generator = _generator("8gaussians", split, n, seed)
    x, modes = _sample_modes(n, generator)
    return TensorData(x, modes if labels else None, name="8gaussians", classes=8 if labels else None)


@DATA.register("moons")
def moons(
    split: Split = "train",
    n: int = 10_000,
    seed: int = 0,
    noise: float = 0.2,
    labels: bool = True,
) -> TensorData:
    """Two interleaved half circles of radius 3; the label is the moon.

    Args:
        split: the test split has another seed.
        n: number of points, half of them on each moon.
        seed: seed of the points.
        noise: of a point; one U[0, noise) is added to both of its coordinates before the stretch by 3, as
            torchdyn and so torchcfm and C²OT do.
        labels: False leaves the condition out.
    """
    generator = _generator("moons", split, n, seed)
    x, which = sample_moons(n, noise, generator=generator)
    return TensorData(x, which if labels else None, name="moons", classes=2 if labels else None)


@DATA.register("checkerboard")
def checkerboard(split: Split = "train", n: int = 10_000, seed: int = 0) -> TensorData:
    """Uniform on the eight dark squares, of side 2, of a 4 × 4 board over [-4, 4]²; no condition.

    Args:
        split: the test split has another seed.
        n: number of points.
        seed: seed of the points.
    """
    generator = _generator("checkerboard", split, n, seed)
    columns = torch.randint(4, (n,), generator=generator)
    rows = 2 * torch.randint(2, (n,), generator=generator) + columns % 2
    corners = torch.stack([columns, rows], dim=1).float()
    x = 2 * (corners + torch.rand(n, 2, generator=generator)) - 4
    return TensorData(x, name="checkerboard")


@DATA.register("8gaussians-to-moons")
def eight_gaussians_to_moons(split: Split = "train", n: int = 10_000, seed: int = 0) -> TensorData:
    """Targets of 8gaussians→moons with two labels (C²OT); :func:`sample_eight_gaussians` draws its source.

    Args:
        split: the test split has another seed.
        n: number of points, half of them on each moon.
        seed: seed of the points.
    """
    x, which = sample_moons(n, generator=_generator("8gaussians-to-moons", split, n, seed))
    return TensorData(x, which, name="8gaussians-to-moons", classes=2)


@DATA.register("8gaussians-to-moons-continuous")
def eight_gaussians_to_moons_continuous(split: Split = "train", n: int = 10_000, seed: int = 0) -> TensorData:
    """Targets of 8gaussians→moons whose condition [N, 1] is the target's own x coordinate (C²OT).

    Args:
        split: the test split has another seed.
        n: number of points.
        seed: seed of the points.
    """
    x, _ = sample_moons(n, generator=_generator("8gaussians-to-moons-continuous", split, n, seed))
    return TensorData(x, x[:, :1].clone(), name="8gaussians-to-moons-continuous")


def circle_of_centres(radius: float, count: int = 8) -> Tensor:
    """``count`` points ``[count, 2]`` evenly on a circle, the first on the positive x axis."""
    angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    return (radius * torch.stack([angles.cos(), angles.sin()], dim=1)).float()


def sample_eight_gaussians(n: int, *, generator: torch.Generator | None = None) -> Tensor:
    """n independent source samples ``[n, 2]`` of 8gaussians→moons: 8 centres at radius 5, variance 0.1."""
    return _sample_modes(n, generator)[0]


def sample_moons(
    n: int, noise: float = 0.2, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Points ``[n, 2]`` on two moons in random order, and which moon, int64 ``[n]``; see :func:`moons`."""
    outer, inner = torch.linspace(0, math.pi, n // 2), torch.linspace(0, math.pi, n - n // 2)
    x = torch.cat(
        [
            torch.stack([outer.cos(), outer.sin()], dim=1),
            torch.stack([1 - inner.cos(), 0.5 - inner.sin()], dim=1),
        ]
    )
    x = x + noise * torch.rand(n, 1, generator=generator)
    which = torch.cat([torch.zeros(n // 2), torch.ones(n - n // 2)]).long()
    order = torch.randperm(n, generator=generator)
    return (3 * x - 1)[order], which[order]


def _sample_modes(n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    modes = torch.randint(8, (n,), generator=generator)
    noise = EIGHT_GAUSSIANS_STD * torch.randn(n, 2, generator=generator)
    return circle_of_centres(5.0)[modes] + noise, modes


def _generator(name: str, split: str, n: object, seed: int) -> torch.Generator:
    """Generator of one split: training draws from seed 2s, the test split from 2s + 1."""
    choose(name, "split", split, ["train", "test"])
    if type(n) is not int or not 1 <= n <= MOST_POINTS:
        raise OptionError(
            f"{name}: n={n!r} is not possible; give a positive number of points, {MOST_POINTS:,} at most"
        )
    check_seed(name, seed)
    return torch.Generator().manual_seed(2 * seed + (split == "test"))
