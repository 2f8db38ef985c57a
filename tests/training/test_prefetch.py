"""Pairs that a worker thread prepares: the same ones, no more than are asked for, and its errors."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.couplings.drawing import CondOTCoupling
from flowprior.data import TensorData
from flowprior.errors import InputError
from flowprior.training import train
from flowprior.training.batches import PairStream, Prefetched, Randomness

from .conftest import SHORT, components, small_net


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pairs")]


def run_on(data: Any, out: Path | None = None, **options: Any) -> Any:
    parts: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": small_net(0.3)}
    return train(data, out=out, **{**parts, **SHORT, **options})


@pytest.mark.parametrize(
    "parts",
    [
        {"coupling": "ot:ot_batch=32", "prior": "gmm:components=2"},
        {"coupling": "posterior", "prior": "latent-gmm:rank=1,components=2", "condition_dropout": 0.3},
        {"coupling": "semidiscrete:passes=4"},
    ],
    ids=["ot", "posterior", "semidiscrete"],
)
@pytest.mark.filterwarnings("ignore:coupling 'semidiscrete'")
def test_the_weights_are_those_of_pairs_made_in_line(points: TensorData, parts: Any) -> None:
    inline = run_on(points, **parts)
    for ahead in (1, 5):
        threaded = run_on(points, prefetch=ahead, **parts).state_dict()
        for name, value in inline.state_dict().items():
            assert torch.equal(value, threaded[name]), name
    assert threads() == []


class Noted(CondOTCoupling):
    """Counts its batches, and fails at one of them."""

    def __init__(self, fails_at: int = -1) -> None:
        self.drawn, self.fails_at, self.by = 0, fails_at, set[str]()

    def draw(self, *arguments: Any, **options: Any) -> Tensor:
        self.by.add(threading.current_thread().name)
        if self.drawn == self.fails_at:
            raise InputError("no pairs for this one")
        self.drawn += 1
        return super().draw(*arguments, **options)


def stream(points: TensorData, coupling: Noted) -> PairStream:
    parts = components(points)
    return PairStream(parts.data, parts.prior, coupling, 8, Randomness(0))


def test_no_more_is_prepared_than_ahead_and_nothing_beyond_the_last_step(points: TensorData) -> None:
    coupling = Noted()
    with Prefetched(stream(points, coupling), range(1), 3, steps=6) as batches:
        for step, prepared in enumerate([4, 5, 6, 6, 6, 6]):
            batches.micro_batch(step)
            deadline = time.monotonic() + 10
            while coupling.drawn < prepared and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.01)
            assert coupling.drawn == prepared
    assert len(coupling.by) == 1
    assert coupling.by != {threading.main_thread().name}
    assert batches.seconds_waited > 0
    assert threads() == []


def test_an_error_of_the_worker_ends_the_training_at_its_step(points: TensorData, tmp_path: Path) -> None:
    coupling = Noted(fails_at=5)
    told: list[int] = []
    from flowprior.training import Callback

    class Notes(Callback):
        def on_step(self, step: int) -> None:
            told.append(step)

    with pytest.raises(InputError, match="no pairs for this one"):
        run_on(points, coupling=coupling, prefetch=2, callbacks=[Notes()])
    assert told == [1, 2, 3, 4, 5]
    assert threads() == []
