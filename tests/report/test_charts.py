"""Charts and pictures: labels apart, colours that follow the page, and the samples that were saved."""

from __future__ import annotations

import base64
import io
import re
from importlib.resources import files
from itertools import pairwise
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from PIL import Image

from flowprior.report.charts import Level, Line, line_chart, spread_out
from flowprior.report.sample_pictures import Samples, chosen_rows, draw, is_drawable
from flowprior.report.styles import COLOURS, letter, styles


def variants(priors: tuple[str, ...], couplings: tuple[str, ...]) -> list[dict[str, object]]:
    return [
        {"label": f"{p} + {c}", "labels": (p, c, "condot"), "baseline": (p, c) == (priors[-1], couplings[0])}
        for p in priors
        for c in couplings
    ]


def test_every_variant_looks_different_and_the_baseline_is_neutral():
    found = styles(variants(("gmm", "vae", "gaussian"), ("condot", "ot", "posterior")))
    looks = {(s.colour, s.dash, s.marker, s.hollow) for s in found.values()}
    assert len(looks) == len(found) == 9
    assert found["gaussian + condot"].colour == 0
    assert found["gmm + ot"].short == "gmm + ot"


def test_long_labels_become_letters():
    found = styles(variants(("gmm:covariance=lowrank,rank=64", "gaussian"), ("condot", "ot")))
    assert [style.short for style in found.values()] == ["A", "B", "C", "D"]
    assert [letter(n) for n in (0, 25, 26)] == ["A", "Z", "A2"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_labels_lie_apart_and_in_order(places):
    moved = spread_out(places, 10, 0, 100)
    ordered = sorted(moved)
    assert all(after - before >= 10 - 1e-9 for before, after in pairwise(ordered))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in moved)
    pairs = sorted(zip(places, moved, strict=True))
    assert all(b[1] >= a[1] for a, b in pairwise(pairs) if b[0] > a[0])


def test_labels_with_room_stay_where_they_are():
    assert spread_out([5.0, 80.0, 40.0], 10, 0, 100) == [5.0, 80.0, 40.0]


@pytest.fixture
def chart() -> str:
    looks = styles(variants(("gmm", "gaussian"), ("condot", "ot")))
    lines = [
        Line(style, [1, 2, 4], [9.0 + n, 5.0, 2.0], [0.5, 0.1, None])
        for n, style in enumerate(looks.values())
    ]
    options = {"name": "quality-fid", "description": "falls & <falls>", "x_label": "NFE", "doubling": True}
    return line_chart(lines, level=Level(1.0, "real data"), **options)


def test_a_chart_is_one_svg_in_the_pages_fonts_and_colours(chart):
    root = ElementTree.fromstring(chart.replace("xlink:href", "href"))
    assert root.get("aria-label") == "falls & <falls>"
    assert root.get("width") is None
    assert re.findall(r"#[0-9a-f]{6}", chart) == []
    for variable in ("--series-0", "--series-1", "--ink", "--muted", "--rule"):
        assert f"var({variable})" in chart
    assert "DejaVu" not in chart
    words = {"".join(text.itertext()).strip() for text in root.iter("text")}
    assert {"gmm + ot", "gaussian + condot", "real data", "NFE", "4"} <= words


def placed(svg: str) -> list[float]:
    """Horizontal places of the ticks in a chart of one line; a marker stands just left of each of them."""
    return sorted({float(x) for x in re.findall(r'<use [^>]*?x="([\d.]+)"', svg)})[1::2]


def one_line(x: list[float], doubling: bool = True) -> str:
    (style, *_) = styles(variants(("gaussian",), ("condot",))).values()
    line = Line(style, x, [9.0 - place / 99 for place in x], [None] * len(x))
    return line_chart([line], name="c", description="", x_label="NFE", doubling=doubling)


def test_zero_evaluations_stand_one_doubling_before_the_first_number():
    root = ElementTree.fromstring(one_line([0, 4, 8, 16]).replace("xlink:href", "href"))
    words = ["".join(text.itertext()).strip() for text in root.iter("text")]
    assert [word for word in words if word in ("0", "4", "8", "16")] == ["0", "4", "8", "16"]
    gaps = [after - before for before, after in pairwise(placed(one_line([0, 4, 8, 16])))]
    assert len(gaps) == 3
    assert max(gaps) - min(gaps) < 1e-3
    assert min(gaps) > 20


@pytest.mark.parametrize("x", [[0], [1], [0, 131.5]])
def test_any_numbers_of_evaluations_can_be_drawn(x):
    for doubling in (True, False):
        assert one_line(x, doubling).startswith("<svg")


@pytest.mark.parametrize("label", [r"a\1", r"\g<9>", r"$\frac$", '<b> & "so"', "[/b]"])
def test_no_label_is_read_as_a_pattern_a_formula_or_markup(label):
    (style,) = styles([{"label": label, "labels": (label, "ot", "condot"), "baseline": True}]).values()
    line = Line(style, [1, 2], [2.0, 1.0], [None, None])
    options = {"name": "c", "description": f"{label} falls", "x_label": "NFE", "doubling": True}
    root = ElementTree.fromstring(line_chart([line], **options).replace("xlink:href", "href"))
    assert root.get("aria-label") == f"{label} falls"
    assert label in {"".join(text.itertext()).strip() for text in root.iter("text")}


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


def test_pictures_are_the_first_samples_of_each_label():
    cond = torch.tensor([1, 0, 1, 0, 2, 2, 1, 0, 2, 0])
    rows, columns = chosen_rows(cond, 10)
    assert columns == 3
    assert cond[rows].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert rows.tolist() == [1, 3, 7, 0, 2, 6, 4, 5, 8]
    assert chosen_rows(None, 100)[0].tolist() == list(range(36))


def test_a_drawn_picture_holds_the_samples():
    x = torch.full((4, 1, 8, 8), -1.0)
    x[1] = 1.0
    html = draw(Samples(x, torch.tensor([0, 0, 1, 1])), Samples(x, None), "a", 'digits "so"')
    assert 'alt="digits &quot;so&quot;"' in html
    data = re.search(r"base64,([^\"]+)", html)
    assert data is not None
    picture = Image.open(io.BytesIO(base64.b64decode(data[1])))
    assert html.count(f'width="{picture.width}" height="{picture.height}"') == 1
    middle = (picture.width * 3 // 4, picture.height // 4)
    assert picture.convert("L").getpixel(middle) == 255
    assert picture.convert("L").getpixel((picture.width // 4, picture.height // 4)) == 0


def test_points_of_the_plane_are_drawn_as_points():
    x = torch.randn(30, 2)
    svg = draw(Samples(x, torch.arange(30) % 3), Samples(x, None), "p", "points")
    assert svg.startswith("<svg")
    assert svg.count("<use") >= 30
    assert [is_drawable(shape) for shape in ((2,), (1, 8, 8), (3, 4, 4), (5,), (7, 8, 8))] == [
        True,
        True,
        True,
        False,
        False,
    ]
