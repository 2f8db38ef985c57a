"""Means of what every step yields, without waiting for the device at every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RunningMean:
    """Means of the loss and the gradient norm since the last log line, held on the device they came from."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(2, dtype=torch.float32, device=device)
        self.count = 0

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Add one step's values, without waiting for the device."""
        self.sums += torch.stack([loss.detach().float(), norm.detach().float()])
        self.count += 1

    def is_finite(self) -> bool:
        """Whether every value since the last reset was finite; waits for the device."""
        return bool(torch.isfinite(self.sums).all())

    def means(self) -> tuple[float, float]:
        """(loss, gradient norm), NaN before the first value; waits for the device."""
        loss, norm = (self.sums / self.count).tolist() if self.count else (float("nan"),) * 2
        return loss, norm

    def reset(self) -> None:
        """Start over."""
        self.sums.zero_()
        self.count = 0

    def state(self) -> dict[str, Any]:
        """For a checkpoint between two log lines."""
        return {"sums": self.sums.cpu(), "count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.sums.copy_(state["sums"])
        self.count = int(state["count"])
