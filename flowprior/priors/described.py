"""What a prior says of itself: whether it is fitted, to what, and its ``repr``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowprior.display import counted, shape_of
from flowprior.errors import NotFittedError
from flowprior.progress import Stage
from flowprior.registry import Registered


class DescribedPrior(nn.Module, Registered):
    """What every prior says of its fit; :class:`flowprior.priors.base.Prior` is what it does."""

    fitted_to: str = ""
    """What fit has read, in words; ``save`` keeps it, and it is empty where the state came otherwise."""

    event_dims: Tensor

    def __init__(self) -> None:
        super().__init__()
        # -1 marks an unfitted prior; a buffer, so that the shape travels in the state_dict.
        self.register_buffer("event_dims", torch.full((1,), -1, dtype=torch.long))

    def __repr__(self) -> str:
        return Registered.__repr__(self)  # not that of a module, which tells of its layers

    def _told(self) -> str:
        if "event_dims" not in self.__dict__.get("_buffers", {}) or not self.is_fitted:
            return "not fitted"
        events = self.fitted_to or f"events of shape {shape_of(self.event_shape)}"
        return f"fitted to {events}, {counted(_numbers(self), 'number')}"

    @property
    def is_fitted(self) -> bool:
        """Whether ``fit`` or ``load_state_dict`` has given the prior its state."""
        return min(self.event_dims.tolist(), default=0) >= 0

    @property
    def event_shape(self) -> torch.Size:
        """Shape of one sample."""
        self._require_fitted("event_shape")
        return torch.Size(self.event_dims.tolist())

    def __getattr__(self, name: str) -> Any:
        """As nn.Module, which would hide what the property of an unfitted prior has to say."""
        if name == "event_shape":
            self._require_fitted(name)
        return super().__getattr__(name)

    def _require_fitted(self, method: str) -> None:
        if not self.is_fitted:
            raise NotFittedError(f"{self.name}.{method}: the prior is not fitted; call prior.fit(data) first")


def tell_rows(line: Stage, rows: int) -> None:
    """Say how many rows a fit has read, in all of its passes."""
    line.update(rows, f"{counted(rows, 'row')} read")


def _numbers(prior: nn.Module) -> int:
    """How many numbers a prior keeps."""
    return sum(value.numel() for value in prior.state_dict().values() if isinstance(value, Tensor))
