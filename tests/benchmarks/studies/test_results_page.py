"""The page of results, its charts and the README say what the stored results say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.studies import RESULTS, STUDIES, tables
from benchmarks.studies.charts import CHARTS, DIGEST, digest
from benchmarks.studies.results_page import DOCS, MARKED, README, TARGET, filled, page
from flowprior.study.table import read_rows, runs_of, write_results
from tests.markdown_blocks import REPOSITORY

TABLES = sorted(path.name.removesuffix(".csv.gz") for path in RESULTS.glob("*.csv.gz"))
NOT_RUN = {"imagenet64", "coco"}
"""The paper's two tables, for which data and weights are not here."""
EXAMPLE = {"digits_grid"}
"""What CI runs anew each time."""
OF_NO_GRID = {"component_counts", "overhead"}
ADVICE = "run python -m benchmarks.studies.results_page"


def test_the_committed_page_is_what_the_generator_gives() -> None:
    assert TARGET.read_text(encoding="utf-8") == page(), ADVICE


def test_the_sentences_of_the_readme_are_what_the_generator_gives() -> None:
    text = README.read_text(encoding="utf-8")
    assert MARKED.search(text)
    assert filled(text) == text, ADVICE


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_shows_the_stored_values(name: str) -> None:
    values, draw = CHARTS[name]
    with Image.open(DOCS / "images" / f"{name}.png") as image:
        assert image.info[DIGEST] == digest(values()), ADVICE
    assert draw(values()).axes


def test_every_study_has_results_and_every_table_a_study() -> None:
    grids = {path.stem for path in STUDIES.glob("*.toml")}
    assert set(TABLES) == (grids - NOT_RUN - EXAMPLE) | OF_NO_GRID
    assert sum(path.stat().st_size for path in RESULTS.rglob("*")) < 2_000_000


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_written_as_it_is_read(name: str, tmp_path: Path) -> None:
    write_results(tmp_path / "again.csv.gz", read_rows(RESULTS / f"{name}.csv.gz"))
    assert (tmp_path / "again.csv.gz").read_bytes() == (RESULTS / f"{name}.csv.gz").read_bytes()


def test_runs_that_are_not_legacy_come_from_commits_of_this_history() -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no checkout")
    runs = [runs_of(tables.study(name)) for name in TABLES]
    commits = {commit for own in runs for commit in own.loc[~own["legacy"], "commit"]}
    for commit in commits:
        known = ["git", "-C", str(REPOSITORY), "merge-base", "--is-ancestor", commit, "HEAD"]
        assert subprocess.run(known, check=False, capture_output=True).returncode == 0, commit
