"""The figure of a comparison: a panel a metric, a marker and a short name a variant, the scales of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import OptionError
from flowprior.report.figures import comparison_figure, save_comparison

LABELS = ("gmm:covariance=lowrank,rank=16 + ot", "gaussian + condot")


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
