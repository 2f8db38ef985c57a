"""The recipe of docs/api/metrics.md works as it is written: its metric is evaluated, listed and stored."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from flowprior.data import Data
from flowprior.evaluation import evaluate
from flowprior.flow import Flow
from flowprior.metrics import Metric
from tests.cli.conftest import call_app
from tests.markdown_blocks import REPOSITORY, blocks

PAGE = REPOSITORY / "docs" / "api" / "metrics.md"
FILES = {block.partition("\n")[0].removeprefix("# ").split(",")[0]: block for block in blocks(PAGE, "py")}
MOST_FILES = 3


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's metric, from a module that is gone after the test, as is its record."""
    monkeypatch.setattr(Metric.registry, "_records", dict(Metric.registry._records))
    file = tmp_path / "contrast.py"
    file.write_text(FILES["flowprior/metrics/contrast.py"], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("flowprior.metrics.contrast", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "flowprior.metrics.contrast", module)
    spec.loader.exec_module(module)


def test_it_takes_as_many_files_as_it_says() -> None:
    assert len(FILES) == MOST_FILES
    assert "Three files" in PAGE.read_text(encoding="utf-8")


def test_its_own_test_passes(followed: None) -> None:
    space: dict[str, object] = {}
    exec(compile(FILES["tests/metrics/test_contrast.py"], "test_contrast.py", "exec"), space)
    tests = [value for name, value in space.items() if name.startswith("test_") and callable(value)]
    assert tests
    for test in tests:
        test()


def test_it_is_evaluated_with_a_real_data_score(
    followed: None, tiny_flow: Flow, digits: tuple[Data, Data]
) -> None:
    options = {"nfe": [0, 1], "samples": 60, "metrics": "contrast"}
    rows = evaluate(tiny_flow, digits[0], reference=digits[1], **options).select(metric="contrast")
    assert [row["nfe"] for row in rows if row["flow"] != "real data"] == [0, 1]
    real = next(row["value"] for row in rows if row["flow"] == "real data")
    x, _ = digits[0].batch(torch.arange(len(digits[0])))
    assert real == pytest.approx(x.flatten(1).std(1).mean().item(), rel=0.05)


def test_the_command_line_lists_it(followed: None) -> None:
    assert "contrast" in call_app("list", "metrics").out
    listed = json.loads(call_app("list", "metrics", "--json").out)["metrics"]
    described = {metric["name"]: metric["description"] for metric in listed}
    assert described["contrast"] == "Mean standard deviation of an event's numbers."
