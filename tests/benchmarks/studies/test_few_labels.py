"""Digits as the studies take them: labels left out or with few examples, and distances of samples to them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pandas
import pytest
import torch

from benchmarks.studies import everything, few_labels
from benchmarks.studies.digits import UNSEEN, split, within_class_deviation, without_nines
from benchmarks.studies.few_labels import few_digits
from flowprior import Coupling, Prior
from flowprior.conditions import Condition
from flowprior.data import load_data
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.paths import Path
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
