"""The cost of a prior: what is measured, what is left out, and how the growth is read off."""

from __future__ import annotations

from benchmarks.studies.overhead import measure_apart, run_axis


def test_what_is_kept_is_mean_deviation_and_weight_of_each_condition() -> None:
    few, many = (measure_apart("gmm:shrinkage=1.0", c, 32, 10_000, 60) for c in (10, 1000))
    assert many["state_bytes"] > 50 * few["state_bytes"]
    assert many["state_bytes"] >= 1000 * 2 * 32 * 4
    assert all(value >= 0 for value in many.values() if not isinstance(value, str))
    assert many["fit_seconds"] > 0


def test_a_measurement_that_cannot_be_made_says_why() -> None:
    assert measure_apart("gmm", 10, 300_000_000, 1000, 60) == {"failed": "needs more than 8 GiB"}
    assert "unknown prior" in measure_apart("gmmm", 10, 4, 1000, 60)["failed"]
    late = measure_apart("gmm:covariance=full", 1000, 64, 10_000_000, 1)
    assert late == {"failed": "not done after 1 s"}


def test_larger_sizes_are_not_tried_after_one_that_was_late() -> None:
    sizes = {"axis": "dims", "conditions": 900, "examples": 1_000_000}
    cells = [{"prior": "gmm", "spec": "gmm:covariance=full", "dims": dims, **sizes} for dims in (64, 128)]
    first, second = run_axis(cells, limit=1)
    assert [row["failed"] for row in first] == ["not done after 1 s"]
    assert second[0]["failed"].startswith("not tried")


def test_what_is_measured_is_kept_beside_its_size() -> None:
    cell = {"axis": "dims", "conditions": 10, "dims": 16, "examples": 1000}
    (rows,) = run_axis([{"prior": "gmm, K = 4", "spec": "gmm:components=4", **cell}])
    values = {row["metric"]: row["value"] for row in rows}
    assert values["fit_seconds"] > 0
    assert {(row["label"], row["dims"], row["failed"]) for row in rows} == {("gmm, K = 4", 16, "")}
