"""What is trained of a source stands beside the same source as it is."""

from __future__ import annotations

import pandas

from benchmarks.studies.tables import trained_over_fixed
from flowprior.evaluation.result import table_row

VALUES = {"a+condot": (9.0, 4.0), "a+condot, shift": (3.0, 3.0), "b": (1.0, 1.0), "c, scale": (2.0, 2.0)}


def test_a_setting_is_compared_with_the_one_that_its_name_begins_with() -> None:
    rows = [
        table_row("fid-cnn128", value, flow=flow, seed=seed, nfe=nfe, split="test")
        for flow, values in VALUES.items()
        for nfe, value in zip((0, 4), values, strict=True)
        for seed in (0, 1)
    ]
    found = trained_over_fixed(pandas.DataFrame(rows), "fid-cnn128")
    assert found.index.tolist() == ["a+condot, shift"]
    assert found.columns.tolist() == [4]
    assert found[4].tolist() == [0.75]
