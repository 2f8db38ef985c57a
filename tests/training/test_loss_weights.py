"""Weights of the loss: what they multiply, and what they need."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.training import train
from flowprior.training.loss_weights import LossWeight


def test_output_scale_goes_from_equal_weights_of_the_velocity_to_equal_weights_of_the_output() -> None:
    scale = torch.tensor([[0.5, 2.0], [1.0, 4.0]])
    t = torch.zeros(2)
    assert torch.equal(LossWeight.create("output-scale", power=0.0).weight(t, scale), torch.ones(2, 2))
    assert torch.equal(LossWeight.create("output-scale").weight(t, scale), scale**-2)
    torch.testing.assert_close(LossWeight.create("output-scale", power=0.5).weight(t, scale), 1 / scale)


def test_a_prediction_without_output_scale_is_refused() -> None:
    with pytest.raises(OptionError, match=r"needs prediction 'preconditioned'.*got 'velocity'"):
        train("moons", prior="gaussian", coupling="condot", steps=1, loss_weight="output-scale")


@pytest.mark.parametrize("option", ["time", "loss_weight"])
def test_an_unknown_name_is_refused_before_anything_is_done(option: str) -> None:
    with pytest.raises(ValueError, match=r"unknown .*; did you mean|unknown .* known: "):
        train("moons", steps=1, **{option: "unifrom"})
