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
