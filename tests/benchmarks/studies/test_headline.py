"""The headline study: settings are chosen on held-out images, the same ones for every run of a method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

from benchmarks.studies.headline import grids, settings
from flowprior.study.runs import variants
from flowprior.study.table import read_table

METHODS = ("gaussian+condot", "ddpm", "flow_matching")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The study with three methods and short trainings on digits, its runs and results in a folder."""
    tree: dict[str, Any] = dict(grids.study())
    tree["methods"] = {method: tree["methods"][method] for method in METHODS}
    tree["choice"] = tree["choice"] | {"steps": 4, "samples": 40, "nfe": [2], "metrics": ["fid"]}
    tree["data"] = {"digits": tree["data"]["digits"] | {"model": "unet:widths=4"}}
    tree["shared"] = tree["shared"] | {"evaluation": {"batch_size": 40}, "training": {"warmup": 1}}
    monkeypatch.setattr(grids, "study", lambda: tree)
    monkeypatch.setattr(grids, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(settings, "RESULTS", tmp_path)
    monkeypatch.setattr(settings, "SCORED", ("fid-cnn128",))
    return tmp_path


def test_every_setting_of_every_method_can_be_trained_and_none_sees_the_test_split() -> None:
    for data in grids.study()["data"]:
        grid = settings.choice_grid(data, grids.study()["methods"])
        found = variants(grid)
        assert all(own.skipped is None and not own.refused_samplers for own in found)
        assert grid.splits == ("validation",)
        own = {
            (label.split(", ")[0], grid.training_of(label).time, grid.training_of(label).lr)
            for label in grid.variants
        }
        assert len(own) == len(found) == 48


def test_the_setting_of_the_lowest_distance_is_chosen(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "store", lambda name, runs: None)
    settings.choose("digits")
    table = read_table(small / "runs" / "choice-digits")
    assert set(table["split"].dropna()) == {"validation", "training"}
    rows = table[(table["metric"] == "fid-cnn128") & (table["nfe"] == 2)]
    assert len(rows) == 4 * 3 + 4  # three step schedules, one for DDPM
    monkeypatch.setattr(settings, "read_table", lambda path: table)
    found = settings.chosen("digits")
    for method in ("gaussian+condot", "ddpm"):
        own = rows[rows["label"].str.startswith(method)]
        best = own.loc[own["value"].idxmin()]
        assert found[method] == {"time": best["time"], "lr": best["lr"], "sampler": best["sampler"]}
    assert found["flow_matching"] == found["gaussian+condot"]
    assert grids.variant("ddpm", found["ddpm"])["training"]["prediction"] == "epsilon"


def test_the_score_is_the_mean_logarithm_over_evaluations_and_features() -> None:
    rows = [
        {"label": f"a, uniform, {lr}", "flow": f"a, uniform, {lr}", "time": "uniform", "lr": lr}
        | {"sampler": "s", "nfe": nfe, "metric": metric, "value": value}
        for lr, values in {0.1: (1.0, 100.0), 0.2: (9.0, 9.0)}.items()
        for nfe in (1, 4)
        for metric, value in zip(settings.SCORED, values, strict=True)
    ]
    found = settings.scores(pandas.DataFrame(rows))
    assert found["lr"].tolist() == [0.2, 0.1]
    assert found["score"].tolist() == pytest.approx([2.1972246, 2.3025851])
