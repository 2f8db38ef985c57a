"""Charts, pictures and the figure of a comparison: labels as they are, and the samples that were saved."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.errors import OptionError
from flowprior.pictures.quality import evaluations_label
from flowprior.report.figures import charts, comparison_figure
from flowprior.report.gallery import draw

TEXT = "{http://www.w3.org/2000/svg}text"
LABELS = ("gmm:covariance=lowrank,rank=16 + ot", "gaussian + condot")


def svg_of(chart: dict[str, Any]) -> str:
    """The drawing of a chart."""
    source = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', chart["image"])
    assert source
    return base64.b64decode(source[1]).decode()


def words_of(chart: dict[str, Any]) -> set[str]:
    return {"".join(text.itertext()).strip() for text in ElementTree.fromstring(svg_of(chart)).iter(TEXT)}


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


def test_points_are_not_enlarged_pixel_by_pixel():
    x = torch.randn(30, 2)
    for cond in (torch.arange(30) % 3, torch.linspace(0, 1, 30)[:, None], None):
        assert 'class="smooth"' in draw((x, cond), x, "points")
    assert 'class="pixels"' in draw((torch.zeros(2, 1, 8, 8), None), torch.zeros(2, 1, 8, 8), "images")


def summary(
    samplers: tuple[str, ...] = ("euler",), labels: Sequence[str] = LABELS, values: Any = (90.0, 9.0, 3.0)
) -> dict[str, Any]:
    """Variants by a distance, an accuracy and a metric of which no side is better, and a training curve."""
    metrics = {"fid": ("lower", 1.0), "accuracy": ("higher", 0.98), "spread": ("", None)}
    rows = [
        {"metric": metric, "sampler": sampler, "nfe": nfe, "variant": label, "mean": value, "std": spread}
        for metric in metrics
        for sampler in samplers
        for label in labels
        for nfe, value, spread in zip((4, 0, 1), values, (None, 0.5, 0.5), strict=True)
    ]
    curve = [row | {"step": row["nfe"] + 4, "nfe": 2} for row in rows if row["metric"] == "fid"]
    about = {
        name: {"better": side, "description": "falls", "real_data": {} if score is None else {"test": score}}
        for name, (side, score) in metrics.items()
    }
    grid = {"seeds": [0, 1], "data": "digits"}
    variants = [{"label": label} for label in labels]
    found = {"quality": rows, "curve": curve, "metrics": about, "grid": grid, "variants": variants}
    return found | {"samplers": list(samplers)}


def test_a_chart_is_a_picture_with_its_names_and_says_what_it_shows() -> None:
    found, _ = charts(summary())
    assert (found["metric"], found["better"], found["about"]) == ("fid", "lower is better", "falls")
    assert 'alt="fid against evaluations"' in found["image"]
    assert {"gmm + ot", "real data", evaluations_label(True), "4"} <= words_of(found)
    (curve,) = charts(summary(), "step")
    assert {"training steps", "gmm + ot, 2 evaluations"} <= words_of(curve)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("x", "values"),
    [
        ("nfe", (0.0, 0.0)),
        ("step", (0.0, 0.0)),
        ("nfe", (1.0, 1e12)),
        ("step", (1e-17, -1e-17)),
        ("nfe", (float("nan"), 1.0)),
        ("step", (float("inf"), 1.0)),
    ],
)
def test_any_values_are_drawn_without_a_warning(x, values):
    """No axis has zero height, be all values the same, tiny, huge or not finite."""
    assert charts(summary(values=(*values, values[0])), x)[0]["image"].startswith("<img")


def test_no_label_is_read_as_a_pattern_a_formula_or_markup():
    labels = [r"a\1", r"\g<9>", r"$\frac$", '<b> & "so"', "[/b]"]
    assert set(labels) <= words_of(charts(summary(labels=labels))[0])


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
    several = comparison_figure(summary(("euler", "heun")))
    names = {text.get_text() for text in several.legends[0].get_texts()}
    assert {"gmm + ot, euler", "gaussian + condot, heun"} <= names


def test_a_comparison_without_values_is_refused() -> None:
    with pytest.raises(OptionError, match="no run has a value yet"):
        comparison_figure(summary() | {"quality": []})
