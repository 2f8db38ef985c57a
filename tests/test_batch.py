"""docs/batch.md names the files that run from train() to the first gradient, and in a draw of samples."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from flowprior import Flow, train
from flowprior.couplings import Coupling
from flowprior.ops.backend import native_devices
from flowprior.priors import Prior
from tests.markdown_blocks import REPOSITORY

PACKAGE = REPOSITORY / "flowprior"
PAGE = (REPOSITORY / "docs" / "batch.md").read_text(encoding="utf-8")
MOST_FILES = {"A training step": 15, "A draw of samples": 9}
"""The files of the walk, by section of the page."""
ASIDE = ("data/", "streams/", "progress/", "storage/", "training/run.py", "training/callbacks.py")
"""Readers of data, files that are written, and reports."""
FITS = {Prior.fit.__code__, Coupling.fit.__code__}


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def walk(title: str) -> dict[str, list[str]]:
    """File -> the functions that the page names there, in the order of the page."""
    rows = re.findall(r"^\| \d+ \| `([\w/]+\.py)` \| (.*) \|$", section(title), re.MULTILINE)
    # Without native operators plain torch, in the caller, takes the place of the one.
    left_out = set() if native_devices() else {"ops/subspace.py"}
    return {file: re.findall(r"^`([\w.]+)`", text) for file, text in rows if file not in left_out}


class Reached(BaseException):
    """Ends a trace at the first gradient."""


class Trace:
    """The files of the package that a call runs, with the first lines of their functions.

    Fits are left out, and what follows a gradient.
    """

    def __init__(self) -> None:
        self.run: dict[str, dict[int, str]] = {}
        self._fitting: FrameType | None = None

    def __call__(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        sys.setprofile(self._note)
        try:
            return call(*arguments, **options)
        except Reached:
            return None
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame is self._fitting:
            self._fitting = None
        if event != "call" or self._fitting is not None:
            return
        if frame.f_code is torch.Tensor.backward.__code__:
            raise Reached
        file, code = Path(frame.f_code.co_filename), frame.f_code
        if code in FITS:
            self._fitting = frame
        elif file.is_relative_to(PACKAGE) and not str(file.relative_to(PACKAGE)).startswith(ASIDE):
            self.run.setdefault(str(file.relative_to(PACKAGE)), {})[code.co_firstlineno] = code.co_name

    def lines(self) -> int:
        """Return the lines of the functions that ran, docstrings counted."""
        return sum(
            (node.end_lineno or 0) - node.lineno + 1
            for file, ran in self.run.items()
            for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef)
            and ran.keys() & {node.lineno, *(decorator.lineno for decorator in node.decorator_list)}
        )


SMALL: dict[str, Any] = {"steps": 1, "batch_size": 8, "device": "cpu", "progress": False}
LABELS = torch.arange(64) % 2


@pytest.fixture
def plain() -> Flow:
    """A flow of the plainest design."""
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    parts = {"prior": "gmm", "coupling": "condot", "model": "mlp:width=8,depth=1", "prediction": "velocity"}
    return train((x, LABELS), **parts, **SMALL)


def check(title: str, trace: Trace) -> None:
    """The walk runs, every file that runs stands on the page, and there are no more than it says."""
    named, text = walk(title), section(title)
    assert 0 < len(named) <= MOST_FILES[title]
    for file, functions in named.items():
        missing = {name.split(".")[-1] for name in functions} - set(trace.run.get(file, {}).values())
        assert not missing, f"{file}: {missing} does not run"
    mentioned = set(re.findall(r"`([\w/]+\.py)`", text))
    assert trace.run.keys() <= mentioned
    assert not {file for file in mentioned if not (PACKAGE / file).exists()} - {"tests/test_batch.py"}
    files, lines = re.findall(r"(\d+) files run, ([\d,]+) lines", text)[0]
    assert len(trace.run) <= int(files)
    assert trace.lines() <= int(lines.replace(",", ""))


def test_a_training_step_goes_the_way_of_the_page() -> None:
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    train((images, LABELS), **SMALL)  # what runs once in a process, such as imports, has run
    trace = Trace()
    trace(train, (images, LABELS), **SMALL)
    check("A training step", trace)


def test_a_draw_of_samples_goes_the_way_of_the_page(plain: Flow) -> None:
    plain.sample(torch.arange(2), nfe=4, sampler="euler")
    trace = Trace()
    generator = torch.Generator().manual_seed(0)
    x = trace(plain.sample, torch.arange(2), nfe=4, sampler="euler", generator=generator)
    assert x.shape == (2, 5)
    check("A draw of samples", trace)
