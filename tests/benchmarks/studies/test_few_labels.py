"""Digits as the studies take them: labels left out, with few examples, or a prior fitted to one half."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import pandas
import pytest
import torch

from benchmarks.studies import everything, few_labels, half_fitted
from benchmarks.studies.digits import UNSEEN, split, within_class_deviation, without_nines
from benchmarks.studies.few_labels import few_digits
from benchmarks.studies.half_fitted import ERROR, SHARE, halves, nearest_in_half, train_half_fitted, values
from flowprior import Coupling, Flow, Prior, train
from flowprior.conditions import Condition
from flowprior.data import TensorData, load_data
from flowprior.errors import InputError
from flowprior.paths import Path
from flowprior.training import TrainingConfig
from flowprior.training.config import RunConfig
from flowprior.training.run import RunInfo
from tests.benchmarks.studies.conftest import Still


class Replays(Prior):
    """Gives examples of the labels back as they are."""

    def __init__(self, x: torch.Tensor, labels: torch.Tensor) -> None:
        super().__init__()
        self.x, self.labels = x, labels
        self.fit((x, labels))

    def _fit(self, data, generator):
        del data, generator

    def _sample(self, cond, n, generator):
        chosen = [(self.labels == label).nonzero()[:, 0] for label in cond]
        return torch.stack([self.x[rows[i % len(rows)]] for i, rows in enumerate(chosen)]).flatten(1)

    def _log_prob(self, x, cond):
        raise NotImplementedError

    def _mean(self, cond, n):
        raise NotImplementedError


def rows_of(data, spec: str) -> pandas.DataFrame:
    prior = Replays(*everything(data))
    flow = Flow(Still(), prior, Coupling.create("condot"), Path.create("condot"), Condition("labels", 10))
    cell = SimpleNamespace(seed=0, config=SimpleNamespace(data=spec))
    splits = SimpleNamespace(train=load_data(spec), test=split("test"))
    return pandas.DataFrame(few_labels.values(flow, cell, splits))


def value(rows: pandas.DataFrame, metric: str) -> float:
    found = rows[rows["metric"] == metric]
    assert len(found) == len(few_labels.NFES) * len(few_labels.GRIDS)
    assert found["value"].max() - found["value"].min() < 1e-3, "a still flow is the same everywhere"
    return float(found["value"].iloc[0])


@pytest.mark.parametrize("alone", [None, 3])
def test_copies_are_told_from_new_pictures(alone):
    spec = "few-digits:count=4,seed=1" + ("" if alone is None else f",alone={alone}")
    few = few_digits("train", 4, 1, alone)
    counts = torch.bincount(everything(few)[1])
    assert (counts == 4).sum() == (10 if alone is None else 1)
    kept, new = (rows_of(data, spec) for data in (few, split("test")))
    assert value(kept, few_labels.NEAREST) == 0
    assert value(new, few_labels.NEAREST) == pytest.approx(1, abs=0.15)
    assert value(new, few_labels.DISTANCE) < value(kept, few_labels.DISTANCE)


def test_the_few_are_chosen_class_by_class():
    two = few_digits("train", count=2, seed=0)
    assert everything(two)[1].bincount().tolist() == [2] * 10
    assert len(few_digits("train", count=10_000)) == len(split("train"))
    assert torch.equal(few_digits("test", count=2).x, split("test").x)
    assert not torch.equal(two.x, few_digits("train", count=2, seed=1).x)


@pytest.mark.slow
def test_the_study_brings_its_data_sets():
    """In a process that has loaded nothing else, as ``flowprior compare`` does."""
    program = (
        "from benchmarks.studies import STUDIES\n"
        "from flowprior.data import load_data\n"
        "from flowprior.study.grid import load_grid\n"
        "from flowprior.study.hooks import load_hook\n"
        "grid = load_grid(STUDIES / 'few_labels.toml')\n"
        "load_hook('values', grid.values)\n"
        "assert len(load_data(grid.data)) == 50\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_prior_without_a_fallback_refuses_the_unseen_label() -> None:
    assert UNSEEN not in everything(without_nines())[1]
    assert UNSEEN in everything(without_nines("test"))[1]
    prior = Prior.create("gmm", conditions=10).fit(without_nines().batches())
    with pytest.raises(InputError, match="unseen=pooled"):
        prior.sample(torch.tensor([UNSEEN]))


def test_deviation_within_classes_leaves_the_means_out() -> None:
    labels = torch.arange(4000) % 2
    x = 0.5 * torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) + 10 * labels[:, None]
    assert abs(float(within_class_deviation(x, labels)) - 0.5) < 0.01


# -- a prior fitted to one half -------------------------------------------------------------------


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


def test_an_interrupted_run_goes_on_to_the_flow_of_the_whole_one(data, tmp_path: FilePath):
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
