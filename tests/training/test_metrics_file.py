"""metrics.jsonl: flushed lines, each step once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from flowprior.errors import CheckpointError
from flowprior.training import read_metrics
from flowprior.training.callbacks import MetricsFile


def test_lines_can_be_read_while_the_file_is_open(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.write(10, "train", loss=0.5)
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 10, "kind": "train", "loss": 0.5}]
    metrics.on_end(0, "finished")


def test_resuming_drops_later_and_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for step in (0, 10, 20, 30):
        metrics.write(step, "train", loss=float(step))
    metrics.on_end(0, "finished")
    path.write_text(path.read_text() + '{"step": 40, "lo')
    resumed = MetricsFile(path, step=20)
    resumed.write(30, "train", loss=3.0)
    resumed.on_end(0, "finished")
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [
        (0, 0.0),
        (10, 10.0),
        (20, 20.0),
        (30, 3.0),
    ]


def test_starting_over_drops_everything(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "kind": "start"}\n')
    MetricsFile(path).on_end(0, "finished")
    assert read_metrics(path) == []


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")

    def full(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    metrics._file.close()
    monkeypatch.setattr(metrics, "_file", type("Full", (), {"write": staticmethod(full)})())
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: No space left on device; saved checkpoints"):
        metrics.write(1, "train")
