"""The cost of a prior: what is measured, what is left out, and how the growth is read off."""

from __future__ import annotations

from benchmarks.studies.overhead import measure_apart, run_axis


def test_what_is_kept_is_mean_deviation_and_weight_of_each_condition() -> None:
    sizes = {
        "axis": "conditions",
        "prior": "gmm",
        "spec": "gmm:shrinkage=1.0",
        "dims": 32,
        "examples": 300_000,
    }
    few, many = run_axis([{"conditions": conditions, **sizes} for conditions in (10, 1000)])
    assert {(row["label"], row["dims"], row["failed"]) for row in (*few, *many)} == {("gmm", 32, "")}
    first, last = ({row["metric"]: row["value"] for row in rows} for rows in (few, many))
    assert last["state_bytes"] > 50 * first["state_bytes"]
    assert last["state_bytes"] >= 1000 * 2 * 32 * 4
    assert min(last.values()) >= 0
    assert last["fit_seconds"] > 0


def test_a_measurement_that_cannot_be_made_says_why() -> None:
    assert measure_apart("gmm", 10, 300_000_000, 1000, 60) == {"failed": "needs more than 8 GiB"}
    assert "unknown prior" in measure_apart("gmmm", 10, 4, 1000, 60)["failed"]


def test_larger_sizes_are_not_tried_after_one_that_was_late() -> None:
    sizes = {"axis": "dims", "conditions": 900, "examples": 1_000_000}
    cells = [{"prior": "gmm", "spec": "gmm:covariance=full", "dims": dims, **sizes} for dims in (64, 128)]
    first, second = run_axis(cells, limit=1)
    assert [row["failed"] for row in first] == ["not done after 1 s"]
    assert second[0]["failed"].startswith("not tried")
