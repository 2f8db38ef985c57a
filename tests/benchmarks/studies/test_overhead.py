"""The cost of a prior: what is measured, what is left out, and how the growth is read off."""

from __future__ import annotations

import torch

from benchmarks.studies import overhead
from benchmarks.studies.overhead import Stream, measure_apart, plan, run_axis


def test_the_stream_is_the_same_every_time_and_shows_every_label() -> None:
    stream = Stream(conditions=30, dims=4, rows=2500)
    passes = [list(stream) for _ in range(2)]
    assert len(passes[0]) == len(stream) == 3
    for (x, labels), (again, _) in zip(*passes, strict=True):
        assert torch.equal(x, again)
        assert set(labels.tolist()) == set(range(30))
    assert stream.seconds > 0


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


def test_every_prior_is_measured_along_both_axes() -> None:
    cells = plan()
    for name in overhead.PRIORS:
        own = [cell for cell in cells if cell["prior"] == name]
        assert [c["conditions"] for c in own if c["axis"] == "conditions"] == list(overhead.CONDITIONS)
        assert [c["dims"] for c in own if c["axis"] == "dims"] == list(overhead.DIMENSIONS)
