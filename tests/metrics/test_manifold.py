"""Precision and recall: the definition over all pairs, digits far from the origin, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from flowprior.errors import OptionError
from flowprior.metrics import precision_recall


def definition(real: np.ndarray, generated: np.ndarray, k: int) -> tuple[float, float]:
    """Shares of points no farther from a point of the other cloud than that one's k-th neighbour is."""

    def share(points: np.ndarray, cloud: np.ndarray) -> float:
        return float((cdist(points, cloud) <= np.sort(cdist(cloud, cloud))[:, k]).any(1).mean())

    return share(generated, real), share(real, generated)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_it_is_the_definition(generator: torch.Generator, neighbours: int) -> None:
    real = torch.randn(40, 5, generator=generator)
    generated = 1.2 * torch.randn(30, 5, generator=generator) + torch.tensor([2.0, 0, 0, 0, 0])
    expected = definition(real.double().numpy(), generated.double().numpy(), neighbours)
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
