"""The cost of a prior: what is measured, what is left out, and how the growth is read off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.studies import overhead
from benchmarks.studies.overhead import plan, run_axis, slope
from benchmarks.studies.overhead_probe import Stream, measure_apart
from benchmarks.studies.store import Store


def test_the_growth_law_is_the_exponent() -> None:
    assert slope([10, 100, 1000], [0.1, 10, 1000]) == pytest.approx(2.0)
    assert slope([10, 100, 1000], [5.0, 5.0, 5.0]) == pytest.approx(0.0)
    assert slope([10, 100], [0.0, 1.0]) is None


def test_the_stream_is_the_same_every_time_and_shows_every_label() -> None:
    stream = Stream(conditions=30, dims=4, rows=2500)
    passes = [list(stream) for _ in range(2)]
    assert len(passes[0]) == len(stream) == 3
    for (x, labels), (again, _) in zip(*passes, strict=True):
        assert torch.equal(x, again)
        assert set(labels.tolist()) == set(range(30))
    assert stream.seconds > 0


def test_what_is_kept_is_mean_deviation_and_weight_of_each_condition() -> None:
    few, many = (measure_apart("gmm:shrinkage=1.0", c, 32, 4000, 60) for c in (10, 1000))
    assert many["state_bytes"] > 50 * few["state_bytes"]
    assert many["state_bytes"] >= 1000 * 2 * 32 * 4
    assert all(value >= 0 for value in many.values() if not isinstance(value, str))
    assert many["fit_seconds"] > 0


def test_a_measurement_that_cannot_be_made_says_why() -> None:
    assert measure_apart("gmm", 10, 3_000_000, 1000, 60) == {"failed": "needs more than 8 GiB"}
    assert "unknown prior" in measure_apart("gmmm", 10, 4, 1000, 60)["failed"]
    late = measure_apart("gmm:covariance=full", 1000, 64, 10_000_000, 1)
    assert late == {"failed": "not done after 1 s"}


def test_larger_sizes_are_not_tried_after_one_that_was_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "STORE", Store("overhead", tmp_path))
    monkeypatch.setattr(overhead, "LIMIT", 1)
    cells = [
        {
            "prior": "gmm",
            "spec": "gmm:covariance=full",
            "axis": "dims",
            "conditions": 900,
            "dims": dims,
            "rows": 1_000_000,
        }
        for dims in (64, 128)
    ]
    run_axis(cells)
    found = {cell["dims"]: cell["failed"] for cell in overhead.STORE.cells()}
    assert found[64] == "not done after 1 s"
    assert found[128].startswith("not tried")


def test_every_prior_is_measured_along_both_axes() -> None:
    cells = plan()
    for name in overhead.PRIORS:
        own = [cell for cell in cells if cell["prior"] == name]
        assert [c["conditions"] for c in own if c["axis"] == "conditions"] == list(overhead.CONDITIONS)
        assert [c["dims"] for c in own if c["axis"] == "dims"] == list(overhead.DIMENSIONS)
