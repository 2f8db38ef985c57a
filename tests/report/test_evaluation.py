"""Table and plot of a result: means with deviations, and a figure with a panel for each metric."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation import Result
from flowprior.evaluation.result import table_row
from flowprior.report.figures import evaluation_figure, save_plot
from flowprior.report.terminal import result_table
from tests.evaluation.test_result import FID, RESULT, SHARE, real_rows, rows_of


def swept(prior: tuple[float, float] | None = None, **settings: Any) -> Result:
    """Two samplers and seeds; the second seed's distances are 2 higher; the prior's distance and share."""
    rows = []
    for sampler in ("euler", "heun"):
        for seed in (0, 1):
            at = {"flow": "gmm + ot", "sampler": sampler, "seed": seed, "guidance": 1.0, "split": "test"}
            for name, info, value in zip(("fid-cnn128", "accuracy"), (FID, SHARE), prior or (), strict=False):
                rows.append(table_row(name, value + 2 * seed * (info is FID), info, nfe=0, **at))
            rows += rows_of(sampler, seed, 2.0 * seed)
    settings = {**RESULT.settings, "samplers": ["euler", "heun"], "seeds": [0, 1], **settings}
    return Result([*rows, *real_rows()], dict(RESULT.metrics), settings, list(RESULT.notes))


def shown(found: Result, width: int = 160) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(result_table(found))
    return console.export_text()


def test_the_table_shows_values_the_real_data_score_and_terms() -> None:
    text = " ".join(shown(RESULT).split())
    for part in ("fid-cnn128 ↓", "accuracy ↑", "20.5", "10.25", "0.875", "1.125", "real", "curvature 3"):
        assert part in text
    for part in ("100 samples against 200 test examples of x", "nfe=3 left out", "seed 0"):
        assert part in text
    assert "real" not in shown(replace(RESULT, rows=rows_of()))


def test_the_transport_cost_is_in_the_caption() -> None:
    costs = {"transport_cost": 3.5, "transport_cost_unpaired": 7.0}
    rows = [table_row(name, value, flow="gmm + ot", seed=0) for name, value in costs.items()]
    text = " ".join(shown(replace(RESULT, rows=[*RESULT.rows, *rows])).split())
    assert "transport_cost 3.5, transport_cost_unpaired 7" in text


def test_a_table_shows_mean_deviation_and_real_data_and_cuts_none_on_a_narrow_page() -> None:
    text = shown(swept())
    for part in ("21.5 ± 1.4", "11.25 ± 1.4", "0.75 ± 0", "1.125", "real", "euler", "heun", "seeds 0, 1"):
        assert part in text
    assert "NFE 4" in text
    assert "…" not in shown(swept(), width=60)


def test_a_row_of_the_summary_has_mean_and_deviation_over_seeds_against_the_first_split() -> None:
    row = swept().means()[0]
    assert (row["sampler"], row["guidance"], row["nfe"], row["split"]) == ("euler", 1.0, 1, "test")
    assert (row["n"], row["mean"], row["std"], row["by_seed"]) == (2, 21.5, 2**0.5, {0: 20.5, 1: 22.5})
    other = [{**row, "split": "validation", "value": 99.0} for row in rows_of()]
    first = replace(RESULT, rows=[*RESULT.rows, *other]).means()[0]
    assert (first["n"], first["mean"], first["std"]) == (1, 20.5, None)


def test_an_adaptive_sampler_has_one_row_over_seeds() -> None:
    at = {"sampler": "bosh3", "grid": "adaptive", "guidance": 1.0, "split": "test"}
    rows = [table_row("fid-cnn128", 1.0 + seed, FID, seed=seed, nfe=60 + seed, **at) for seed in (0, 1)]
    found = Result(rows, RESULT.metrics, RESULT.settings)
    (row,) = found.means()
    assert (row["nfe"], row["adaptive"], row["mean"]) == (60.5, True, 1.5)
    (curve,) = evaluation_figure(found).axes[0].containers
    assert curve.lines[0].get_xydata().tolist() == [[pytest.approx(60.5, rel=0.1), 1.5]]


def test_one_sentence_says_where_the_flow_is_worse_than_its_prior_alone() -> None:
    found = swept(prior=(15.0, 0.8))
    by_euler = replace(found, rows=found.select(sampler=("euler", None)))
    sentence = "Worse than the prior alone (0 evaluations), by evaluations: fid-cnn128 at 1; accuracy at 1."
    assert sentence in " ".join(shown(by_euler).split())
    both = " ".join(shown(swept(prior=(10.0, 0.5))).split())
    assert "fid-cnn128, heun at 1 and 4" in both
    assert "Worse than the prior" not in shown(swept(prior=(30.0, 0.5)))
    assert "Worse than the prior" not in shown(swept())


def test_names_are_no_markup_and_no_formula(tmp_path: Path) -> None:
    odd = swept(data=r"x[/b] $\x$.npz", samplers=[r"$\frac$euler[/red]", "heun"])
    rows = [
        {**row, "sampler": r"$\frac$euler[/red]"} if row["sampler"] == "euler" else row for row in odd.rows
    ]
    odd = replace(odd, rows=rows, notes=["a note [/i]"])
    text = shown(odd)
    assert r"gmm:components=[2] + ot on x[/b] $\x$.npz, $\frac$euler[/red], heun" in text
    assert "a note [/i]" in text
    save_plot(odd, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_the_plot_has_a_panel_a_metric_and_a_curve_a_sampler(tmp_path: Path) -> None:
    figure = evaluation_figure(swept())
    fid = figure.axes[0]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["fid-cnn128 ↓", "accuracy ↑"]
    assert fid.get_legend_handles_labels()[1] == ["real data", "euler", "heun"]
    assert fid.containers[0].lines[0].get_ydata().tolist() == [21.5, 11.25]
    save_plot(swept(), tmp_path / "new" / "p.png")
    assert (tmp_path / "new" / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_legend_leaves_out_what_its_names_share_and_stays_within_the_figure() -> None:
    found = swept()
    spec = ":grid=last,at=0.7,temperature=0.95,prior_guidance=1.25"
    rows = [{**row, "sampler": row["sampler"] and row["sampler"] + spec} for row in found.rows]
    figure = evaluation_figure(replace(found, rows=rows))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["euler", "heun", "real data"]
    names = [
        {**row, "sampler": row["sampler"] and f"{row['sampler']} with a long name of its own"} for row in rows
    ]
    figure = evaluation_figure(replace(found, rows=names))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_impossible_plots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"ends in \.png, .*\.svg, \.pdf"):
        save_plot(swept(), tmp_path / "p.txt")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_plot(swept(), tmp_path / "file" / "p.png")
    with pytest.raises(OptionError, match="none of the metrics depends on NFE"):
        save_plot(replace(RESULT, metrics={}), tmp_path / "p.png")
