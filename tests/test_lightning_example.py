"""The example for Lightning trains a flow that samples and is saved."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from flowprior import Flow
from flowprior.data import load_data
from tests.markdown_blocks import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "lightning_module.py"


@pytest.mark.filterwarnings("ignore")
def test_it_trains_a_flow_that_is_saved(tmp_path: Path) -> None:
    pytest.importorskip("lightning.pytorch")
    example = runpy.run_path(str(EXAMPLE))
    flow = example["train"](load_data("digits"), steps=3)
    flow.save(tmp_path / "flow")
    again = Flow.load(tmp_path / "flow")
    drawn = [
        each.sample(torch.arange(10), nfe=2, generator=torch.Generator().manual_seed(0))
        for each in (flow, again)
    ]
    assert drawn[0].shape == (10, 1, 8, 8)
    assert torch.equal(*drawn)
