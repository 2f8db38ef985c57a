"""Table and plot of a sweep: means with deviations, both layouts, a picture with a panel for each metric."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation import MetricInfo, Sweep
from flowprior.report.evaluation_plot import _draw
from tests.evaluation.test_result import RESULT


def swept(extra: int = 0) -> Sweep:
    """Two samplers, two seeds; the second seed's figures are 2 higher."""
    names = {f"extra{i}": MetricInfo("other", 100, "x") for i in range(extra)}
    evaluations = []
    for sampler in ("euler", "heun"):
        for seed in (0, 1):
            rows = [
                {**row, "fid-cnn128": row["fid-cnn128"] + 2 * seed, **dict.fromkeys(names, 1.5)}
                for row in RESULT.rows
            ]
            settings = {**RESULT.settings, "sampler": sampler, "seed": seed}
            evaluations.append(
                replace(RESULT, rows=rows, settings=settings, metrics={**RESULT.metrics, **names})
            )
    return Sweep(evaluations, list(RESULT.notes))


def shown(found: Sweep, width: int = 160) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


@pytest.mark.parametrize("extra", [0, 6])
def test_both_layouts_show_mean_deviation_and_floor(extra: int) -> None:
    text = shown(swept(extra))
    for part in ("21.5 ± 1.4", "11.25 ± 1.4", "0.75 ± 0", "1.125", "real", "euler", "heun", "seeds 0, 1"):
        assert part in text
    assert ("NFE 4" in text) == (extra > 0)


@pytest.mark.parametrize("extra", [0, 6])
def test_no_figure_is_cut_on_a_narrow_page(extra: int) -> None:
    assert "…" not in shown(swept(extra), width=60)


def with_prior(fid: float, accuracy: float) -> Sweep:
    """The two samplers with a row of the prior alone."""
    found = swept()
    row = {"nfe": 0, "fid-cnn128": fid, "accuracy": accuracy, "seconds": 0.01}
    return Sweep([replace(e, rows=[row, *e.rows]) for e in found.evaluations], found.notes)


def test_one_sentence_says_where_the_flow_is_worse_than_its_prior_alone() -> None:
    by_euler = [e for e in with_prior(15.0, 0.8).evaluations if e.settings["sampler"] == "euler"]
    sentence = "The flow is worse than its prior alone (NFE 0) in fid-cnn128 at NFE 1; in accuracy at NFE 1."
    assert sentence in " ".join(shown(Sweep(by_euler)).split())
    assert "With heun the flow is worse than its prior alone (NFE 0) in fid-cnn128 at NFE 1 and 4." in (
        " ".join(shown(with_prior(10.0, 0.5)).split())
    )
    assert "worse than its prior" not in shown(with_prior(30.0, 0.5))
    assert "worse than its prior" not in shown(swept())
    assert with_prior(15.0, 0.5).as_dict()["worse_than_prior"] == [
        {"sampler": sampler, "guidance": 1.0, "metric": "fid-cnn128", "nfe": [1.0]}
        for sampler in ("euler", "heun")
    ]


@pytest.mark.parametrize("extra", [0, 6])
def test_names_are_no_markup(extra: int) -> None:
    found = swept(extra)
    settings = {"data": "x[/b].npz", "sampler": "euler[/red]"}
    odd = [replace(e, settings={**e.settings, **settings}) for e in found.evaluations[:2]]
    text = shown(Sweep([*odd, *found.evaluations[2:]], ["a note [/i]"]))
    assert "x[/b].npz, euler[/red], heun" in text
    assert "a note [/i]" in text


def test_zero_stands_one_doubling_before_the_first_number() -> None:
    axis = _draw(with_prior(15.0, 0.8)).axes[0]
    places = [axis.transData.transform((count, 1.0))[0] for count in (0, 1, 2, 4)]
    gaps = [after - before for before, after in pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * 3)
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "1", "4"]
    assert axis.get_xlabel() == "NFE (0: the prior alone)"
    assert _draw(swept()).axes[0].get_xscale() == "log"


def test_a_dollar_sign_is_no_formula(tmp_path: Path) -> None:
    odd = [
        replace(e, settings={**e.settings, "data": r"$\x$", "sampler": r"$\frac$" + e.settings["sampler"]})
        for e in swept().evaluations
    ]
    Sweep(odd).plot(tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_json_has_every_row_and_the_summary() -> None:
    found = swept().as_dict()
    assert len(found["rows"]) == 8
    assert found["settings"]["sampler"] == ["euler", "heun"]
    assert found["settings"]["seed"] == [0, 1]
    assert found["summary"][0]["figures"]["fid-cnn128"]["mean"] == 21.5


def test_the_plot_has_a_panel_a_metric_and_a_curve_a_sampler(tmp_path: Path) -> None:
    figure = _draw(swept())
    fid = figure.axes[0]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["fid-cnn128 ↓", "accuracy ↑"]
    assert fid.get_legend_handles_labels()[1] == ["real data", "euler", "heun"]
    assert fid.containers[0].lines[0].get_ydata().tolist() == [21.5, 11.25]
    swept().plot(tmp_path / "new" / "p.png")
    assert (tmp_path / "new" / "p.png").read_bytes().startswith(b"\x89PNG")


def test_impossible_plots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"ends in \.png, \.svg, \.pdf"):
        swept().plot(tmp_path / "p.txt")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write"):
        swept().plot(tmp_path / "file" / "p.png")
    bare = Sweep([replace(RESULT, metrics={})])
    with pytest.raises(OptionError, match="none of the metrics depends on NFE"):
        bare.plot(tmp_path / "p.png")
