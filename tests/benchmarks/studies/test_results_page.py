"""The sections say what the numbers say: who is best, what contradicts the literature, what has not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import CLASSIFIERS
from benchmarks.studies.results_page import RESULTS, TARGET, page, read_study
from benchmarks.studies.tables import chosen_setting, growth, over_rivals, paper_orders
from flowprior.evaluation.result import REAL_DATA
from flowprior.study.table import MixedEvaluations, read_cells, read_table
from tests.benchmarks.studies.conftest import read_stored
from tests.study.stored import OTHER, OURS, Row, cell, keep, rows

NFES = (0, 1, 2, 4, 8, 15, 30)
OWN_FORM = ("kills",)
"""Folders of files that hold no cells of a study."""
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir() and path.name not in OWN_FORM)


def constant(label: str, value: float, split: str = "test", nfes: tuple[int, ...] = NFES) -> list[Row]:
    """Two distances, the same at every number of evaluations."""
    at = {f"nfe{nfe}": value for nfe in nfes}
    return rows(label, "fid-cnn128", split, **at) + rows(
        label, "fid-lite0", split, **dict.fromkeys(at, 10 * value)
    )


def picture(label: str, seed: int = 0, validation: float = 1.0, test: float = 1.0, **columns: Any) -> Row:
    values = constant(label, test) + constant(label, validation, "validation")
    values += [
        {"flow": REAL_DATA, "split": "test", "metric": name, "value": 1.0}
        for name in ("fid-cnn128", "fid-lite0")
    ]
    columns = {"features": OURS, "reference": "9 test examples", "samples": 20} | columns
    run = {"parameters": 9, "training_examples": 50}
    return cell(label, [row | columns for row in values], seed, run)


def real_data(*metrics: str) -> list[Row]:
    return [{"flow": REAL_DATA, "split": "test", "metric": name, "value": 1.0} for name in metrics]


def test_nothing_that_has_not_run_is_shown(tmp_path: Path) -> None:
    assert page(tmp_path).startswith("# Results\n")
    assert "##" not in page(tmp_path)


def test_the_page_has_the_sections_that_ran(tmp_path: Path) -> None:
    text = TARGET.read_text(encoding="utf-8")  # page(), as tests/benchmarks/studies/test_claims.py sees to
    for title in ("# Results", "## Eight modes", "## Fashion-MNIST", "## 8gaussians", "## Timings"):
        assert title in text
    keep(tmp_path / "pictures-10", picture("gaussian+condot"), picture("ours"))
    text = page(tmp_path)
    assert "## Class-conditional pictures: pictures-10" in text
    assert text.count("\n## ") == 1
    assert "Evaluated by `cnn128 sha256 3e318618`" in text


def test_two_evaluators_in_one_section_are_refused(tmp_path: Path) -> None:
    keep(tmp_path / "pictures-10", picture("gaussian+condot"), picture("ours", features=OTHER))
    with pytest.raises(MixedEvaluations, match=r"pictures-10: expected one evaluator .*3e318618.*5568814b"):
        page(tmp_path)


def test_a_study_may_have_folders_of_one_reference_each(tmp_path: Path) -> None:
    for name, reference in (("small", "9 small"), ("large", "9 large")):
        keep(tmp_path / name, picture("ours", reference=reference))
    study = read_study(tmp_path)
    assert study is not None
    assert set(study.table["reference"].dropna()) == {"9 small", "9 large"}
    assert len(study.runs) == 2
    keep(tmp_path / "small", *(picture("ours", reference=name) for name in ("9 small", "9 large")))
    with pytest.raises(MixedEvaluations, match="small: expected one reference"):
        read_study(tmp_path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_stored_cells_of_a_study_have_one_evaluator_whose_weights_are_committed(folder: str) -> None:
    digests = {path.stem.rsplit("-", 1)[1] for path in CLASSIFIERS.glob("*.safetensors")}
    study = read_stored(RESULTS / folder)
    assert study is not None
    named = study.table["features"].dropna()
    classifiers = {name.split("sha256 ")[1][:8] for name in named if name.startswith("cnn128")}
    assert classifiers <= digests
    assert len(classifiers) <= 1


@pytest.mark.parametrize("folder", ["digits", "ablations", "unconditional-source", "eight-modes"])
def test_the_stored_cells_have_the_prior_alone(folder: str) -> None:
    cells = read_cells(RESULTS / folder)
    assert cells
    for name, found in cells.items():
        assert any(row.get("nfe") == 0 for row in found["rows"]), name


def test_the_choice_ignores_the_test_split(tmp_path: Path) -> None:
    values = {
        "gaussian+condot": (10.0, 10.0), "torchcfm-ot": (8.0, 20.0), "ddpm": (0.1, 0.1),
        "ours-a": (4.0, 9.0), "ours-b": (6.0, 1.0),
    }  # fmt: skip
    cells = [picture(name, seed, *both) for seed in (0, 1) for name, both in values.items()]
    table = read_table(keep(tmp_path, *cells))
    assert chosen_setting(table) == "ours-a"
    lucky = read_table(keep(tmp_path, *cells, picture("ours-c", 0, 1.0, 1.0)))
    assert chosen_setting(lucky) == "ours-a", "one run has no say beside two"
    for split, ratio in (("validation", 0.5), ("test", 0.9)):
        assert over_rivals(table, "fid-cnn128", split).loc["ours-a", 4] == ratio
    assert chosen_setting(table[table["flow"].isin(["gaussian+condot", "ddpm"])]) is None


def followed(label: str, values: dict[int, float], at_15: float) -> Row:
    """A setting with its way to ``at_15`` evaluations' distance."""
    on_the_way = [
        {"flow": label, "split": "test", "metric": metric, "step": step, "nfe": nfe, "value": value}
        for step, value in values.items()
        for nfe in (4, 15)
        for metric in ("fid-cnn128", "fid-lite0")
    ]
    found = picture(label, test=at_15)
    found["rows"] += on_the_way
    return found


def orders(folder: Path, *cells: Row) -> list[bool]:
    """Whether the paper's order holds, for each of the features."""
    return [holds for _, holds in paper_orders(read_table(keep(folder, *cells))).values()]


def test_steps_that_a_design_needs_and_the_papers_order(tmp_path: Path) -> None:
    base = followed("gaussian+condot", {100: 9.0, 200: 7.0, 300: 5.0}, 5.0)
    fast = followed("gmm+condot", {100: 6.0, 200: 5.0, 300: 4.0}, 4.0)
    slow = followed("latent", {100: 9.0, 200: 8.0, 300: 6.0}, 6.0)
    keep(tmp_path / "pictures-10", base, fast, slow)
    needed = page(tmp_path)
    assert "| `gmm+condot` | fid-cnn128 | 200 | 200 |" in needed
    assert "| `latent` | fid-lite0 | never | never |" in needed
    assert orders(tmp_path / "few", base, fast, slow) == []
    others = [followed("torchcfm-ot", {}, 5.0), followed("ddpm", {}, 20.0)]
    assert orders(tmp_path / "without", base, fast, others[0]) == [True, True]
    assert orders(tmp_path / "with", base, fast, *others) == [True, True]
    worse = followed("gmm+condot", {}, 5.5)
    assert orders(tmp_path / "worse", base, worse, *others) == [False, False]
    keep(tmp_path / "pictures-20", base, worse, *others)
    assert page(tmp_path).count("the paper's order **does not hold**") == 2


@pytest.mark.parametrize(
    ("fitted", "said"), [(12.0, "as SourceFM reports"), (3.0, "which contradicts SourceFM")]
)
def test_the_verdict_on_fitted_sources_follows_the_values(fitted: float, said: str, tmp_path: Path) -> None:
    cells = [
        cell(name, rows(name, nfe1=v, nfe4=v, nfe15=v) + real_data("fid-cnn128"), seed, part="unlabelled")
        for name, v in (("gaussian", 4.0), ("gmm2", fitted), ("gmm10+ot", 1.0))
        for seed in (0, 1, 2)
    ]
    keep(tmp_path / "unconditional-source", *cells)
    text = page(tmp_path)
    assert said in text
    assert f"`gmm2` {fitted / 4:.2f}" in text
    assert "`gmm10+ot` 0.25" not in text


def test_priors_worse_than_the_gaussian_are_named(tmp_path: Path) -> None:
    values = {"gaussian": 5.0, "latent-gmm:rank=8": 9.0, "learned-mean:sigma=0.7": 2.0}
    cells = [
        cell(prior, rows(prior, nfe1=v, nfe4=v, nfe15=v) + real_data("fid-cnn128"), prior=prior)
        for prior, v in values.items()
    ]
    keep(tmp_path / "ablations", *cells)
    text = page(tmp_path)
    assert "against the paper's claim: latent-gmm at NFE 1, latent-gmm at NFE 4" in text
    assert "σ = 0.7, the authors' value, is at 1.00 times the best at NFE 4" in text
    assert "| 2.0 | – |" in text


def blood_cell(part: str, name: str, value: float, seed: int) -> Row:
    values = []
    for metric in ("raw", "debiased", "energy", "sliced"):
        values += rows(name, metric, nfe0=value, nfe1=value, nfe2=value, nfe4=value, nfe15=value)
        for flow, anchor in ((REAL_DATA, 50.0), ("class means", 40.0)):
            values.append({"flow": flow, "split": "test", "metric": metric, "value": anchor})
    counts = {"training_cells": 7, "held_out_cells": 7, "draws": 4}
    return cell(name, values, seed, {"types": ["B", "T"], "held_out_of_each": [3, 4], **counts}, part=part)


def test_the_setting_of_the_blood_cells_is_chosen_on_the_choice_alone(tmp_path: Path) -> None:
    values = {"gaussian+condot": (10.0, 10.0), "gmm+ot": (3.0, 5.0), "full+ot": (4.0, 1.0)}
    cells = [
        blood_cell(part, name, value, seed)
        for name, both in values.items()
        for part, value in zip(("choice", "result"), both, strict=True)
        for seed in (0, 1)
    ]
    keep(tmp_path / "cells", *cells)
    text = page(tmp_path)
    assert "| raw W2² | `gmm+ot` | 0.50 | 2 of 2 | yes |" in text
    assert "rewards the collapse to the mean" in text


def test_growth_is_read_off_the_finished_sizes(tmp_path: Path) -> None:
    costs = ("fit_seconds", "fit_peak_bytes", "state_bytes", "sample_seconds", "log_prob_seconds")
    cells = []
    for size, cost in {10: 1.0, 100: 100.0, 1000: None}.items():
        values = [] if cost is None else [{"flow": "gmm", "metric": name, "value": cost} for name in costs]
        failed = {} if values else {"failed": "not done after 30 s"}
        cells.append(cell("gmm", values, run={"clock": None, **failed}, axis="conditions", conditions=size))
    keep(tmp_path / "overhead", *cells)
    text = page(tmp_path)
    assert "|  | growth p | 2.00 [2.00] |" in text
    assert "| gmm | 1,000 | not done after 30 s |" in text
    assert growth([10], [1.0]) is None
    assert growth([1, 10, 100], [1.0, 10.0, 0.0]) == "1.00"


def test_cells_that_another_classifier_evaluated_are_named(tmp_path: Path) -> None:
    keep(tmp_path / "pictures-10", picture("gaussian+condot"))
    told = {"pictures-10": {"evaluator": "cnn128 old", "cells": ["gaussian+condot-seed0", "gmm+ot-seed0"]}}
    (tmp_path / "dropped.json").write_text(json.dumps(told))
    text = page(tmp_path)
    assert "another classifier evaluated them (cnn128 old)" in text
    assert "trained again: `gmm+ot-seed0`." in text


def test_a_folder_without_cells_is_no_study(tmp_path: Path) -> None:
    assert read_study(tmp_path) is None
    study = read_study(keep(tmp_path, picture("ours")))
    assert study is not None
    assert study.only(label="theirs") is None
