"""Charts, pictures and the figure of a comparison: labels as they are, and the samples that were saved."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.errors import OptionError
from flowprior.report.figures import comparison_figure, line_chart, save_comparison
from flowprior.report.gallery import draw

TEXT = "{http://www.w3.org/2000/svg}text"
LABELS = ("gmm:covariance=lowrank,rank=16 + ot", "gaussian + condot")


def rows_of(
    label: str, x: Sequence[float], values: Sequence[float], place: str = "nfe"
) -> list[dict[str, Any]]:
    """Rows of report.json: one variant's values of the metric fid."""
    shared = {"metric": "fid", "variant": label, "std": 0.5}
    return [shared | {place: at, "mean": value} for at, value in zip(x, values, strict=True)]


def draw_chart(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    names = {row["variant"]: row["variant"] for row in rows}
    return line_chart(rows, names, better="lower", about="falls", **options)


def svg_of(chart: dict[str, Any]) -> str:
    """The drawing of a chart."""
    source = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', chart["image"])
    assert source
    return base64.b64decode(source[1]).decode()


def words_of(chart: dict[str, Any]) -> set[str]:
    return {"".join(text.itertext()).strip() for text in ElementTree.fromstring(svg_of(chart)).iter(TEXT)}


def test_a_chart_is_a_picture_with_its_names_and_says_what_it_shows() -> None:
    labels = ["gmm + condot", "gmm + ot", "gaussian + condot"]
    rows = [row for n, label in enumerate(labels) for row in rows_of(label, [1, 2, 4], [9.0 + n, 5.0, 2.0])]
    found = draw_chart(rows, level=1.0, doubling=True)
    assert (found["metric"], found["better"], found["about"]) == ("fid", "lower is better", "falls")
    assert 'alt="fid against evaluations: gmm + condot from 9.00 at 1.00 to ' in found["image"]
    assert {*labels, "real data", "NFE, evaluations of the network", "4"} <= words_of(found)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (1.0, 1.0), (1.0, 1e12), (1e-17, -1e-17), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_any_values_are_drawn_without_a_warning(values):
    """No axis has zero height, be all values the same, tiny, huge or not finite."""
    for places, doubling in (([0, 1], True), ([0, 131.5], False)):
        rows = rows_of("gaussian + condot", places, values)
        for level in (None, values[-1]):
            assert draw_chart(rows, level=level, doubling=doubling)["image"].startswith("<img")


@pytest.mark.parametrize("label", [r"a\1", r"\g<9>", r"$\frac$", '<b> & "so"', "[/b]"])
def test_no_label_is_read_as_a_pattern_a_formula_or_markup(label):
    found = draw_chart(rows_of(label, [1, 2], [2.0, 1.0]))
    assert label in words_of(found)
    assert label in ElementTree.fromstring(found["image"].replace(">", "/>")).get("alt", "")


def test_the_level_of_a_training_curve_has_its_own_name():
    rows = rows_of("gaussian + condot", [4, 8], [9.0, 8.0], place="step")
    words = words_of(draw_chart(rows, x="step", level=8.0, level_name="baseline's end", doubling=False))
    assert "training steps" in words
    assert "baseline's end" in words
    assert "real data" not in words


def brightness(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_that_text_may_have_is_told_from_what_is_behind(scheme):
    css = files("flowprior.report").joinpath("page.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for name in ("ink", "muted", "good", "bad"):
        for ground in ("card", "page"):
            high, low = sorted((brightness(colours[name]), brightness(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def picture(html: str) -> Image.Image:
    data = re.search(r"base64,([^\"]+)", html)
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data[1])))


def test_a_drawn_picture_holds_the_samples_and_its_own_size():
    x = torch.full((4, 1, 8, 8), -1.0)
    dark = picture(draw((x, torch.tensor([0, 0, 1, 1])), x, "d"))
    x[1] = 1.0
    html = draw((x, torch.tensor([0, 0, 1, 1])), x, 'digits "so"')
    assert 'alt="digits &quot;so&quot;"' in html
    found = picture(html)
    assert html.count(f'width="{found.width}" height="{found.height}"') == 1
    assert found.size == dark.size
    change = np.asarray(dark.convert("L")) != np.asarray(found.convert("L"))
    assert 0.05 < change.mean() < 0.3  # one of four images, and the names and gaps about them


@pytest.mark.parametrize("cond", [torch.arange(30) % 3, torch.linspace(0, 1, 30)[:, None], None])
def test_points_fill_a_square_without_words_and_are_not_enlarged_pixel_by_pixel(cond):
    x = torch.randn(30, 2)
    html = draw((x, cond), x, "points")
    found = picture(html)
    assert found.width == found.height
    assert 'class="smooth"' in html
    edge = np.asarray(found.convert("L"))[:, : found.width // 150]
    assert (edge == 255).all(), "no numbers at the left of the panel"
    assert 'class="pixels"' in draw((torch.zeros(2, 1, 8, 8), None), torch.zeros(2, 1, 8, 8), "images")


def summary(samplers: tuple[str, ...] = ("euler",)) -> dict[str, Any]:
    """Two variants, a distance, an accuracy and a metric of which no side is better."""
    metrics = {"fid": ("lower", 1.0, 90.0), "accuracy": ("higher", 0.98, 0.02), "spread": ("", None, 1.0)}
    rows = [
        {"metric": metric, "sampler": sampler, "nfe": nfe, "variant": label, "mean": worst, "std": spread}
        for metric, (_, _, worst) in metrics.items()
        for sampler in samplers
        for label in LABELS
        for nfe, spread in ((4, None), (0, 0.5), (1, 0.5))
    ]
    about = {name: {"better": side, "real_data_score": score} for name, (side, score, _) in metrics.items()}
    grid = {"seeds": [0, 1], "data": "digits"}
    variants = [{"label": label} for label in LABELS]
    named = {sampler: sampler for sampler in samplers}
    return {"quality": rows, "metrics": about, "grid": grid, "variants": variants, "samplers": named}


def test_each_metric_with_a_better_side_is_a_panel_and_each_variant_a_marker() -> None:
    figure = comparison_figure(summary())
    assert [axes.get_title() for axes in figure.axes] == ["fid ↓", "accuracy ↑"]
    fid, accuracy = figure.axes
    assert (fid.get_yscale(), accuracy.get_yscale()) == ("log", "linear")
    lines: list[Any] = [container.lines[0] for container in fid.containers]  # type: ignore[attr-defined]
    assert len({line.get_marker() for line in lines}) == 2
    assert lines[0].get_xdata() == pytest.approx([0, 1, 4], abs=0.2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "gmm + ot",
        "gaussian + condot",
        "real data",
    ]


def test_several_samplers_are_named_beside_the_variants() -> None:
    figure = comparison_figure(summary(("euler", "heun")))
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"gmm + ot, euler", "gaussian + condot, heun"} <= names


def test_a_comparison_without_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no run has a value yet"):
        save_comparison(summary() | {"quality": []}, tmp_path / "q.pdf")
    with pytest.raises(OptionError, match="ends in"):
        save_comparison(summary(), tmp_path / "q.txt")
