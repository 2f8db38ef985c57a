"""What is measured before the first step."""

from __future__ import annotations

import json

import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.priors import Prior
from flowprior.training import measures
from flowprior.training.batches import PairStream, Randomness
from flowprior.training.measures import measure_starts


def pairs_of(data: TensorData, coupling: str, batch_size: int = 16) -> PairStream:
    prior = Prior.create("gmm").fit(data.batches())
    return PairStream(data, prior, Coupling.create(coupling), batch_size, Randomness(0))


def test_ot_pays_less_than_unpaired_and_condot_the_same(points: TensorData) -> None:
    ot, condot = (measure_starts(pairs_of(points, name)) for name in ("ot", "condot"))
    assert ot["transport_cost"] < 0.8 * ot["transport_cost_unpaired"]
    assert condot["transport_cost"] == pytest.approx(condot["transport_cost_unpaired"], rel=0.4)
    # The unpaired starts are the same ones for both.
    assert ot["transport_cost_unpaired"] == condot["transport_cost_unpaired"]


def test_pairs_are_drawn_as_many_at_once_as_in_training(
    points: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_of(points, "condot", batch_size=16)
    sizes: list[int] = []
    draw = pairs.coupling.draw

    def recorded(prior: Prior, x1: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        sizes.append(len(x1))
        return draw(prior, x1, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(
        measures, "source_mismatch", lambda *a, **k: type("Gap", (), {"as_dict": lambda self: {}})()
    )
    monkeypatch.setattr(pairs.coupling, "draw", recorded)
    measure_starts(pairs)
    assert sizes == [16, 16, 16, 2]


def test_at_most_as_many_examples_as_are_stated_and_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TensorData(torch.randn(600, 2, generator=torch.Generator().manual_seed(0)))
    sizes: list[int] = []
    batch = data.batch
    monkeypatch.setattr(data, "batch", lambda indices: (sizes.append(len(indices)), batch(indices))[1])
    measured = measure_starts(pairs_of(data, "condot", batch_size=512))
    assert sizes[-1] == measures.EXAMPLES < 600
    assert json.loads(json.dumps(measured)) == measured
