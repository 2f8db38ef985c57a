"""What the page says of restorations, from a table whose answers are known."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from benchmarks.studies import RESULTS, emoji_restoration, restoration
from benchmarks.studies.results_page import DOCS, page
from benchmarks.studies.tables import BASE
from flowprior.evaluation.result import REAL_DATA, table_row
from flowprior.study.table import read_table
from tests.study.stored import Row, cell, keep, rows

SAMPLERS = ("euler", "euler:grid=last,at=0.7")


def table(better_at: dict[int, float]) -> pandas.DataFrame:
    """Values of both settings, one seed: the baseline is at 10 and 8, ours at ``better_at`` of it."""
    rows = []
    for metric in restoration.JUDGED:
        for nfe, base in {1: 10.0, 4: 8.0}.items():
            for number, sampler in enumerate(SAMPLERS):
                for split in ("test", "validation") if metric.startswith("fid") else ("test",):
                    common = {"sampler": sampler, "nfe": nfe, "seed": 0, "split": split}
                    value = base + number * (1 if nfe == 1 else -1)  # the second grid is better at 4 alone
                    rows.append(table_row(metric, value, flow=BASE, **common))
                    rows.append(table_row(metric, value * better_at[nfe], flow=restoration.OURS, **common))
    return pandas.DataFrame(rows)


def test_distances_stand_at_the_grid_that_the_validation_split_prefers_and_scores_at_equal_steps():
    found = table({1: 0.5, 4: 0.5})
    assert restoration.values(found, "fid-lite0").loc[BASE].tolist() == [10.0, 7.0]
    assert restoration.values(found, "crps").loc[BASE].tolist() == [10.0, 8.0]


def test_the_design_at_four_is_held_against_the_best_of_the_baseline():
    found = restoration.against_best(table({1: 0.5, 4: 0.9}))
    assert found.tolist() == pytest.approx([0.9, 0.9, 0.9])
    assert list(found.index) == list(restoration.JUDGED)


def test_where_the_baseline_is_ahead_is_named():
    assert restoration.behind(table({1: 0.5, 4: 0.9})) == []
    assert restoration.behind(table({1: 1.1, 4: 0.9})) == [f"{metric} at 1" for metric in restoration.JUDGED]


def emoji_cell(label: str, value: float) -> Row:
    """All that the study of emoji measures, the same at every number of evaluations, halved at 4."""
    at = {"nfe0": value, "nfe1": value, "nfe4": value / 2}
    names = (*emoji_restoration.DISTANCES, *emoji_restoration.SCORES)
    found = [row for name in names for row in rows(label, name, **at)]
    for name in emoji_restoration.DISTANCES:
        found += rows(label, name, "validation", **at)
    if label == restoration.OURS:
        found += [
            row for name in names for row in rows(restoration.MEAN, f"{name}{restoration.ALONE}", nfe0=3.0)
        ]
    found += rows(label, "crps", "training", **at) + rows(label, "psnr", "training", **at)
    real = {"flow": REAL_DATA, "split": "test", "metric": "caption-top5-lite0", "value": 0.25}
    columns = {"features": "lite0 64px sha256 57934424", "reference": "9 test examples"}
    return cell(label, [row | columns for row in [*found, real]])


def test_restored_emoji_have_a_section_with_distances_that_need_no_classifier(tmp_path: Path) -> None:
    keep(tmp_path / "emoji-inpainting", emoji_cell(BASE, 8.0), emoji_cell(restoration.OURS, 6.0))
    text = page(tmp_path)
    assert text.count("\n## ") == 1
    assert "### emoji-inpainting: a hidden rectangle of half the sides" in text
    assert "| kid-lite0, `learned+condot` | 6.00 | 3.00 |" in text
    assert "| caption-top5-lite0, `learned+condot, mean` | 3.000 |" in text
    assert "**0.75** (kid-lite0), **0.75** (fid-lite0), **0.75** (crps)." in text
    assert "nearest of 300 in 0.250." in text
    assert "`learned+condot` has crps 3.0000 on test and 3.0000 on training pictures" in text
    assert "fid-cnn128" not in text
    assert "the prior's mean alone" not in text, "3 at a start is as near as the flow at 4, and no nearer"
    keep(tmp_path / "emoji-inpainting", emoji_cell(BASE, 8.0), emoji_cell(restoration.OURS, 7.0))
    assert "the prior's mean alone is nearer" in page(tmp_path)


@pytest.mark.parametrize("folder", [task for task in emoji_restoration.TASKS if (RESULTS / task).is_dir()])
def test_the_table_of_emoji_in_the_docs_is_what_the_cells_say(folder: str) -> None:
    text = (DOCS / "restoration.md").read_text(encoding="utf-8")
    for row in emoji_restoration.summary(read_table(RESULTS / folder), folder.removeprefix("emoji-")):
        assert row in text
