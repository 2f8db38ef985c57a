"""docs/batch.md names the files that a training step and a draw of samples run through, nine at most each."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from flowprior import Flow, train
from flowprior.training import trainer
from flowprior.training.loop import training_step
from tests.markdown_blocks import REPOSITORY

PACKAGE = REPOSITORY / "flowprior"
PAGE = (REPOSITORY / "docs" / "batch.md").read_text(encoding="utf-8")
MOST_FILES = 9


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def way(title: str) -> dict[str, list[str]]:
    """File -> the functions that the page names there, in the order of the page."""
    rows = re.findall(r"^\| \d \| `([\w/]+\.py)` \| (.*) \|$", section(title), re.MULTILINE)
    return {file: re.findall(r"^`([\w.]+)`", text) for file, text in rows}


def beside(title: str) -> set[str]:
    """The files that lie beside the way."""
    return set(re.findall(r"`([\w/]+\.py)`", section(title))) - set(way(title))


class Trace:
    """The files and functions of the package that a call runs."""

    def __init__(self) -> None:
        self.run: dict[str, set[str]] = {}

    def __call__(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        sys.setprofile(self._note)
        try:
            return call(*arguments, **options)
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE):
            self.run.setdefault(str(file.relative_to(PACKAGE)), set()).add(frame.f_code.co_name)


@pytest.fixture(scope="module")
def traced() -> tuple[Trace, Flow]:
    """The trace of a training step, and the flow that came of it."""
    trace = Trace()
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        steps = sys.modules[trainer.run_steps.__module__]
        patch.setattr(steps, "training_step", lambda *parts: trace(training_step, *parts))
        flow = train(
            (x, torch.arange(64) % 2),
            prior="gmm",
            coupling="condot",
            path="condot",
            model="mlp:width=8,depth=1",
            prediction="velocity",
            steps=1,
            batch_size=8,
            device="cpu",
        )
    return trace, flow


def check(title: str, trace: Trace) -> None:
    named = way(title)
    assert 0 < len(named) <= MOST_FILES
    for file, functions in named.items():
        assert file in trace.run, f"{file} does not run"
        missing = {name.split(".")[-1] for name in functions} - trace.run[file]
        assert not missing, f"{file}: {missing} does not run"
    unnamed = {file for file in trace.run.keys() - named.keys() if not file.startswith("ops/")}
    assert unnamed <= beside(title)
    gone = {file for file in beside(title) if not (PACKAGE / file).exists()} - {"tests/test_batch.py"}
    assert not gone


def test_a_training_step_goes_the_way_of_the_page(traced: tuple[Trace, Flow]) -> None:
    check("A training step", traced[0])


def test_a_draw_of_samples_goes_the_way_of_the_page(traced: tuple[Trace, Flow]) -> None:
    trace = Trace()
    generator = torch.Generator().manual_seed(0)
    x = trace(traced[1].sample, torch.arange(2), nfe=4, sampler="euler", generator=generator)
    assert x.shape == (2, 5)
    check("A draw of samples", trace)
