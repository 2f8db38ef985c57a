"""A prior fitted to one half of the data: the share of samples near that half, and an unchanged training."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas
import pytest
import torch

from benchmarks.studies import everything, half_fitted
from benchmarks.studies.few_labels import few_digits
from benchmarks.studies.half_fitted import ERROR, SHARE, halves, nearest_in_half, train_half_fitted, values
from flowprior import Flow, train
from flowprior.data import TensorData
from flowprior.training import TrainingConfig
from flowprior.training.config import RunConfig
from flowprior.training.run import RunInfo

COPIES = "gmm:components=2,covariance=spherical"
"""With two examples of a label each of them is a component, without a spread."""
SEED = 3


def config(prior: str, **options: Any) -> RunConfig:
    """What a study asks a trainer for."""
    budget: dict[str, Any] = {"steps": 4, "batch_size": 8, "warmup": 2, "sample_every": 0, "device": "cpu"}
    training = TrainingConfig(**budget | options, seed=SEED)
    return RunConfig(prior=prior, coupling="condot", model="mlp:width=16", training=training)


@pytest.fixture(scope="module")
def data() -> TensorData:
    """Four digits of each label."""
    return few_digits(count=4)


def found(flow: Flow, data: TensorData) -> pandas.DataFrame:
    """The values by number of evaluations."""
    rows = values(flow, SimpleNamespace(seed=SEED), SimpleNamespace(train=data))
    return pandas.DataFrame(rows).pivot_table(index="nfe", columns="metric", values="value")


def test_samples_of_a_prior_that_copies_its_data_are_near_the_half_that_it_was_fitted_to(data, monkeypatch):
    monkeypatch.setattr(half_fitted, "SAMPLES", 100)
    monkeypatch.setattr(half_fitted, "NFES", (0, 1))
    half = found(train_half_fitted(config(COPIES), data), data)
    assert half[SHARE][0] == 1
    assert list(half.index) == [0, 1]
    assert half[ERROR][0] < 0.15
    whole = found(train(data, config=config(COPIES.replace("=2", "=4"))), data)
    assert abs(whole[SHARE][0] - 0.5) < 3 * whole[ERROR][0]


def test_halves_are_of_every_label_and_follow_from_data_and_seed(data):
    parts = [everything(part) for part in halves(data, SEED)]
    assert [labels.bincount().tolist() for _, labels in parts] == [[2] * 10] * 2
    assert len(torch.cat([x for x, _ in parts]).unique(dim=0)) == len(data)
    assert torch.equal(everything(halves(few_digits(count=4), SEED)[0])[0], parts[0][0])
    assert not torch.equal(everything(halves(data, SEED + 1)[0])[0], parts[0][0])


def test_the_share_counts_the_samples_near_one_half_and_ties_as_half():
    points = torch.arange(8.0)[:, None]
    half, others = TensorData(points[:4], None), TensorData(points[4:], None)
    x = torch.tensor([[0.1], [2.9], [3.5], [7.0]])  # two in the half, one between the halves
    share, error = nearest_in_half(x, half, others)
    assert share == 0.625
    # A quarter, half and a quarter of the samples have the same nearest: (1/4 (1/16 + 1/4 + 1/16 - 1/8))^½.
    assert error == 0.25


def test_an_interrupted_run_goes_on_to_the_flow_of_the_whole_one(data, tmp_path: Path):
    short = config("latent-gmm:rank=2", checkpoint_every=2, keep_checkpoints=5)
    whole = train_half_fitted(short, data, tmp_path).state_dict()
    shutil.rmtree(tmp_path / "flow")
    shutil.rmtree(tmp_path / "checkpoints" / "step-000004")
    resumed = train_half_fitted(short, data, tmp_path).state_dict()
    assert [entry["step"] for entry in RunInfo(tmp_path / "info.json").read()["resumed"]] == [2]
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    loaded = Flow.load(tmp_path).prior.state_dict()
    assert all(torch.equal(value, resumed[f"prior.{name}"]) for name, value in loaded.items())
