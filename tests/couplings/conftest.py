"""What makes the average of the linear velocity exact."""

from __future__ import annotations

import pytest
import torch

from flowprior.couplings.pair_law import PairLaw, PairVariances


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variance outside of the axes made the same everywhere, where the closed form is exact."""
    outside = property(lambda self: PairVariances(1.0, torch.full_like(self.source_mean, 0.3), 0.0))
    monkeypatch.setattr(PairLaw, "outside", outside)
