"""A table of results: the same bytes for the same rows, what is known of a run, and files that are none."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from flowprior.errors import CheckpointError
from flowprior.study.results import facts_of, read_rows, rows_of_run, write_results
from flowprior.study.table import read_table
from tests.study.stored import rows, run

COMMIT = 40 * "a"


def table_of(*labels: str) -> list[dict[str, object]]:
    runs = [run(label, rows(label, nfe0=1 / 3, nfe15=2.0, nfe4=1e-9)) for label in labels]
    return [row for number, own in enumerate(runs) for row in rows_of_run(f"run {number}", *own)]


@pytest.mark.parametrize("name", ["results.csv", "results.csv.gz"])
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    ordered = table_of("a", "b")
    shuffled = random.Random(0).sample(ordered, len(ordered))
    for folder, own in (("first", ordered), ("second", shuffled)):
        write_results(tmp_path / folder / name, own)
    first, second = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second"))
    assert first == second
    write_results(tmp_path / "third" / name, read_rows(tmp_path / "first" / name))
    assert (tmp_path / "third" / name).read_bytes() == first
    assert [row["nfe"] for row in read_rows(tmp_path / "first" / name)] == ["0", "4", "15"] * 2


def test_numbers_have_seven_significant_digits(tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", table_of("a"))
    assert list(read_table(tmp_path / "results.csv")["value"]) == [0.3333333, 1e-9, 2.0]


@pytest.mark.parametrize(
    ("commit", "kept", "dirty", "legacy"),
    [(COMMIT, COMMIT, False, False), (f"{COMMIT}-dirty", COMMIT, True, True), (None, None, False, True)],
)
def test_a_run_of_no_clean_commit_is_legacy(
    commit: str | None, kept: str | None, dirty: bool, legacy: bool
) -> None:
    found = facts_of({"commit": commit, "starts_gap": {"coefficient": 0.5, "p_value": 0.1}})
    assert (found["commit"], found["dirty"], found["legacy"]) == (kept, dirty, legacy)
    assert found["source_mismatch"] == 0.5


def test_a_row_without_a_seed_has_that_of_its_run() -> None:
    setting, facts, own = run("a", rows("a", nfe4=1.0), seed=7)
    (row,) = rows_of_run("run", setting, facts, [own[0] | {"seed": None}])
    assert row["seed"] == 7


@pytest.mark.parametrize("content", [b"", b"no table", b"run,metric\n1,2\n", gzip.compress(b"x", mtime=0)])
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    for name in ("results.csv", "results.csv.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError) as refused:
            read_table(tmp_path / name)
        assert "\n" not in str(refused.value)
