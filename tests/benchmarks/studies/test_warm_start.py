"""When a warm start is as good as a training from scratch, from curves whose answers are known."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import lead, warm_start
from benchmarks.studies.alike import UnlikeStudies
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


def cells(values: tuple[float, ...], **setting: object) -> pandas.DataFrame:
    """The curve with the trained flow's rows, which are those of its last step."""
    curve = table(values).assign(label="default", sampler=lead.GRID, **setting)
    last = curve[curve["step"] == STEPS[-1]]
    trained = pandas.concat([last.assign(step=None), curve])
    return pandas.concat([trained, trained.assign(metric="fid-cnn128")], ignore_index=True)


def test_a_warm_start_needs_as_many_steps_by_each_metric():
    scratch, warm = cells((30.0, 20.0, 10.0), init=""), cells((12.0, 9.0, 8.0), init="a run")
    assert warm_start.steps_needed(warm, scratch) == [200, 200]
    with pytest.raises(ValueError, match="not everywhere as good"):
        warm_start.steps_needed(cells((40.0, 30.0, 11.0), init="a run"), scratch)
    with pytest.raises(UnlikeStudies, match="model 'mlp' and 'unet'"):
        warm_start.steps_needed(warm.assign(model="mlp"), scratch.assign(model="unet"))


def test_a_longer_training_is_one_of_the_same_network():
    longer, warm = (
        cells((9.0, 8.0, 5.0), init="", steps=8000),
        cells((12.0, 9.0, 8.0), init="a run", steps=1000),
    )
    assert warm_start.over_longer(warm, longer, "fid-lite0", 4) == pytest.approx(8 / 5)
    with pytest.raises(UnlikeStudies, match="model 'small' and 'large'"):
        warm_start.over_longer(warm.assign(model="small"), longer.assign(model="large"), "fid-lite0", 4)


def test_the_first_step_that_is_as_good_is_found():
    scratch = warm_start.on_the_way(table((30.0, 20.0, 10.0)), "fid-lite0")
    warm = warm_start.on_the_way(table((12.0, 9.0, 8.0)), "fid-lite0")
    assert warm_start.reached(warm, scratch, "default", 4) == 200
    worse = warm_start.on_the_way(table((40.0, 30.0, 11.0)), "fid-lite0")
    assert warm_start.reached(worse, scratch, "default", 4) is None
