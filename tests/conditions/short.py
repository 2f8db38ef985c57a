"""Options of a training of a few steps, which leaves nothing behind."""

from __future__ import annotations

from typing import Any

SHORT: dict[str, Any] = {
    "steps": 4,
    "batch_size": 8,
    "warmup": 1,
    "checkpoint_every": 0,
    "sample_every": 0,
    "device": "cpu",
}
