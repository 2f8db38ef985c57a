"""The studies are grids that can be run."""

from __future__ import annotations

import pytest

from benchmarks.studies import STUDIES
from flowprior.conditions import Condition
from flowprior.study.cells import variants
from flowprior.study.grid import load_grid
from flowprior.study.variants import HOOKS, load_hook

GRIDS = sorted(path.name for path in STUDIES.glob("*.toml"))
LABELS = Condition("labels", 10)
"""Of most studies' data; what prior and coupling can serve under these they can serve under the others'."""


@pytest.mark.parametrize("name", GRIDS)
def test_a_study_is_a_grid_whose_functions_are_there(name: str) -> None:
    grid = load_grid(STUDIES / name)
    found = variants(grid)
    assert found
    assert all(variant.refusal(grid.training, LABELS) is None for variant in found)
    named = [(key, getattr(grid, key)) for key in HOOKS] + [("trainer", v.trainer) for v in found]
    assert all(callable(load_hook(key, text)) for key, text in named if text)
