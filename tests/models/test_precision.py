"""Precision of a network's passes: what a context does, and the warning where bfloat16 is emulated."""

from __future__ import annotations

import warnings

import pytest
import torch

from flowprior import train
from flowprior.models import base
from flowprior.models.base import in_precision, warn_of_emulation

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["has it", "emulates it"])
def has(request, monkeypatch) -> bool:
    """Whether the processor has bfloat16."""
    monkeypatch.setattr(base, "processor_has_bfloat16", lambda: request.param)
    return request.param


def test_a_product_is_in_the_precision_of_its_context():
    x = torch.ones(2, 2)
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with in_precision(name, CPU):
            assert (x @ x).dtype == dtype


def test_bfloat16_warns_where_it_is_emulated_alone(has):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_emulation("somebody", "float32", CPU)
        warn_of_emulation("somebody", "bfloat16", torch.device("cuda"))
        assert not caught
        warn_of_emulation("somebody", "bfloat16", CPU)
    assert [str(w.message).split(":")[0] for w in caught] == ([] if has else ["somebody"])


def test_the_processor_is_asked():
    """Whatever it answers: the function of torch that it asks is there."""
    assert base.processor_has_bfloat16() in (True, False)


def test_without_onednn_nothing_is_known(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert base.processor_has_bfloat16()


def test_training_says_so(monkeypatch):
    monkeypatch.setattr(base, "processor_has_bfloat16", lambda: False)
    data = torch.randn(20, 2)
    with pytest.warns(
        RuntimeWarning, match="training: this processor has no bfloat16 .* choose precision float32"
    ):
        train(
            data,
            prior="gaussian",
            coupling="condot",
            model="mlp:width=4,depth=1",
            steps=1,
            precision="bfloat16",
        )
