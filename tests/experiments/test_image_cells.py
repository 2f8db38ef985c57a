"""One cell of the class-conditional experiment on a few points: what is measured, on what, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.experiments import image_cells
from benchmarks.experiments.image_cells import Plan, can_spend, run_cell
from benchmarks.experiments.judge import Judge
from benchmarks.experiments.settings import CONDOT, DDPM
from benchmarks.experiments.validation import everything, split_validation
from flowprior.data import TensorData, load_data
from flowprior.evaluation import FeatureMoments
from flowprior.training import list_checkpoints


def points(count: int, seed: int) -> TensorData:
    labels = torch.arange(count) % 3
    noise = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return TensorData(noise + 3 * labels[:, None], labels, name="points", classes=3)


@pytest.fixture(scope="module")
def plan() -> Plan:
    train, validation = split_validation(points(360, 0), 60)
    judge = Judge(train, {"test": points(90, 1), "validation": validation}, 100, with_lite0=False)
    budget = {"model": "mlp:width=16", "batch_size": 32, "warmup": 1, "sample_every": 0, "device": "cpu"}
    return Plan(train, lambda: judge, steps=6, samples=40, snapshots=3, curve_samples=30, budget=budget)


def test_the_validation_part_is_held_out_class_by_class() -> None:
    data = load_data("digits")
    train, validation = split_validation(data, 200)
    kept, held = set(train.indices.tolist()), set(validation.indices.tolist())
    assert kept.isdisjoint(held)
    assert len(kept | held) == len(data)
    _, labels = everything(validation)
    assert labels is not None
    assert labels.bincount().min() >= 18
    assert labels.bincount().max() <= 22
    x, _ = train.batch(torch.tensor([5, 0]))
    torch.testing.assert_close(x[0], data.batch(train.indices[5:6])[0][0])


def test_a_cell_has_every_figure(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cells, "NFES", (1, 4))
    monkeypatch.setattr(image_cells, "ODE_SAMPLERS", ("heun", "rk4"))
    cell = run_cell(CONDOT, 0, plan, tmp_path / "run", with_samplers=True)
    for reference in ("rows", "validation"):
        assert [row["nfe"] for row in cell[reference]] == [1, 4]
        assert all(row.keys() == {"nfe", "accuracy", "fid-mlp128"} for row in cell[reference])
    assert cell["rows"][0]["fid-mlp128"] != cell["validation"][0]["fid-mlp128"]
    curve = [(row["step"], row["nfe"]) for row in cell["curve"]]
    assert curve == [(2, 4), (2, 15), (4, 4), (4, 15), (6, 4), (6, 15)]
    assert [(row["sampler"], row["nfe"]) for row in cell["samplers"]] == [("heun", 4), ("rk4", 4)]
    assert cell["training_examples"] == 300
    assert cell["reference"] == "90 test examples"
    assert [step for step, _ in list_checkpoints(tmp_path / "run" / "checkpoints")] == [6]


def test_a_cell_is_the_same_when_it_is_judged_again(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cells, "NFES", (2,))
    first, again = (run_cell(DDPM, 1, plan, tmp_path / "run", with_samplers=False) for _ in range(2))
    assert first["rows"] == again["rows"]
    assert first["samplers"] == []
    assert first["prediction"] == "epsilon"


def test_the_judge_compares_with_each_reference(plan: Plan) -> None:
    judge = plan.make_judge()
    x, labels = plan.data.batch(torch.arange(60))
    found = judge.figures(x, labels)
    real, _ = everything(points(90, 1))
    moments = [FeatureMoments.of([judge.classifier.features(part)]) for part in (x, real)]
    assert found["test"]["fid-mlp128"] == pytest.approx(moments[0].distance(moments[1]))
    assert found["test"]["accuracy"] == found["validation"]["accuracy"] > 0.8
    assert any("sha256" in identity for identity in judge.identities)


def test_what_a_sampler_can_spend() -> None:
    assert can_spend("ddim", 7)
    assert can_spend("euler", 1)
    assert can_spend("heun3", 15)
    assert not can_spend("rk4", 30)
    assert not can_spend("explicit_adams", 2)
