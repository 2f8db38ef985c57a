"""The number of modes of a law: known ones are found, the two nearest Gaussians are merged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.data import TensorData
from flowprior.inspection import inspect_priors
from flowprior.inspection.examples import POOLED, Examples
from flowprior.inspection.modes import count_modes, merged, modes
from flowprior.mixtures.averaging import Components
from flowprior.report.terminal import modes_line


def on_a_circle(count: int, rows: int, dim: int = 2, seed: int = 0, radius: float = 8.0) -> Tensor:
    """Unit Gaussians about the corners of a regular polygon, one in the middle of the dimensions beside."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.randint(count, (rows,), generator=generator) / count
    x = torch.randn(rows, dim, generator=generator)
    if count > 1:
        x[:, :2] += radius * torch.stack([angle.cos(), angle.sin()], 1)
    return x


@pytest.mark.slow
@pytest.mark.parametrize(("count", "dim"), [(1, 2), (2, 2), (5, 2), (1, 12), (4, 12), (3, 40)])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_modes_are_counted_at_any_scale_and_place(count, dim, scale):
    x = scale * (on_a_circle(count, 1000, dim, seed=1) + 100)
    assert count_modes(x[:800], x[800:]) == count


def test_many_modes_are_right_or_one_off():
    for seed in range(3):
        x = on_a_circle(14, 1500, seed=seed, radius=20)
        assert abs(count_modes(x[:1200], x[1200:]) - 14) <= 1


def test_rows_that_repeat_have_a_mode():
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).repeat(50, 1)
    assert 1 <= count_modes(x, x[:20]) <= 3
    assert count_modes(torch.zeros(50, 3), torch.zeros(12, 3)) == 1


def test_the_two_that_lose_least_are_merged_into_their_common_moments():
    mean = torch.tensor([[0.0, 0], [9, 0], [0, 1]], dtype=torch.float64)
    cholesky = torch.tensor([1.0, 1.0, 2.0]).double()[:, None, None] * torch.eye(2).double()
    weight = torch.tensor([0.25, 0.5, 0.25]).double()
    found = merged(Components(weight.log(), mean, cholesky))
    torch.testing.assert_close(found.logits.exp(), torch.tensor([0.5, 0.5]).double())
    torch.testing.assert_close(found.mean, torch.tensor([[9.0, 0], [0, 0.5]]).double())
    expected = 2.5 * torch.eye(2).double() + torch.diag(torch.tensor([0.0, 0.25])).double()
    torch.testing.assert_close(found.cholesky[1] @ found.cholesky[1].mT, expected)


@pytest.mark.slow
def test_labels_with_few_rows_are_left_out_and_data_without_labels_are_one():
    x = torch.cat([on_a_circle(3, 400), on_a_circle(1, 400), on_a_circle(1, 30)])
    labels = torch.tensor([0] * 400 + [1] * 400 + [2] * 30)
    data = TensorData(x, labels, name="modes")
    assert modes(Examples.of(data, len(data))) == {0: 3, 1: 1}
    report = inspect_priors(data, ["gmm"])
    assert modes_line(report) == "modes of a label: least 1, median 2, most 3 (2 labels)"
    alone = TensorData(x[:400], name="modes")
    assert modes(Examples.of(alone, len(alone))) == {POOLED: 3}
    assert modes_line(inspect_priors(alone, ["gmm"])) == "modes of the data: 3"
    assert inspect_priors(alone, ["gmm"], suggestion=False).modes == {}
