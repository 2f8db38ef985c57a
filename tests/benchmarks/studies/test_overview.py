"""The charts at the top of docs/results.md: whose values they are, which are misses, what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.studies import lead, overview, overview_charts
from benchmarks.studies.overview import REGRESSION, WEATHER, Tables
from benchmarks.studies.results_page import DOCS, RESULTS, contents, page, table_of
from benchmarks.studies.tables import BASE, FEATURES
from flowprior.pictures.looks import MARKERS
from flowprior.study.table import select
from tests.benchmarks.studies import test_lead, test_long_curves
from tests.benchmarks.studies.conftest import read_stored
from tests.study.stored import Row, cell, keep, rows

EMPTY = pandas.DataFrame()


def named(**tables: pandas.DataFrame) -> Tables:
    """Tables of studies by name, with hyphens for underlines."""
    return lambda name: tables.get(name.replace("-", "_"), EMPTY)


def both_features(table: pandas.DataFrame) -> pandas.DataFrame:
    return pandas.concat([table.assign(metric=metric) for metric in FEATURES])


def points(figure: Figure) -> list[tuple[str, Any, Any]]:
    """Name, places and values of what has a marker of its own."""
    lines: list[Any] = [line for axes in figure.axes for line in axes.get_lines()]
    drawn = [line for line in lines if line.get_marker() in MARKERS]
    return [(line.get_label(), line.get_xdata(), line.get_ydata()) for line in drawn]


def stored_results(name: str) -> pandas.DataFrame:
    return table_of(read_stored, RESULTS, name)


def forecasts(at: dict[int, tuple[float, float]]) -> Tables:
    """A study of forecasts: NFE -> both scores of the base and of the design; regression has 1.5."""
    flows = [
        {"metric": metric, "nfe": nfe, "flow": flow, "value": value}
        for metric in overview.SCORES
        for nfe, pair in at.items()
        for flow, value in zip((BASE, "learned+posterior"), pair, strict=True)
    ]
    others = {"climatology": 5.0, "regression": 1.6, "regression, last hour": 1.5}
    plain = [{"metric": "crps", "flow": flow, "value": value} for flow, value in others.items()]
    return named(forecasting=pandas.DataFrame(flows + plain).assign(seed=0, step=None, split="test"))


def test_quality_is_that_of_the_lead_at_both_budgets_and_of_no_other_network() -> None:
    table = both_features(test_lead.stored())
    found = overview.quality(named(lead_1000=table, lead_8000=table, lead_16000=table))
    assert found["steps"].unique().tolist() == [1000, 16000]
    ours = found[(found["flow"] == "default") & (found["metric"] == FEATURES[1]) & (found["steps"] == 1000)]
    assert ours.set_index("nfe")["value"].to_dict() == {1: 25, 4: 10, 30: 8.75}
    ratio = overview.over_best_rival(found).loc[16000, FEATURES[1]]
    assert ratio.to_dict() == lead.over_best_rival(test_lead.stored(), FEATURES[1]).to_dict()


def test_settings_that_were_not_trained_so_long_or_had_one_grid_are_named() -> None:
    table = both_features(test_lead.stored())
    ours, base = (select(table, flow=flow) for flow in ("default", BASE))
    later = pandas.concat([ours, select(base, sampler="euler")])
    found = overview.quality(named(lead_1000=table, lead_16000=later))
    assert overview.not_trained(found) == [("flow_matching", 16000)]
    assert overview.at_equal_steps(found) == [(BASE, 16000)]


@pytest.mark.parametrize(("end", "fades"), [(0.5, False), (0.9, True)])
def test_the_lead_fades_where_the_ratio_grows_at_many_evaluations(end: float, fades: bool) -> None:
    found = overview.lasting(named(long_training=test_long_curves.table(end)))
    assert (found["step"].min(), found["step"].max()) == (3, 60)
    way = overview.course(found)
    assert way.loc[(15, FEATURES[0])].tolist() == pytest.approx([0.5, end])
    assert overview.fades(found) == fades


def test_conditions_are_shown_at_few_and_the_most_evaluations_with_the_misses() -> None:
    found = overview.conditions(forecasts({1: (2.0, 2.2), 4: (2.0, 1.0), 8: (2.0, 9.0), 30: (2.0, 1.9)}))
    assert set(found["nfe"]) == {1, 4, 30}
    assert found["metric"].unique().tolist() == ["crps", "energy_score", REGRESSION]
    regression = found[found["metric"] == REGRESSION].set_index("nfe")["ratio"]
    assert regression.to_dict() == pytest.approx({1: 2.2 / 1.5, 4: 1 / 1.5, 30: 1.9 / 1.5})
    lost = overview.behind(found)
    assert set(lost["task"]) == {WEATHER}
    assert list(zip(lost["metric"], lost["nfe"], strict=True)) == [
        ("crps", 1),
        ("energy_score", 1),
        (REGRESSION, 1),
        (REGRESSION, 30),
    ]


def test_a_chart_draws_every_value_once() -> None:
    found = overview.quality(named(lead_1000=both_features(test_lead.stored())))
    drawn = [value for _, _, values in points(overview_charts.draw_quality(found)) for value in values]
    assert sorted(drawn) == sorted(found["value"])


def test_misses_lie_right_of_the_line_under_the_name_of_their_task() -> None:
    found = overview.conditions(forecasts({1: (2.0, 2.2), 4: (2.0, 1.0), 15: (2.0, 1.9)}))
    figure = overview_charts.draw_conditions(found)
    ratios = {name: places.tolist() for name, places, _ in points(figure)}
    assert ratios["NFE 1"] == pytest.approx([1.1, 1.1, 2.2 / 1.5])
    assert ratios["NFE 4"] == pytest.approx([0.5, 0.5, 1 / 1.5])
    assert ratios["NFE 15, the most"] == pytest.approx([0.95, 0.95, 1.9 / 1.5])
    (axes,) = figure.axes
    assert axes.get_yticklabels()[0].get_text() == WEATHER
    assert axes.get_xlim()[1] > 1.1


@pytest.mark.parametrize("name", overview_charts.CHARTS)
def test_the_committed_chart_shows_the_stored_values(name: str) -> None:
    values, _ = overview_charts.CHARTS[name]
    with Image.open(DOCS / "images" / f"{name}.png") as picture:
        shown = picture.info[overview_charts.DIGEST]
    expected = overview.digest(values(stored_results))
    assert shown == expected, "run python -m benchmarks.studies.results_page"
    assert f"(images/{name}.png)" in (DOCS / "results.md").read_text(encoding="utf-8")


def test_a_digest_changes_with_the_values_and_not_with_their_last_digits() -> None:
    found = overview.lasting(named(long_training=test_long_curves.table()))
    assert overview.digest(found.assign(ratio=found["ratio"] * (1 + 1e-9))) == overview.digest(found)
    assert overview.digest(found.assign(ratio=found["ratio"] * 1.01)) != overview.digest(found)


def test_the_numbers_of_a_caption_are_those_of_the_cells(tmp_path: Path) -> None:
    def trained(label: str, value: float) -> Row:
        at = {f"nfe{nfe}": value for nfe in (1, 4, 30)}
        found = [
            row | {"sampler": sampler, "samples": 9}
            for metric in FEATURES
            for split in ("test", "validation")
            for sampler in ("euler", lead.GRID)
            for row in rows(label, metric, split, **at)
        ]
        run = {"parameters": 300_000, "prior_bytes": 8_000_000, "prior_fit_seconds": 1, "seconds_per_step": 1}
        return cell(label, found, run=run)

    keep(tmp_path / "lead-1000", trained("default", 1.0), trained(BASE, 8.0))
    text = page(tmp_path)
    assert "Fréchet distance is 0.12 to 0.12 of the best rival's after 1,000 steps" in text
    assert "prior 2.0 million numbers" in text
    assert "images/overview-lasting.png" not in text


def test_the_contents_lead_to_every_section_in_its_order() -> None:
    text = "# A\n\n## N(0, I): a `prior`\n\n### below\n\n## 8gaussians → moons\n"
    assert (
        contents(text)
        == "- [N(0, I): a `prior`](#n0-i-a-prior)\n- [8gaussians → moons](#8gaussians--moons)\n"
    )
    committed = (DOCS / "results.md").read_text(encoding="utf-8")
    assert contents(committed) in committed


def test_the_readme_says_the_same_of_the_lead() -> None:
    text = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    ratio = overview.over_best_rival(overview.quality(stored_results))
    last = overview.course(overview.lasting(stored_results))["last"]
    for metric in FEATURES:
        for own in (ratio.xs(metric, level="metric"), last.xs(metric, level="metric")):
            assert f"{own.min():.2f} to {own.max():.2f}" in text
