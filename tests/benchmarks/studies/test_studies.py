"""The studies are grids that can be run, and a new run gives what is stored, where no training decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import STUDIES, tables
from flowprior.study.grid import load_grid
from flowprior.study.running import run_grid
from flowprior.study.runs import variants
from flowprior.study.table import select
from flowprior.study.variants import HOOKS, load_hook
from tests.benchmarks.studies.conftest import cells_of
from tests.markdown_blocks import REPOSITORY

GRIDS = sorted(path.name for path in STUDIES.glob("*.toml"))


@pytest.mark.parametrize("name", GRIDS)
def test_a_study_is_a_grid_whose_functions_are_there(name: str) -> None:
    grid = load_grid(STUDIES / name)
    found = variants(grid)
    assert found
    assert all(variant.refusal(grid.training) is None for variant in found)
    named = [(key, getattr(grid, key)) for key in HOOKS] + [("trainer", v.trainer) for v in found]
    assert all(callable(load_hook(key, text)) for key, text in named if text)


@pytest.mark.parametrize(
    ("study", "given", "label"),
    [
        ("ablations", {"priors": {"1 components": "gmm:reg_covar=0.01"}}, "1 components + condot"),
        ("digits", {}, "gmm+ot"),
    ],
)
def test_the_prior_alone_is_as_stored(
    study: str, given: dict[str, Any], label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source samples and their values hang on no training: the protocol is the one of the stored runs."""
    monkeypatch.chdir(REPOSITORY)
    path = STUDIES / f"{study}.toml"
    own = given or {"variants": {label: load_grid(path).variants[label]}}
    short = ["training.steps=2", "training.warmup=1", "seeds=[0]", "nfe=[0]"]
    assert run_grid(load_grid(path, own, short), tmp_path).failed == {}
    found = cells_of(tmp_path)[label]
    stored = select(tables.study(study), prior="gmm:reg_covar=0.01" if given else "gmm", nfe=0, seed=0)
    stored = select(stored, coupling="condot" if given else "ot", split="test")
    metrics = [metric for metric in ("fid-cnn128", "accuracy") if metric in set(stored["metric"])]
    assert metrics
    for metric in metrics:
        value = select(stored, metric=metric)["value"].iloc[0]
        assert found.value(metric, 0) == pytest.approx(value, rel=1e-4)
