"""A small comparison on digits, run once: two priors, two couplings, two seeds, a few steps."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flowprior.report import write_report
from flowprior.study import Grid, run_grid
from flowprior.study.grid import grid_from_dict

LOWRANK = "gmm:covariance=lowrank,rank=4,reg_covar=0.16"
TINY: dict[str, Any] = {
    "data": "digits",
    "model": "mlp:width=16",
    "priors": ["gaussian", f"low-rank={LOWRANK}"],
    "couplings": ["condot", "ot"],
    "seeds": 2,
    "nfe": [0, 1, 2],
    "samples": 100,
    "training": {"steps": 12, "warmup": 2, "batch_size": 32, "device": "cpu", "log_every": 4},
    "curve": {"points": 3, "nfe": [2], "samples": 50},
}
SHARED = {key: value for key, value in TINY.items() if key not in ("priors", "couplings")}
ONE: dict[str, Any] = {
    "priors": ["gaussian"],
    "couplings": ["condot"],
    "seeds": 1,
    "curve": {"points": 0},
    "evaluation": {"metrics": ["fid"], "classifier": "auto"},
}
"""Changes of the small grid that leave one run, for tests to which any will do."""


def tiny_grid(**changes: Any) -> Grid:
    """The small grid, with some of its keys replaced."""
    return grid_from_dict({**TINY, **changes})


def named_grid(variants: dict[str, Any], **changes: Any) -> Grid:
    """The small grid with variants in place of its combinations."""
    return grid_from_dict({**SHARED, **changes, "variants": variants})


def results(out: Path) -> list[dict[str, Any]]:
    """The content of every result file."""
    return [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/result-*.json"))]


@pytest.fixture(scope="session")
def finished(cache: Path) -> Path:
    """The finished comparison, with its report; not to be written to.

    It lies beside the cache of this run: the first worker that asks makes it for all, and for tests/report.
    """
    out = cache.parent / "comparison"
    done = cache.parent / "comparison-is-done"
    with (cache.parent / "comparison-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not done.exists():
            shutil.rmtree(out, ignore_errors=True)
            outcome = run_grid(tiny_grid(), out)
            assert (outcome.finished, outcome.failed, outcome.interrupted) == (8, {}, False)
            write_report(out)
            done.touch()
    return out


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have their values alone: drawing the page takes longer than a study so small."""
    monkeypatch.setattr("flowprior.report.page._page", lambda *_: "")


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished comparison that a test may change."""
    out = tmp_path / "comparison"
    shutil.copytree(finished, out)
    return out
