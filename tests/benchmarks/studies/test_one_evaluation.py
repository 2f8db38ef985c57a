"""What one evaluation is worth, from tables whose answers are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas
import pytest

from benchmarks.studies import RESULTS, lead, one_evaluation
from benchmarks.studies.alike import UnlikeStudies
from benchmarks.studies.results_page import page
from flowprior.evaluation.result import table_row


def table() -> pandas.DataFrame:
    """The default best at 4 evaluations with 10, the average velocity at 1 with 12; two seeds about these."""
    values = {lead.OURS: {1: 40.0, 4: 10.0, 30: 11.0}, one_evaluation.AVERAGE: {1: 12.0, 4: 9.0}}
    rows = []
    for flow, found in values.items():
        for nfe, value in found.items():
            for seed, shift in enumerate((-0.5, 0.5)):
                common = {"flow": flow, "nfe": nfe, "seed": seed, "sampler": lead.GRID}
                rows.append(table_row("fid-lite0", value + shift, split="test", **common))
                rows.append(table_row("fid-lite0", value + shift, split="validation", **common))
    return pandas.DataFrame(rows).assign(label=lambda found: found["flow"])


def test_the_default_of_the_same_seeds_comes_from_the_other_study() -> None:
    rows = table()
    rows = rows[rows["nfe"].isin([1, 4])]
    average = rows[(rows["flow"] == one_evaluation.AVERAGE) & (rows["seed"] == 1)]
    found = one_evaluation.beside(average, rows)
    assert set(found["seed"]) == {1}
    assert one_evaluation.over_best(found, "fid-lite0") == pytest.approx(12.5 / 10.5)
    with pytest.raises(UnlikeStudies, match="nfe '1' or '4' and '4'"):
        one_evaluation.beside(average, rows[rows["nfe"] == 4])


def test_one_evaluation_is_compared_with_the_best_and_with_the_same() -> None:
    assert one_evaluation.over_best(table(), "fid-lite0") == pytest.approx(1.2)
    assert one_evaluation.over_same(table(), "fid-lite0") == pytest.approx(0.3)
    assert one_evaluation.over_best(table(), "fid-lite0", nfe=4) == pytest.approx(0.9)


def guided() -> pandas.DataFrame:
    """Averages at 1 evaluation: 12 as they are, 9 guided, of which the validation split says 8 and 10."""
    plain, turned = "flow-map:grid=last,at=0.7", "flow-map:grid=last,at=0.7,prior_guidance=1.2"
    rows = []
    for sampler, test, validation in ((plain, 12.0, 8.0), (turned, 9.0, 10.0)):
        for split, value in (("test", test), ("validation", validation)):
            common = {"flow": one_evaluation.AVERAGE, "nfe": 1, "seed": 0, "sampler": sampler}
            rows.append(table_row("fid-lite0", value, split=split, **common))
    return pandas.DataFrame(rows).assign(label=one_evaluation.AVERAGE)


def test_source_samples_are_chosen_on_the_validation_split_and_read_off_the_test_split() -> None:
    of_one_seed = table()[table()["seed"] == 0]
    found = one_evaluation.chosen_over_best(guided(), of_one_seed, ["fid-lite0"])
    assert found.loc["fid-lite0", "fid-lite0"] == pytest.approx(12.0 / 9.5)
    assert found.loc["fid-lite0", "options"] == "nothing else"


def test_a_late_start_is_chosen_on_the_validation_split_and_read_off_the_test_split() -> None:
    late = f"{lead.GRID},start=0.2"
    rows = [
        table_row("fid-lite0", value, split=split, flow=lead.OURS, nfe=1, seed=0, sampler=sampler)
        for sampler, test, validation in ((lead.GRID, 40.0, 30.0), (late, 35.0, 20.0))
        for split, value in (("test", test), ("validation", validation))
    ]
    found = one_evaluation.from_late_start(pandas.DataFrame(rows).assign(label=lead.OURS), ["fid-lite0"])
    assert found.loc["fid-lite0"].to_dict() == {"options": "`start=0.2`", "plain": 40.0, "chosen": 35.0}


def test_guided_flows_of_another_training_are_not_held_against_the_default() -> None:
    of_one_seed = table()[table()["seed"] == 0].assign(batch_size=64)
    with pytest.raises(UnlikeStudies, match="batch_size"):
        one_evaluation.chosen_over_best(guided().assign(batch_size=128), of_one_seed, ["fid-lite0"])


def test_rows_are_named_by_what_their_samplers_do_not_share() -> None:
    found = one_evaluation.by_sampler(guided(), ["fid-lite0"])
    assert found["fid-lite0", 1].to_dict() == {"nothing else": 12.0, "`prior_guidance=1.2`": 9.0}


def results(root: Path, cells: str, **setting: object) -> Path:
    """A folder of results with the stored average velocities, and these cells as those beside them."""
    shutil.copytree(RESULTS / "one-evaluation", root / "one-evaluation")
    (root / one_evaluation.VELOCITY).mkdir()
    for path in (RESULTS / cells).glob("default-seed*.json"):
        cell = json.loads(path.read_text(encoding="utf-8"))
        cell["setting"] |= setting
        (root / one_evaluation.VELOCITY / path.name).write_text(json.dumps(cell), encoding="utf-8")
    return root


def test_the_section_stands_with_the_same_network_and_with_no_other(tmp_path: Path) -> None:
    text = page(results(tmp_path / "same", "lead-16000", steps=8000))
    assert text.count("\n## One evaluation\n") == 1
    assert "(305,764 weights with the end of an interval as input, 293,348 without)" in text
    with pytest.raises(UnlikeStudies, match="model 'unet:widths=32-64' and 'unet:widths=32-64-128'"):
        page(results(tmp_path / "larger", "lead-8000"))
    shutil.rmtree(tmp_path / "same" / one_evaluation.VELOCITY)
    assert "## One evaluation" not in page(tmp_path / "same")
