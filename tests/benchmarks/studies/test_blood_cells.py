"""The distances between cells: what is zero, what a collapse gets, and that raw W2² is fooled by it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.studies import STUDIES, blood_cells, everything
from benchmarks.studies.blood_cells import compare_type, compare_types, energy_distance, real_data_score
from flowprior.study.grid import load_grid
from flowprior.study.running import run_grid
from flowprior.study.splits import Splits
from tests.benchmarks.studies.conftest import cells_of


def needs_cells() -> None:
    """Skip where the cells' file or its reader is not installed; scanpy itself need not import."""
    pytest.importorskip("anndata")
    if importlib.util.find_spec("scanpy") is None:
        pytest.skip("the cells come with scanpy")


def nearest(x: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(x, others, compute_mode="donot_use_mm_for_euclid_dist").min(1).values


def normal(count: int, seed: int, dims: int = 50) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed))


def test_raw_w2_prefers_copies_of_the_mean_and_the_others_do_not() -> None:
    real, twin = normal(30, 0), normal(30, 1)
    right = compare_type(normal(120, 2).view(4, 30, 50), real, twin)
    collapsed = compare_type(torch.zeros(4, 30, 50), real, twin)
    assert collapsed["raw"] < right["raw"]
    for name in ("debiased", "energy", "sliced"):
        assert right[name] < 0.4 * collapsed[name]
    assert abs(right["debiased"]) < 0.1 * right["raw"]


def test_the_energy_distance_is_unbiased_and_grows_with_a_shift() -> None:
    found = torch.tensor([energy_distance(normal(20, k, 2), normal(20, 500 + k, 2)) for k in range(200)])
    assert abs(float(found.mean())) < 3 * float(found.std()) / 200**0.5
    assert energy_distance(normal(50, 0), normal(50, 1) + 3) > 1
    one = energy_distance(torch.zeros(1, 1), torch.ones(1, 1))
    assert one == pytest.approx(2.0)


def test_every_type_counts_the_same() -> None:
    labels = torch.tensor([0] * 30 + [1] * 2)
    real = torch.where(labels[:, None] == 0, 0.0, 5.0).expand(32, 3)
    found = compare_types(lambda c: torch.zeros(len(c), 3), (real, labels), (real, labels), draws=2)
    assert found["raw"] == pytest.approx((0 + 75) / 2)
    assert real_data_score((real, labels), (real, labels))["raw"] == 0


def test_choice_and_result_see_other_cells() -> None:
    needs_cells()
    spec = "cells:seed=0,test_fraction=0.5"
    result, choice = Splits.load(spec), Splits.load(spec, 87)
    assert choice.validation is not None
    train, test = (everything(data)[0] for data in (result.train, result.test))
    inner, held_out = (everything(data)[0] for data in (choice.train, choice.validation))
    assert len(train) + len(test) == 700
    assert len(inner) + len(held_out) == len(train)
    assert nearest(held_out, test).min() > 0.1
    assert nearest(held_out, train).max() == 0


@pytest.mark.slow
def test_a_cell_has_its_values_and_those_of_real_cells_and_of_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_cells()
    monkeypatch.setattr(blood_cells, "NFES", (0, 4))
    short = ["training.steps=5", "training.warmup=1", "model=mlp:width=16,depth=1"]
    run_grid(load_grid(STUDIES / "blood_cells.toml", {}, short), tmp_path)
    cells = cells_of(tmp_path)
    plain, ours = cells["gaussian+condot"], cells["lowrank8+posterior"]
    assert [row["nfe"] for row in ours.select(metric="raw", flow="lowrank8+posterior")] == [0, 4]
    real = {"flow": "real data", "metric": "raw"}
    assert plain.select(**real) == ours.select(**real)
    assert ours.value("raw", flow="class means") < ours.value("raw", flow="real data")
    assert ours.value("energy", 0) < 0.5 * plain.value("energy", 0), "the priors alone"
