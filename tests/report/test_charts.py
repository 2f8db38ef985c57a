"""Charts and pictures: colours that follow the page, labels as they are, and the samples that were saved."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from flowprior.evaluation.result import table_row
from flowprior.report.charts import line_chart
from flowprior.report.gallery import draw
from flowprior.report.looks import COLOURS, marker_outline, styles


def variants(priors: tuple[str, ...], couplings: tuple[str, ...]) -> list[dict[str, object]]:
    return [
        {"label": f"{p} + {c}", "labels": (p, c, "condot"), "baseline": (p, c) == (priors[-1], couplings[0])}
        for p in priors
        for c in couplings
    ]


def test_every_variant_has_a_marker_of_its_own_and_the_baseline_is_neutral():
    found = styles(variants(("gmm", "vae", "gaussian"), ("condot", "ot", "posterior")))
    assert len({style.marker for style in found.values()}) == len(found) == 9
    assert found["gaussian + condot"].colour == 0
    assert found["gmm + ot"].short == "gmm + ot"


def test_names_lose_the_options_that_tell_nothing_apart():
    found = styles(variants(("gmm:covariance=lowrank,rank=64", "gaussian"), ("condot", "ot")))
    shorts = ["gmm + condot", "gmm + ot", "gaussian + condot", "gaussian + ot"]
    assert [style.short for style in found.values()] == shorts


@pytest.mark.parametrize(("marker", "corners"), [("s", 4), ("^", 3), ("D", 4), ("o", 1)])
def test_the_marker_beside_a_name_is_that_of_the_chart(marker, corners):
    outline = marker_outline(marker)
    assert outline.startswith("M")
    assert outline.endswith("Z")
    assert len(re.findall(r"[ML]", outline)) in (corners, corners + 1)
    assert max(abs(float(value)) for value in re.findall(r"-?\d+\.?\d*", outline)) < 1


def frame(*lines: tuple[str, Sequence[float], Sequence[float]]) -> pandas.DataFrame:
    """A long table of lines (variant, NFE, values) of the metric fid, two seeds each."""
    rows = [
        table_row("fid", value + shift, flow=label, nfe=nfe, seed=seed)
        for label, counts, values in lines
        for nfe, value in zip(counts, values, strict=True)
        for seed, shift in ((0, -0.5), (1, 0.5))
    ]
    return pandas.DataFrame(rows)


def draw_chart(table: pandas.DataFrame, looks: dict[str, Any], **options: Any) -> dict[str, Any]:
    return line_chart(table, "fid", looks, name="quality-fid", better="lower", about="falls", **options)


@pytest.fixture
def chart() -> str:
    looks = styles(variants(("gmm", "gaussian"), ("condot", "ot")))
    lines = [(label, [1, 2, 4], [9.0 + n, 5.0, 2.0]) for n, label in enumerate(looks)]
    return draw_chart(frame(*lines), looks, level=1.0, doubling=True)["svg"]


def test_a_chart_is_one_svg_in_the_pages_font_and_colours(chart):
    root = ElementTree.fromstring(chart)
    assert root.get("aria-label", "").startswith(
        "fid against evaluations: gmm + condot from 9.00 at 1.00 to "
    )
    assert root.get("width") is None
    assert re.findall(r"#[0-9a-f]{6}", chart) == []
    for variable in ("--series-0", "--series-1", "--ink", "--muted", "--rule", "--font"):
        assert f"var({variable})" in chart
    assert "DejaVu" not in chart
    words = {"".join(text.itertext()).strip() for text in root.iter("text")}
    axis = "NFE, evaluations of the network"
    assert {"gmm + ot", "gaussian + condot", "real data", axis, "4"} <= words


def test_a_chart_says_what_it_shows():
    looks = styles(variants(("gaussian",), ("condot",)))
    found = draw_chart(frame(("gaussian + condot", [1, 2], [3.0, 2.0])), looks)
    assert (found["metric"], found["better"], found["about"]) == ("fid", "lower is better", "falls")


@pytest.mark.parametrize("x", [[0], [1], [0, 131.5]])
def test_any_numbers_of_evaluations_can_be_drawn(x):
    looks = styles(variants(("gaussian",), ("condot",)))
    for doubling in (True, False):
        table = frame(("gaussian + condot", x, [9.0 - place / 99 for place in x]))
        assert draw_chart(table, looks, doubling=doubling)["svg"].startswith("<svg")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (1.0, 1.0), (1.0, 1e12), (1e-17, -1e-17), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_any_values_are_drawn_without_a_warning(values):
    """No axis has zero height, be all values the same, tiny, huge or not finite."""
    looks = styles(variants(("gaussian",), ("condot",)))
    table = frame(("gaussian + condot", [0, 1], values)).drop_duplicates("nfe").assign(value=values)
    for level in (None, values[-1]):
        assert draw_chart(table, looks, level=level, doubling=True)["svg"].startswith("<svg")


def test_zero_evaluations_stand_one_doubling_before_the_first_number():
    looks = styles(variants(("gaussian",), ("condot",)))
    svg = draw_chart(frame(("gaussian + condot", [0, 4, 8, 16], [90.0, 80, 70, 60])), looks, doubling=True)[
        "svg"
    ]
    texts = {"".join(text.itertext()).strip(): text for text in ElementTree.fromstring(svg).iter("text")}
    places = [
        float(texts[word].get("x") or texts[word].get("transform", "").partition("(")[2].split()[0])
        for word in ("0", "4", "8", "16")
    ]
    gaps = [after - before for before, after in pairwise(places)]
    assert max(gaps) - min(gaps) < 1e-3
    assert min(gaps) > 20


@pytest.mark.parametrize("label", [r"a\1", r"\g<9>", r"$\frac$", '<b> & "so"', "[/b]"])
def test_no_label_is_read_as_a_pattern_a_formula_or_markup(label):
    looks = styles([{"label": label, "labels": (label, "ot", "condot"), "baseline": True}])
    root = ElementTree.fromstring(draw_chart(frame((label, [1, 2], [2.0, 1.0])), looks)["svg"])
    assert label in root.get("aria-label", "")
    assert label in {"".join(text.itertext()).strip() for text in root.iter("text")}


def test_names_too_long_for_the_ends_of_lines_stand_below_the_chart():
    names = ["a network of another width", "gaussian"]
    looks = styles([{"label": n, "labels": (n, "ot", "condot"), "baseline": n == "gaussian"} for n in names])
    svg = draw_chart(frame(*((name, [1, 2], [3.0, 2.0]) for name in names)), looks, level=1.0)["svg"]
    places = {}
    for text in ElementTree.fromstring(svg).iter("text"):
        move = text.get("transform", "").partition("translate(")[2].partition(")")[0].split()
        height = float(move[1]) if move else float(text.get("y", "0"))
        places["".join(text.itertext()).strip()] = height
    axis = places["NFE, evaluations of the network"]
    assert axis < places[names[0]] < places[names[1]] < places["real data"]


@pytest.mark.parametrize(("better", "scale"), [("lower", "log"), ("higher", "linear")])
def test_only_distances_have_a_logarithmic_axis(monkeypatch, better, scale):
    found = []
    monkeypatch.setattr("flowprior.report.charts.name_ends", lambda axes: found.append(axes.get_yscale()))
    looks = styles(variants(("gaussian",), ("condot",)))
    table = frame(("gaussian + condot", [1, 2], [0.9, 90.0])).assign(value=[0.01, 0.01, 0.9, 0.9])
    line_chart(table, "fid", looks, name="q", better=better, about="")
    assert found == [scale]


def test_the_level_of_a_training_curve_has_its_own_name():
    looks = styles(variants(("gaussian",), ("condot",)))
    table = frame(("gaussian + condot", [2, 2], [9.0, 8.0])).assign(step=[4, 4, 8, 8])
    svg = draw_chart(table, looks, x="step", level=8.0, level_name="baseline's end")["svg"]
    assert "baseline's end" in svg
    assert "real data" not in svg


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
    for name in ("ink", "muted", "good", "bad", *[f"series-{number}" for number in range(COLOURS)]):
        for ground in ("card", "page"):
            high, low = sorted((brightness(colours[name]), brightness(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def test_ids_are_the_charts_own_and_references_lead_to_them(chart):
    ids = re.findall(r'\bid="([^"]+)"', chart)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("quality-fid-") for name in ids)
    references = set(re.findall(r'href="#([^"]+)"', chart)) | set(re.findall(r"url\(#([^)]+)\)", chart))
    assert references
    assert references <= set(ids)


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


def test_points_of_the_plane_are_drawn_as_points():
    x = torch.randn(30, 2)
    html = draw((x, torch.arange(30) % 3), x, "points")
    found = picture(html)
    assert len(np.unique(np.asarray(found.convert("RGB")).reshape(-1, 3), axis=0)) > 3


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
