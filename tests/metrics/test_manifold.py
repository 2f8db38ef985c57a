"""Precision and recall: a brute-force oracle, digits far from the origin, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flowprior.errors import OptionError
from flowprior.metrics import precision_recall


def brute_force(real: np.ndarray, generated: np.ndarray, k: int) -> tuple[float, float]:
    """The definition, one pair of points at a time."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def on_manifold(point: np.ndarray, cloud: np.ndarray) -> bool:
        for i, centre in enumerate(cloud):
            others = sorted(distance(centre, other) for j, other in enumerate(cloud) if j != i)
            if distance(point, centre) <= others[k - 1]:
                return True
        return False

    precision = np.mean([on_manifold(point, real) for point in generated])
    recall = np.mean([on_manifold(point, generated) for point in real])
    return float(precision), float(recall)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_it_is_the_definition(generator: torch.Generator, neighbours: int) -> None:
    real = torch.randn(40, 5, generator=generator)
    generated = 1.2 * torch.randn(30, 5, generator=generator) + torch.tensor([2.0, 0, 0, 0, 0])
    expected = brute_force(real.double().numpy(), generated.double().numpy(), neighbours)
    found = precision_recall(real, generated, neighbours=neighbours)
    assert 0.1 < found.precision < 1
    assert 0.1 < found.recall < 1
    assert tuple(found) == pytest.approx(expected, abs=1e-12)


def test_far_from_the_origin_keeps_its_digits(generator: torch.Generator) -> None:
    real, generated = torch.randn(2, 60, 4, generator=generator, dtype=torch.float64).unbind()
    assert precision_recall(real + 1e6, generated + 1e6) == precision_recall(real, generated)


def test_more_neighbours_than_rows_are_refused() -> None:
    with pytest.raises(OptionError, match="neighbours=3 is not possible with 5 and 3 rows"):
        precision_recall(torch.zeros(5, 2), torch.zeros(3, 2))
