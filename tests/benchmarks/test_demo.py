"""The demo: its progress names the run, its picture shows few evaluations, and its last line can be typed."""

from __future__ import annotations

import json
import shlex
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import typer.main
from torch import Tensor

from benchmarks import demo
from flowprior import Flow
from flowprior.cli import app


class Black:
    """Stands for a flow whose every sample is black."""

    def sample(self, cond: Tensor, *, nfe: int, generator: torch.Generator) -> Tensor:
        return -torch.ones(len(cond), 1, 8, 8)


def test_every_line_of_progress_names_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    futures: dict[str, Future[Any]] = {design: Future() for design in demo.DESIGNS}
    for design, future in futures.items():
        (tmp_path / design).mkdir()
        line = json.dumps({"step": 7, "kind": "train", "loss": 0.5})
        (tmp_path / design / "metrics.jsonl").write_text(f"{line}\n", encoding="utf-8")
        future.set_result(None)
    demo.follow(futures, tmp_path, steps=7)
    lines = capsys.readouterr().err.splitlines()
    names = [f"train {design}" for design in demo.DESIGNS]
    assert [line.split(":")[0] for line in lines if "7/7" in line] == names
    assert {line.split(":")[0] for line in lines} == set(names)


def test_the_picture_shows_few_evaluations_beside_each_other() -> None:
    panels = demo.sample_panels(dict.fromkeys(demo.ROWS, cast(Flow, Black())))
    assert list(panels) == ["0 evaluations: the source", "1 evaluation", "2 evaluations", "4 evaluations"]
    for x, rows in panels.values():
        assert rows is not None
        assert rows.tolist() == [row for row in range(4) for _ in range(6)]
        assert (x[rows < 3] < -0.99).all()
        assert (x[rows == 3].flatten(1).amax(1) > 0.5).all(), "the last row is of real digits"


def test_the_last_line_can_be_typed_where_the_demo_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "with space" / ".venv" / "bin" / "flowprior"
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.chdir(tmp_path)
    words = shlex.split(demo.next_command(Path("runs/demo")))
    assert Path(words[0]).absolute() == program
    sample = typer.main.get_command(app).get_command(None, words[1])  # type: ignore[attr-defined]
    assert sample.make_context("sample", words[2:]).params["run"] == Path("runs/demo/default")
