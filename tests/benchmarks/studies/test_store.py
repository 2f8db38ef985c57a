"""Results of finished studies take the place of earlier ones of the same runs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.studies.store import store
from flowprior.study.table import read_table, runs_of
from tests.study.stored import keep, rows, run


def test_runs_that_were_made_anew_replace_the_earlier_ones(tmp_path: Path) -> None:
    dirty = {"commit": f"{40 * 'b'}-dirty"}
    earlier = [run(label, rows(label, "w2_squared", nfe4=1.0), run=dirty) for label in ("a", "b")]
    keep(tmp_path / "first", *earlier)
    store("study", [tmp_path / "first"], tmp_path)
    anew = run("b", rows("b", "w2_squared", nfe4=3.0))
    longer = run("b", rows("b", "w2_squared", nfe4=2.0), steps=20)
    keep(tmp_path / "second", anew, first=2)
    keep(tmp_path / "third", longer, first=3)
    found = read_table(store("study", [tmp_path / "second", tmp_path / "third"], tmp_path))
    assert sorted(found["value"]) == [1.0, 2.0, 3.0]
    assert dict(zip(runs_of(found)["label"], runs_of(found)["legacy"], strict=False))["a"]
    assert len(runs_of(found)) == 3
