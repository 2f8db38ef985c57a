"""Rounds of rectification beside what they came from, from tables whose answers are known."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import lead, one_evaluation, reflow
from benchmarks.studies.alike import UnlikeStudies
from flowprior.evaluation.result import table_row


def rows(values: dict[str, float], **setting: object) -> pandas.DataFrame:
    """Two seeds of these flows at one evaluation, trained with ``setting``."""
    found = [
        table_row("fid-cnn128", value, flow=flow, nfe=1, seed=seed, sampler="euler", split="test")
        for flow, value in values.items()
        for seed in (0, 1)
    ]
    return pandas.DataFrame(found).assign(label=lambda table: table["flow"], **setting)


PARTS = {lead.OURS: 17.0, one_evaluation.AVERAGE: 12.0, "residual": 16.0}
ROUND = {"more training": 16.0, reflow.ROUND: 14.0}


def test_further_rounds_are_named_by_what_they_change_and_bring_nothing_else() -> None:
    studies = {"": rows(ROUND), ", u-shaped": rows({**ROUND, reflow.ROUND: 13.0}, time="u-shaped")}
    found = reflow.on_digits(rows(PARTS), studies).groupby("flow")["value"].mean()
    assert found.to_dict() == {
        lead.OURS: 17.0,
        one_evaluation.AVERAGE: 12.0,
        "more training": 16.0,
        "reflow": 14.0,
        "reflow, u-shaped": 13.0,
    }


def test_a_round_of_another_network_is_refused() -> None:
    studies = {"": rows(ROUND, model="mlp:width=128")}
    with pytest.raises(UnlikeStudies, match="model"):
        reflow.on_digits(rows(PARTS, model="mlp:width=64"), studies)
