"""The page of results shows what a card left, and says so where none left anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import page as gpu_page
from benchmarks.gpu.record import Outcome, Record
from benchmarks.gpu.steps import STEPS
from benchmarks.studies.results_page import RESULTS, TARGET, page

MACHINE = {
    "torch": "2.11.0+cu130", "cuda": "13.0", "driver": "580.1", "cores": 16, "processor": "Some CPU",
    "commit": "0123abc", "l2_cache": 50 * 2**20,
}  # fmt: skip
HONEST = "On a GPU nothing has been measured yet; `make gpu` does it where there is a card."


def distances(value: float) -> dict[str, Any]:
    return {
        "seconds": 20.0,
        "prior_fit_seconds": 4.0,
        "distances": {"fid-cnn128": {"0": 8 * value, "4": value, "real data": 0.5}},
    }


def parts(share: float) -> dict[str, Any]:
    device = {"prior": share, "network": 4 - share}
    return {"milliseconds": 5.0, "busy": 4.0, "idle": 0.2, "host": {}, "device": device}


FOUND: dict[str, dict[str, Any]] = {
    "parity": {"passed": 885, "failed": 0, "skipped": 1, "names": []},
    "graphs": {"passed": 30, "failed": 0, "skipped": 0, "names": []},
    "operators": {
        "backend": "native (built for the CPU and CUDA 13.0)",
        "copy_rate": 3e12,
        "left_out": None,
        "rows": [
            {
                "operator": "interpolate", "size": "512 x 784, K = 1", "moved": 6e6, "milliseconds": 0.008,
                "replayed": 0.004, "share_of_copy": 0.5, "peers": {"eager": 0.02},
            }
        ],
    },
    "profile": {
        "data": "fashion-mnist", "model": "unet", "batch_size": 128,
        "designs": {"default": parts(1.0), "gaussian+condot": parts(0.1)},
    },
    "training": {
        "data": "fashion-mnist", "model": "unet", "steps": 2000, "batch_size": 128, "samples": 2000,
        "baseline": "gaussian+condot",
        "designs": {"default": distances(2.0), "gaussian+condot": distances(8.0)},
    },
}  # fmt: skip


def keep(folder: Path, card: str | None, found: dict[str, Any]) -> None:
    about = {"card": card, "device": "cuda", "started": "2030-01-02T03:04:05+00:00", "machine": MACHINE}
    record = Record(folder / "gpu" / f"{card}.json", about, STEPS, rehearsal=card is None)
    for name, values in found.items():
        record.end(name, Outcome(values), 10.0)


@pytest.fixture
def section(tmp_path: Path) -> str:
    keep(tmp_path, "Some Card", FOUND)
    return page(tmp_path)


def test_a_card_has_a_section_with_every_table(section: str) -> None:
    assert "## On a GPU" in section
    assert "### Some Card" in section
    assert "torch 2.11.0+cu130, CUDA 13.0, driver 580.1, 16 cores of Some CPU; 2030-01-02" in section
    assert "885 of parity passed and 0 failed, 30 of graphs and streams passed" in section
    assert "| interpolate | 512 × 784, K = 1 | 8.0 | 4.0 | 0.50 | eager 2.5 |" in section
    assert "| `default` | 5.00 | 4.00 | 20% | prior 25.0%, network 75.0% |" in section
    assert "| `default` | 20.0 | 4.0 | fid-cnn128 | 16 (0.25) | 2 (0.25) | 0.5 |" in section
    assert "| `gaussian+condot` | 20.0 | 4.0 | fid-cnn128 | 64 | 8 | 0.5 |" in section


def test_what_did_not_run_or_failed_is_said(tmp_path: Path) -> None:
    keep(tmp_path, "Some Card", {"parity": FOUND["parity"]})
    path = tmp_path / "gpu" / "Some Card.json"
    content = json.loads(path.read_text())
    build = next(step for step in content["steps"] if step["name"] == "build")
    build |= {"status": "failed", "error": "ptxas error:\na | b"}
    path.write_text(json.dumps(content))
    text = page(tmp_path)
    assert "| **failed** | 0 | ptxas error: a / b |" in text
    assert "| **skipped** | 0 | the run ended before this step |" in text
    assert "**Training**" not in text
    assert "**Operators**" not in text


def test_a_rehearsal_is_not_shown(tmp_path: Path) -> None:
    keep(tmp_path, None, FOUND)
    assert "GPU" not in page(tmp_path)


def test_the_committed_page_says_whether_a_card_was_measured() -> None:
    cards = gpu_page.read(RESULTS / "gpu")
    text = TARGET.read_text(encoding="utf-8")
    assert (HONEST in text) is not bool(cards)
    assert ("## On a GPU" in text) is bool(cards)
