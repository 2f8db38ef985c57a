"""The page of results, its charts and the README hold the stored results, which new runs replace."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.studies import RESULTS, STUDIES, tables
from benchmarks.studies.charts import CHARTS, DIGEST, digest
from benchmarks.studies.headline.candidates import CANDIDATES
from benchmarks.studies.headline.grids import study as headline
from benchmarks.studies.headline.runs import HEADLINE
from benchmarks.studies.headline.settings import CHOICE
from benchmarks.studies.results_page import DOCS, MARKED, README, TARGET, filled, page
from benchmarks.studies.store import store
from benchmarks.studies.tables import runs_of
from flowprior.errors import InputError
from flowprior.study.table import read_rows, read_table, write_results
from tests.markdown_blocks import REPOSITORY
from tests.study.stored import keep, rows, run

TABLES = sorted(path.name.removesuffix(".csv.gz") for path in RESULTS.glob("*.csv.gz"))
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
    # The paper's two tables lack data and weights; CI runs the digits anew each time.
    grids = grids - {"imagenet64", "coco", "digits_grid"} | {"component_counts", "overhead"}
    tables = {run.get("table", HEADLINE) for run in headline()["runs"]}
    of_headline = {CHOICE, CANDIDATES, *tables}  # which come in as its runs end
    assert grids <= set(TABLES) <= grids | of_headline
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


def test_runs_that_were_made_anew_replace_the_earlier_ones(tmp_path: Path) -> None:
    earlier = [run(label, rows(label, "w2_squared", nfe4=1.0)) for label in ("a", "b")]
    keep(tmp_path / "first", *earlier)
    store("study", [tmp_path / "first"], tmp_path)
    anew = run("b", rows("b", "w2_squared", nfe4=3.0))
    longer = run("b", rows("b", "w2_squared", nfe4=2.0), steps=20)
    keep(tmp_path / "second", anew, first=2)
    keep(tmp_path / "third", longer, first=3)
    found = read_table(store("study", [tmp_path / "second", tmp_path / "third"], tmp_path))
    assert sorted(found["value"]) == [1.0, 2.0, 3.0]
    assert len(runs_of(found)) == 3


@pytest.mark.parametrize("commit", [f"{40 * 'b'}-dirty", ""])
def test_runs_that_no_clean_commit_has_made_are_refused(commit: str, tmp_path: Path) -> None:
    keep(tmp_path / "runs", run("a", rows("a", "w2_squared", nfe4=1.0), run={"commit": commit}))
    with pytest.raises(InputError, match="expected runs of a clean commit, got a from"):
        store("study", [tmp_path / "runs"], tmp_path)
    assert not (tmp_path / "study.csv.gz").exists()


WITHOUT_TYPED_NUMBERS = {
    "README.md": {"3.11"},  # Python
    "docs/limits.md": {"0.9", "5 %"},  # the definition of a design that retrieves
}
"""Pages whose measured numbers are generated -> the other numbers with decimals or percent that they have."""


@pytest.mark.parametrize("page", WITHOUT_TYPED_NUMBERS)
def test_no_measured_number_is_typed_by_hand(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for left_out in (
        r"<!-- generated.*?<!-- end -->",
        r"```.*?```",
        r"`[^`]*`",
        r"\]\([^)]*\)",
        r"arXiv \S+",
    ):
        text = re.sub(left_out, "", text, flags=re.DOTALL)
    assert set(re.findall(r"(?<![\w.])\d+\.\d+|\d+ ?%", text)) == WITHOUT_TYPED_NUMBERS[page]
