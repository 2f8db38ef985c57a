"""Residual MLP: shapes of any kind, its size, and that it learns."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.models import MLP


@pytest.mark.parametrize("event", [(2,), (5, 3), (2, 3, 4, 5)])
def test_events_of_any_shape_are_flattened_inside(event):
    model = MLP(torch.Size(event), Condition(), width=8, depth=1)
    assert model(torch.randn(3, *event), torch.rand(3)).shape == (3, *event)


def test_parameters_are_as_many_as_the_layers_have():
    """Embedding of the time, input, blocks, norm, output, table of labels."""
    width, depth, size, labels = 16, 2, 2, 3
    time = 128 * width + width + width * width + width
    block = 2 * width * width + 2 * width + 2 * (width * width + width)
    ends = size * width + width + width * size + size + 2 * width
    model = MLP(torch.Size([size]), Condition("labels", labels), width=width, depth=depth)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == time + depth * block + ends + (labels + 1) * width


def test_learns_a_velocity_that_depends_on_time_and_label(generator):
    torch.manual_seed(0)
    model = MLP(torch.Size([2]), Condition("labels", 2), width=32, depth=2)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    sign = torch.tensor([-1.0, 1.0])
    for _ in range(150):
        x, t = torch.randn(128, 2, generator=generator), torch.rand(128, generator=generator)
        label = torch.randint(2, (128,), generator=generator)
        target = sign[label, None] * (x + t[:, None])
        loss = (model(x, t, label) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2
