"""The page of results, its tables, charts and the README hold the stored results, which new runs replace."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pandas
import pytest
from PIL import Image

from benchmarks.studies import RESULTS, STUDIES, restoration, tables
from benchmarks.studies.charts import DIGEST, digest, draw_quality, quality
from benchmarks.studies.headline.candidates import CANDIDATES
from benchmarks.studies.headline.grids import study as headline
from benchmarks.studies.headline.runs import HEADLINE
from benchmarks.studies.headline.settings import CHOICE
from benchmarks.studies.results_page import CHART, MARKED, README, TARGET, filled, page
from benchmarks.studies.store import store
from benchmarks.studies.tables import (
    SCHEDULE,
    at_best,
    at_best_schedule,
    far_enough,
    runs_of,
    select,
    shown,
    trained,
)
from flowprior.couplings import Coupling
from flowprior.errors import InputError
from flowprior.flow.predictions import Preconditioned
from flowprior.study.grid import load_grid
from flowprior.study.table import DataFrame, read_rows, read_table, write_results
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


def test_the_chart_shows_the_stored_values() -> None:
    with Image.open(CHART) as image:
        assert image.info[DIGEST] == digest(quality()), ADVICE
    assert draw_quality(quality()).axes


def test_every_study_has_results_and_every_table_a_study() -> None:
    # The paper's two tables lack data and weights; CI runs the digits anew each time.
    without = {"imagenet64", "coco", "digits_grid"}
    grids = {path.stem for path in STUDIES.glob("*.toml")} - without | {"component_counts", "overhead"}
    # These come in as the runs end.
    of_headline = {CHOICE, CANDIDATES, *(run.get("table", HEADLINE) for run in headline()["runs"])}
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
    keep(tmp_path / "first", *(run(label, rows(label, "w2_squared", nfe4=1.0)) for label in ("a", "b")))
    store("study", [tmp_path / "first"], tmp_path)
    keep(tmp_path / "second", run("b", rows("b", "w2_squared", nfe4=3.0)), first=2)
    keep(tmp_path / "third", run("b", rows("b", "w2_squared", nfe4=2.0), steps=20), first=3)
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


# -- the tables of the page -----------------------------------------------------------------------


EQUAL = "euler"


def row(flow: str, value: float, nfe: Any = 4, sampler: Any = EQUAL, split: str = "test", **more: Any):
    keys = {"flow": flow, "value": value, "nfe": nfe, "sampler": sampler, "split": split, "step": None}
    return keys | {"metric": "fid-lite0", "seed": 0, "steps": 10, "legacy": False} | more


def framed(rows: list[dict[str, Any]]) -> DataFrame:
    return pandas.DataFrame(rows).astype({"nfe": "Int64", "step": "Int64"})


def schedules() -> DataFrame:
    """A baseline that prefers different schedules on its two splits at 4 evaluations, and the default."""
    times = {"gaussian+condot": (1, 1), "flow_matching": (2, 2), "default": (1 / 5, 1 / 4)}
    rows = [
        row(flow, value * factor, nfe, sampler)
        for nfe, values in {1: (100, 100), 4: (50, 40), 30: (30, 35)}.items()
        for flow, factors in times.items()
        for value, factor, sampler in zip(values, factors, (EQUAL, SCHEDULE), strict=True)
    ]
    turned = {"gaussian+condot": {4: (60, -1)}}  # flow -> evaluations -> offset and sign on held-out images
    held_out = [
        own | {"split": "validation", "value": offset + sign * own["value"]}
        for own in rows
        for offset, sign in [turned.get(own["flow"], {}).get(own["nfe"], (0, 1))]
    ]
    return framed(rows + held_out)


def test_baselines_stand_at_the_schedule_that_held_out_images_prefer_and_the_default_at_its_own() -> None:
    rows = at_best_schedule(schedules(), "fid-lite0")
    found = rows.pivot_table(index="flow", columns="nfe", values="value")
    assert found.loc["gaussian+condot"].tolist() == [100, 50, 30]
    assert found.loc["flow_matching"].tolist() == [200, 80, 60]
    assert found.loc["default"].tolist() == [25, 10, 8.75]


def test_the_schedule_of_the_default_is_the_librarys_and_the_studys() -> None:
    own = headline()["default"]["variant"]["sampler"]
    assert own == SCHEDULE == Preconditioned.suited_sampler(Coupling.create("posterior"))


def test_a_table_has_means_over_seeds_and_marks_legacy_runs() -> None:
    rows = [row("a", 1.0), row("a", 2.0, seed=1), row("a", 4.0, nfe=15), row("b", 300.0, legacy=True)]
    assert shown(framed(rows), ["flow"]).splitlines() == [
        "| setting | seeds | NFE 4 | NFE 15 |",
        "| --- | --- | --- | --- |",
        "| `a` | 2 | 1.50 | 4.00 |",
        "| `b` † | 1 | 300 | – |",
    ]


def test_samplers_that_copy_training_images_are_left_out() -> None:
    rows = [
        row("a", value, nfe=15, sampler=f"euler:temperature={temperature}", split="validation", metric=metric)
        for temperature, distance, far in ((0.2, 1.0, 0.5), (0.6, 2.0, 1.0))
        for metric, value in {tables.KID: distance, **dict.fromkeys(tables.FAR_ENOUGH, far)}.items()
    ]
    assert far_enough(framed(rows), ["flow"])["value"].tolist() == [2.0]


def test_emoji_are_sampled_at_the_temperature_that_held_out_images_prefer() -> None:
    judged = far_enough(tables.study("emoji_temperatures"), ["flow"])
    best = dict(at_best(judged, judged, ["flow"])[["flow", "sampler"]].to_numpy())
    variants = load_grid(STUDIES / "emoji.toml").variants
    assert len(best) == 5
    assert {flow: variants[flow].sampler for flow in best} == best


def test_values_of_trained_flows_are_of_one_split_without_real_data_and_flows_on_the_way() -> None:
    rows = [row("a", 1.0), row("a", 2.0, split="validation"), row("a", 3.0, step=5)]
    table = framed([*rows, row("real data", 4.0), row("b", 5.0) | {"split": None}])
    assert list(trained(table, "fid-lite0")["value"]) == [1.0, 5.0]
    assert list(trained(table, "fid-lite0", "validation", flow=["a", "c"])["value"]) == [2.0]
    assert len(select(table, step=None, nfe=4)) == 4


def test_the_seconds_of_fit_and_training_stand_in_a_table_where_some_are_known() -> None:
    rows = [row("a", 1.0, cpu_seconds=10.0), row("a", 2.0, seed=1, cpu_seconds=30.0), row("b", 3.0)]
    assert shown(framed(rows), ["flow"], costs=True).splitlines() == [
        "| setting | seeds | CPU seconds | NFE 4 |",
        "| --- | --- | --- | --- |",
        "| `a` | 2 | 20.0 | 1.50 |",
        "| `b` | 1 | – | 3.00 |",
    ]
    assert "CPU" not in shown(framed(rows[2:]), ["flow"], costs=True)


def of_study(label: str, value: float, **more: Any) -> dict[str, Any]:
    return row(label, value, **{"label": label, "data": "restoration:of=fashion-mnist", **more})


def test_restorations_without_a_flow_stand_beside_the_flows_with_seconds_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent = {"cpu_seconds": 100.0, "seconds": 400.0, "prior_fit_seconds": 240.0}
    rows = [of_study("learned+condot", 10.0, split=split, **spent) for split in ("test", "validation")]
    rows += [of_study(restoration.MEAN, 30.0, nfe=None, sampler=None, **spent)]
    rows += [of_study(restoration.REGRESSION, 20.0, nfe=None, sampler=None, **(spent | {"cpu_seconds": 7.0}))]
    rows = [own | {"metric": metric} for own in rows for metric in (*tables.FEATURES, "crps")]
    monkeypatch.setattr(tables, "study", lambda name: framed(rows))
    lines = shown(tables.restoration(), ["metric", "flow"], costs=True).splitlines()
    assert lines[0] == "| metric | setting | seeds | CPU seconds | NFE none | NFE 4 |"
    assert lines[2:5] == [
        "| crps | `learned+condot` | 1 | 100 | – | 10.0 |",
        "| crps | `learned+condot, mean of the prior` | 1 | 60.0 | 30.0 | – |",
        "| crps | `regression` | 1 | 7.00 | 20.0 | – |",
    ]


def test_the_crps_of_held_out_weeks_stands_beside_that_of_the_test_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row("a", 0.3, metric="crps"), row("a", 0.2, metric="crps", split="validation")]
    rows += [row("regression", 0.4, metric="crps", nfe=None)]
    monkeypatch.setattr(tables, "study", lambda name: framed(rows))
    found = tables.forecasting()
    assert shown(found, ["flow", "evaluations"], ["metric"], ["crps", "coverage_50", tables.HELD_OUT]) == (
        "| setting | evaluations | seeds | crps | crps, held-out weeks |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| `a` | 4 | 1 | 0.300 | 0.200 |\n"
        "| `regression` | none | 1 | 0.400 | – |"
    )


def test_the_recommended_restoration_is_the_one_that_held_out_images_prefer() -> None:
    """By the mean log distance over both features and 1, 4 and 15 evaluations."""
    table = tables.study("restoration")
    held_out = [
        select(trained(table, metric, "validation"), split="validation") for metric in tables.FEATURES
    ]
    rows = select(tables.joined(held_out), nfe=[1, 4, 15], data="restoration:of=fashion-mnist")
    least = rows.groupby(["flow", "metric", "nfe", "sampler"])["value"].mean().groupby(level=[0, 1, 2]).min()
    scores = least.map(math.log).groupby(level="flow").mean()
    assert scores.idxmin() == restoration.DESIGNED
    assert len(scores) == 4
