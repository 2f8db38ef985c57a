"""Markdown tables and sentences of a long table: means with deviations, ratios seed by seed, lost flows."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowprior.report.markdown import (
    counted,
    cross,
    lost_to_prior,
    markdown_table,
    pivot,
    seed_ratios,
    spread,
)
from flowprior.study.table import read_table, trained
from tests.study.stored import cell, keep, rows


def test_values_have_their_spread() -> None:
    assert spread([1.0, 3.0]) == "2.0 ± 1.4"
    assert spread([2.0], 3) == "2.000"
    assert markdown_table(["a"], [["b"], [None]]).splitlines() == ["| a |", "| --- |", "| b |", "| – |"]
    assert (counted(1, "seed"), counted(3, "seed")) == ("1 seed", "3 seeds")


def test_a_place_where_a_seed_is_missing_has_a_dash(tmp_path: Path) -> None:
    full = [cell("full", rows("full", nfe1=value, nfe4=value), seed) for seed, value in enumerate((1.0, 3.0))]
    partly = [
        cell("partly", rows("partly", nfe1=1.0), 0),
        cell("partly", rows("partly", nfe1=1.0, nfe4=2.0), 1),
    ]
    table = read_table(keep(tmp_path, *full, *partly))
    assert pivot(table, "fid-cnn128", [1, 4, 8]).splitlines()[2:] == [
        "| `full` | 2.0 ± 1.4 | 2.0 ± 1.4 | – |",
        "| `partly` | 1.0 ± 0.0 | – | – |",
    ]


def test_rows_and_columns_may_be_of_any_column(tmp_path: Path) -> None:
    cells = [cell("a", rows("a", nfe4=float(count)), count=count) for count in (1, 20)]
    table = read_table(keep(tmp_path, *cells))
    shown = cross(table, ["nfe", "count"], [(4, 20), (4, 1)], ["flow", "many", "one"], digits=0)
    assert shown.endswith("| `a` | 20 | 1 |")
    assert cross(table, "flow", ["a"], ["examples", "a"], index="count").endswith("| 20 | 20.0 |")


def test_ratios_are_of_the_same_seed(tmp_path: Path) -> None:
    values = {("plain", 0): 2.0, ("plain", 1): 4.0, ("ours", 1): 1.0, ("ours", 2): 9.0}
    cells = [cell(flow, rows(flow, nfe4=value), seed) for (flow, seed), value in values.items()]
    found = seed_ratios(trained(read_table(keep(tmp_path, *cells)), "fid-cnn128"), "plain")
    assert list(zip(found["flow"], found["seed"], found["value"], strict=True)) == [("ours", 1, 0.25)]


@pytest.mark.parametrize(("metric", "better"), [("fid-cnn128", "lower"), ("accuracy", "higher")])
def test_where_a_flow_loses_to_its_prior_is_said(tmp_path: Path, metric: str, better: str) -> None:
    groups = {"good": (9.0, 5.0, 4.0), "bad": (3.0, 5.0, 2.0), "worst": (1.0, 2.0, 2.0)}
    cells = []
    for flow, values in groups.items():
        alone, one, four = (1 / value if better == "higher" else value for value in values)
        cells.append(cell(flow, rows(flow, metric, nfe0=alone, nfe1=one, nfe4=four)))
    table = read_table(keep(tmp_path, *cells))
    said = lost_to_prior(table, metric, (0, 1, 4), better)
    assert "`bad` at NFE 1; `worst` at every NFE" in said
    assert "`good`" not in said
    assert "every flow is better" in lost_to_prior(table[table["flow"] == "good"], metric, (1, 4), better)


def test_flows_without_their_prior_alone_are_not_judged_by_it(tmp_path: Path) -> None:
    old, new = cell("old", rows("old", nfe4=1.0)), cell("new", rows("new", nfe0=3.0, nfe4=1.0))
    table = read_table(keep(tmp_path, old, new))
    assert lost_to_prior(table[table["flow"] == "old"], "fid-cnn128", (4,)) == ""
    assert "every flow with a row at NFE 0 is better" in lost_to_prior(table, "fid-cnn128", (4,))
