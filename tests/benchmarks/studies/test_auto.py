"""What is kept of the study of `--prior auto`, and the ratios that the page shows."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest
import torch
import typer

from benchmarks.studies import auto, auto_divisions
from flowprior.study import grid_from_dict, run_grid
from flowprior.study.running import Outcome
from tests.expected_warnings import FEW_REFERENCES

BUDGET = {"steps": 2, "warmup": 1, "batch_size": 16, "device": "cpu", "log_every": 1}


def test_the_energy_distance_is_of_each_label_on_its_own() -> None:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    cond = torch.arange(400) % 2
    x = x + 5.0 * cond[:, None]
    again = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1)) + 5.0 * cond.repeat(10)[:, None]
    assert abs(auto.energy_distance(again, x, cond)) < 0.02
    assert auto.energy_distance(again.flip(0), x, cond) > 0.3, "labels are exchanged"


def rows(values: dict[str, float], seeds: int = 1, apart: float = 0.0) -> pandas.DataFrame:
    found = [
        {
            "metric": "energy_score",
            "flow": flow,
            "prior": flow.split("+")[0],
            "coupling": "ot",
            "seed": seed,
            "sampler": sampler,
            "nfe": nfe,
            "value": value + late * (nfe > 4) + apart * seed * (flow == "auto"),
        }
        for flow, value in values.items()
        for seed in range(seeds)
        for sampler, late in (("euler", 0.0), ("power", 1.0))
        for nfe in (4, 15)
    ]
    return pandas.DataFrame(found)


VALUES = {"auto": 1.2, "gaussian+condot": 1.6, "gmm+ot": 1.0}


def test_the_choice_is_compared_with_the_best_of_the_others_each_at_its_own_times() -> None:
    found = auto.outcome(rows(VALUES), "energy_score")
    assert [found[nfe]["best"] for nfe in (4, 15)] == ["gmm+ot", "gmm+ot"]
    assert found[4]["over best"].value == pytest.approx(1.2)
    assert found[15]["over best"].value == pytest.approx(1.2)
    assert found[4]["over N(0, I)"].value == pytest.approx(0.75)


def test_a_choice_that_differs_between_divisions_has_the_times_of_each_design() -> None:
    """A flow under two names has one value, though other times would suit it on that division alone."""
    table = rows({"auto": 1.0, "gaussian+condot": 1.6, "gmm+ot": 1.0}, seeds=2)
    late = (table.sampler == "power") & (table.flow == "gmm+ot")
    table.loc[late & (table.seed == 0), "value"] = 0.5
    table.loc[late & (table.seed == 1), "value"] = 3.0
    twin = table[(table.flow == "gmm+ot") & (table.seed == 0)].assign(flow="auto")
    own = table[(table.flow == "auto") & (table.seed == 1)].assign(prior="gmm:covariance=full")
    own["sampler"] = own.sampler.replace("euler", "euler:grid=last,at=0.7")
    found = auto.of_each_seed(pandas.concat([table[table.flow != "auto"], twin, own]), "energy_score")
    assert found.notna().all(axis=None)
    assert found.loc[("auto", 0)].tolist() == found.loc[("gmm+ot", 0)].tolist() == [1.0, 1.0]
    assert found.loc[("auto", 1)].tolist() == [1.0, 1.0]


def test_a_ratio_has_the_standard_error_over_seeds() -> None:
    found = auto.outcome(rows(VALUES, seeds=3, apart=0.1), "energy_score")[4]["over best"]
    assert found.value == pytest.approx(1.3)
    assert found.error == pytest.approx(0.1 / 3**0.5)
    alone = auto.outcome(rows(VALUES), "energy_score")[4]["over best"]
    assert [auto.shown(ratio, 1.1) for ratio in (found, alone)] == ["**1.30** ± 0.06", "**1.20**"]
    assert auto.shown(auto.Ratio(1.04, 0.01), 1.1) == "1.04 ± 0.01"


def test_all_choices_are_named_where_divisions_choose_otherwise() -> None:
    table = rows(VALUES, seeds=2).assign(coupling="ot", prior="gmm:shrinkage=2.0,reg_covar=0.001")
    assert auto.chosen(table) == "`gmm:shrinkage=2.0` + `ot`"
    table.loc[table.seed == 1, "prior"] = "gmm"
    assert auto.chosen(table) == "`gmm:shrinkage=2.0` + `ot`, `gmm` + `ot`"


@FEW_REFERENCES
def test_a_choice_that_is_a_design_too_is_kept_under_both_names(tmp_path: Path) -> None:
    grid = {
        "data": "table:of=iris",
        "model": "mlp:width=8",
        "seeds": 1,
        "nfe": [0, 1],
        "samples": 90,
        "variants": {"full": {"prior": "gmm:covariance=full", "coupling": "ot"}, "auto": {"prior": "auto"}},
        "training": BUDGET,
        "curve": {"points": 0},
        "evaluation": {"metrics": ["sliced-w2"]},
    }
    assert run_grid(grid_from_dict(grid), tmp_path / "runs" / "auto-iris-0").finished == 1
    auto.keep(tmp_path / "runs", tmp_path)
    kept = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "auto" / "iris").iterdir()}
    assert sorted(kept) == ["auto-seed0", "full-seed0"]
    assert kept["auto-seed0"]["setting"]["label"] == "auto"
    assert {row["flow"] for row in kept["auto-seed0"]["rows"]} == {"auto", "real data"}
    assert [len(kept[name]["setting"]["reasons"]) for name in ("auto-seed0", "full-seed0")] == [3, 0]


def test_each_seed_has_a_division_of_its_own() -> None:
    grids = [auto_divisions.grid_of("iris", division) for division in (0, 2)]
    assert [(grid.data, grid.seeds) for grid in grids] == [
        ("table:of=iris,seed=0", (0,)),
        ("table:of=iris,seed=2", (2,)),
    ]
    assert grids[1].samples == 20 * 45


@pytest.mark.parametrize("outcome", [Outcome(interrupted=True), Outcome(failed={"full+ot": "no memory"})])
def test_no_division_is_begun_after_one_that_did_not_end_well(
    outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = {"auto-iris-1": Outcome(finished=7), "auto-iris-2": outcome}
    monkeypatch.setattr(auto_divisions, "run_grid", lambda grid, out: outcomes.pop(out.name))
    with pytest.raises(typer.Exit) as ended:
        auto_divisions.main("iris", divisions=3, first=1, out=tmp_path)
    assert ended.value.exit_code == 1
    assert not outcomes, "both were run, and the third, which there is no outcome of, was not"
