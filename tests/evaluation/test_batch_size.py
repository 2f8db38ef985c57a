"""Batches that fit: by free memory and what a model puts out, halved where memory runs out all the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprior.evaluation import setting
from flowprior.evaluation.setting import fitting_batch_size, free_memory, halving
from flowprior.flow import Flow
from tests.gaussian_flow import flow_of


class Wide(nn.Module):
    """Puts out 1,000 numbers for each event of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 996), nn.Linear(996, 4)
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None) -> torch.Tensor:
        self.batches.append(len(x))
        return self.second(self.first(x))


def wide(classes: int = 0) -> Flow:
    return flow_of(Wide(), event=(4,), classes=classes, dtype=torch.float32)


def test_the_batch_fills_a_quarter_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting, "free_memory", lambda device: 4 * 100 * 4000)
    flow = wide()
    assert fitting_batch_size(flow) == 100
    assert flow.model.batches == [2]  # type: ignore[union-attr]
    guided = wide(classes=3)
    assert fitting_batch_size(guided, torch.tensor([1]), guidance=2.0) == 50
    monkeypatch.setattr(setting, "free_memory", lambda device: 10)
    assert fitting_batch_size(wide()) == 1


def test_memory_to_spare_and_functions_get_the_largest() -> None:
    assert free_memory(torch.device("cpu")) > 2**20
    assert fitting_batch_size(wide()) == 500
    assert fitting_batch_size(flow_of(lambda x, t, cond: x, event=(4,))) == 500


def test_no_hook_is_left_behind() -> None:
    flow = wide()
    fitting_batch_size(flow)
    assert not any(module._forward_hooks for module in flow.modules())


def test_sizes_are_halved_until_they_fit() -> None:
    tried: list[int] = []

    def run(size: int) -> str:
        tried.append(size)
        if size > 70:
            raise torch.OutOfMemoryError("out")
        return "done"

    assert halving(run, 300) == ("done", 37)
    assert tried == [300, 150, 75, 37]

    def never(size: int) -> str:
        raise torch.OutOfMemoryError("out")

    with pytest.raises(torch.OutOfMemoryError):
        halving(never, 4)
