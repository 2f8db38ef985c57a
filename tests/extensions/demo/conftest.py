"""Small flows of captions, of labels, and of points, whose page is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowprior.data import TensorData
from flowprior.flow import Flow
from flowprior.training import train
from tests.words import WordEncoder

TRAINING = {"steps": 4, "batch_size": 16, "warmup": 1, "device": "cpu", "sample_every": 0}
COLOURS = {"red": (1.0, -1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
CAPTIONS = [f"a {mood} {colour} cat" for mood in ("sleepy", "happy") for colour in COLOURS] * 8


@pytest.fixture(scope="session")
def caption_flow() -> Flow:
    """Plain pictures of the colours that their captions name, by an encoder without weights."""
    encoder = WordEncoder()
    shades = torch.tensor([next(rgb for name, rgb in COLOURS.items() if name in text) for text in CAPTIONS])
    x = 0.8 * shades[:, :, None, None].expand(-1, 3, 6, 6).contiguous()
    data = TensorData(x, encoder.encode(CAPTIONS).pooled, name="colours", is_image=True)
    parts = {"prior": "learned-mean:epochs=20,hidden=16", "coupling": "condot", "model": "mlp:width=16"}
    flow = train(data, **parts, condition_dropout=0.1, **TRAINING)
    flow.text_encoder = encoder
    return flow


@pytest.fixture(scope="session")
def label_flow() -> Flow:
    """Pictures of two classes that have names."""
    x = torch.linspace(-1, 1, 32)[:, None, None, None].expand(-1, 1, 5, 5).contiguous()
    names = ["dark", "bright"]
    data = TensorData(x, (torch.arange(32) // 16), name="shades", is_image=True, class_names=names)
    return train(data, prior="gaussian", coupling="condot", model="mlp:width=16", **TRAINING)


@pytest.fixture(scope="session")
def point_flow() -> Flow:
    """Points of the plane, without a condition."""
    x = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    return train(x, prior="gaussian", coupling="condot", model="mlp:width=16", **TRAINING)


@pytest.fixture(scope="session")
def label_run(label_flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "shades"
    label_flow.save(folder)
    return folder
