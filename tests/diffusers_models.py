"""A tiny AutoencoderKL of diffusers, random and from a local configuration, saved as users have theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

SMALL: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [4, 8],
    "norm_num_groups": 2,
    "latent_channels": 3,
    "sample_size": 8,
}
"""Sides are halved, three channels stay."""


def save_kl(folder: Path, seed: int = 0, **options: Any) -> Any:
    """The model, in evaluation mode; its folder is what ``save_pretrained`` writes."""
    diffusers = pytest.importorskip("diffusers", reason="the test extra is not installed")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = diffusers.AutoencoderKL(**SMALL, **options).eval()
    model.save_pretrained(folder)
    return model
