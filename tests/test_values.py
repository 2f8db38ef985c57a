"""The comparison of two trees, on values made by hand; ``python -m tests.values`` makes real ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests import values
from tests.values import HERE, difference, differences

FLOW = "prior gmm, coupling ot"
EQUAL = {f"{FLOW}: losses": np.array([1.0, 2.0]), "prior gmm: mean": np.array([3.0])}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, ([], [])),
        ({f"{FLOW}: losses": np.array([1.5, 1.0])}, ([f"{FLOW}: losses: largest difference 1"], [])),
        # A component that one tree has is named once, and not compared.
        (
            {f"prior shifted, coupling ot: {name}": np.zeros(2) for name in ("losses", "samples")},
            ([], ["only abc has prior shifted"]),
        ),
        # A combination that one tree refuses is a difference.
        ({"coupling ot: mean": np.zeros(2)}, (["coupling ot: mean: only abc has it"], [])),
    ],
)
def test_a_difference_names_combination_quantity_and_largest_difference(more, found):
    assert differences(EQUAL, EQUAL | more, "abc") == found
    swapped = tuple([line.replace("only abc", f"only {HERE}") for line in lines] for lines in found)
    assert differences(EQUAL | more, EQUAL, "abc") == swapped


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([1.0, 1000.0005], None),
        ([1.0, 1000.002], "largest difference 0.002"),
        ([1.000003, 1000.0], "largest difference 3e-06"),
        ([1.0], "shape [2], not [1]"),
        ([np.nan, 1000.0], "largest difference nan"),
    ],
)
def test_the_tolerance_grows_with_the_value(other, expected):
    assert difference(np.array([1.0, 1000.0]), np.array(other)) == expected


@pytest.mark.parametrize(("size", "status"), [(0.0, 0), (1e-3, 1)])
def test_the_exit_status_is_1_where_something_differs(size, status, monkeypatch, capsys):
    changed = {name: value + size for name, value in EQUAL.items()}
    monkeypatch.setattr(values, "extract", lambda commit, folder: None)
    monkeypatch.setattr(values, "values_of", lambda trees, folder: {HERE: EQUAL, "abc": changed})
    assert values.main(["--against", "abc"]) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"2 values of 1 trainings, {2 * status} differ from abc"
