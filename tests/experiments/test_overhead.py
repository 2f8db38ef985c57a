"""The cost of a prior: what is measured, what is left out, and how the growth is read off."""

from __future__ import annotations

import pytest
import torch

from benchmarks.experiments.overhead import plan, run_cell, slope
from benchmarks.experiments.overhead_probe import Stream, measure


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
    few, many = (measure("gmm:shrinkage=1.0", c, 32, 4000) for c in (10, 1000))
    assert many["state_bytes"] > 50 * few["state_bytes"]
    assert many["state_bytes"] >= 1000 * 2 * 32 * 4
    assert all(value >= 0 for value in many.values())
    assert many["fit_seconds"] > 0


def test_a_cell_that_cannot_be_run_says_why() -> None:
    assert "GiB" in run_cell("gmm:covariance=full", 10, 100_000, 10)["failed"]
    assert "unknown prior" in run_cell("gmmm", 10, 4, 10)["failed"]


def test_every_prior_is_measured_along_both_axes() -> None:
    cells = plan()
    for name in {cell["prior"] for cell in cells}:
        own = [cell for cell in cells if cell["prior"] == name]
        assert [c["conditions"] for c in own if c["axis"] == "conditions"] == [10, 100, 1000, 10_000, 100_000]
        assert [c["dims"] for c in own if c["axis"] == "dims"] == [784, 1568, 3072, 6144, 12288]
