"""The last tables of a run, from rows made by hand."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.operators.comparison import closing_tables, comparisons, whole_steps
from benchmarks.operators.groups import FALLBACK, NATIVE, WHOLE


def row(group: str, way: str, median: float, **info: object) -> dict:
    return {"group": group, "median": median, "extra_info": {"way": way, **info}}


def test_ratios_are_those_of_the_turns_where_there_are_any():
    in_turn = {NATIVE: 2.0, "eager": 10.0}
    rows = [row("op", NATIVE, 0.002, milliseconds=in_turn, bandwidth=0.5), row("op", "eager", 0.5)]
    (found,) = comparisons(rows)
    assert found.ratio == {"eager": 5.0}


def test_ratios_are_those_of_the_rows_otherwise():
    rows = [row("fit", WHOLE, 2.0), row("fit", "scikit-learn float64", 7.0)]
    (found,) = comparisons(rows)
    assert found.ratio == {"scikit-learn float64": 3.5}
    assert comparisons([{**rows[0], "stats": {"median": 2.0}}, rows[1]])[0].ratio == found.ratio


def test_the_fallback_is_ours_where_nothing_is_native():
    (found,) = comparisons([row("op", FALLBACK, 1.0), row("op", "eager", 0.5)])
    assert (found.ours, found.ratio) == (FALLBACK, {"eager": 0.5})


def test_what_stands_alone_is_compared_with_nothing():
    assert comparisons([row("network", "compact U-Net", 0.2), row("fit", WHOLE, 1.0)]) == []
    assert closing_tables([]) == []


def test_what_lies_around_the_network_has_its_goals_and_the_networks_share(tmp_path: Path):
    """A goal that is met has a bold ratio, one that is missed is bold itself."""
    file = tmp_path / "steps.json"
    left, ratio = {WHOLE: 0.5, "torchcfm": 2.0, "flow_matching": 0.8}, {"torchcfm": 4.0, "flow_matching": 1.6}
    goal = {"torchcfm": 2.0, "flow_matching": 2.0}
    info = {"milliseconds": left, "ratio": ratio, "goal": goal, "network_milliseconds": 5.25}
    whole = {WHOLE: 6.0, "torchcfm": 9.0}
    rows = [
        row("around the network in a step of 64", WHOLE, 1.0, **info),
        row("a whole step of 64", WHOLE, 1.0, milliseconds=whole, ratio={"torchcfm": 1.5}, goal={}),
    ]
    report = {"machine_info": {"cpu": {"brand_raw": "Some CPU"}}, "benchmarks": rows}
    file.write_text(json.dumps(report), encoding="utf-8")
    found = whole_steps(file)
    assert (
        "| a step of 64 | 500 | 5.25 | torchcfm **4.0** (2), flow_matching 1.6 (**2**) |" in found["around"]
    )
    assert "| a whole step of 64 | 6.00 | torchcfm 1.5 |" in found["whole"]
    assert whole_steps(tmp_path / "none.json") == {}
