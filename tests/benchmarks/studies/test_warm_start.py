"""When a warm start is as good as a training from scratch, from curves whose answers are known."""

from __future__ import annotations

import pandas

from benchmarks.studies import warm_start
from flowprior.evaluation.result import table_row

STEPS = (100, 200, 300)


def table(values: tuple[float, ...]) -> pandas.DataFrame:
    """A curve of one setting, the mean of two seeds."""
    rows = []
    for step, value in zip(STEPS, values, strict=True):
        for seed, shift in enumerate((-0.5, 0.5)):
            common = {"flow": "default", "nfe": 4, "step": step, "seed": seed}
            rows.append(table_row("fid-lite0", value + shift, split="test", **common))
            rows.append(table_row("fid-lite0", 0.0, split="validation", **common))
    return pandas.DataFrame(rows)


def test_the_first_step_that_is_as_good_is_found():
    scratch = warm_start.on_the_way(table((30.0, 20.0, 10.0)), "fid-lite0")
    warm = warm_start.on_the_way(table((12.0, 9.0, 8.0)), "fid-lite0")
    assert warm_start.reached(warm, scratch, "default", 4) == 200
    worse = warm_start.on_the_way(table((40.0, 30.0, 11.0)), "fid-lite0")
    assert warm_start.reached(worse, scratch, "default", 4) is None
