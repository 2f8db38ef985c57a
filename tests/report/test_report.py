"""report.json follows from the saved flows, and says what ran and what did not, in words and numbers."""

from __future__ import annotations

import html
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation import evaluate
from flowprior.evaluation.summary import losses_of, spread
from flowprior.flow import Flow
from flowprior.report import write_report
from flowprior.report.wording import (
    comma_list,
    data_size,
    duration,
    number,
    p_value,
    with_spread,
    worse_than_prior,
)
from flowprior.study import StudyFolder, run_grid
from flowprior.study.folder import read_study
from flowprior.study.summary import paired_test
from tests.study.conftest import tiny_grid


@pytest.fixture(scope="module")
def report(finished: Path) -> dict[str, Any]:
    return json.loads((finished / "report.json").read_text())


def rows(report: dict[str, Any], metric: str, part: str = "quality") -> list[dict[str, Any]]:
    found = [row for row in report[part] if row["metric"] == metric]
    assert found, metric
    return found


def test_values_are_those_that_evaluate_gives_of_the_saved_flow(finished, report, digits):
    runs = list(read_study(StudyFolder(finished)).plan.runs())
    for run in (runs[0], runs[-1]):
        flow = Flow.load(StudyFolder(finished).run(*run.place).flow)
        found = evaluate(flow, digits[0], reference=digits[1], nfe=(0, 1, 2), samples=100, seed=run.seed)
        for metric in ("fid-cnn128", "accuracy", "w2_squared"):
            values = {
                row["nfe"]: row["by_seed"][str(run.seed)]
                for row in rows(report, metric)
                if row["variant"] == run.variant.label
            }
            assert values == {nfe: pytest.approx(found.value(metric, nfe), rel=1e-9) for nfe in (0, 1, 2)}


def test_spreads_and_tests_follow_from_the_values(report):
    for part in ("quality", "curve"):
        places = [
            (row["metric"], row["sampler"], row["nfe"], row["step"], row["variant"]) for row in report[part]
        ]
        by_seed = dict(zip(places, (row["by_seed"] for row in report[part]), strict=True))
        for (*place, label), row in zip(places, report[part], strict=True):
            found = spread(list(row["by_seed"].values()))
            assert (row["n"], row["mean"], row["std"]) == (found.n, found.mean, found.std)
            test = paired_test(row["by_seed"], by_seed[*place, "gaussian + condot"])
            assert row["against_baseline"] == (None if label == "gaussian + condot" else test)


def test_the_best_has_the_best_mean_and_the_page_names_flows_that_are_worse_than_their_priors(
    finished, report
):
    assert (report["metric"], report["baseline"]) == ("fid-cnn128", "gaussian + condot")
    page = html.unescape((finished / "report.html").read_text())
    losses = losses_of(report["quality"], {report["metric"]: "higher"})
    told = report | {"worse_than_prior": losses}
    assert losses, "the flows of this study are better than their priors, by a distance that is to be low"
    assert all(loss["variant"] in worse_than_prior(told, loss["metric"]) for loss in losses)
    assert all(worse_than_prior(report, loss["metric"]) in page for loss in report["worse_than_prior"])
    for best in report["best"]:
        group = [row for row in rows(report, best["metric"]) if row["nfe"] == best["nfe"]]
        side = {"lower": min, "higher": max}[report["metrics"][best["metric"]]["better"]]
        assert best["mean"] == side(row["mean"] for row in group)
        assert len(group) == 4


def test_costs_are_those_of_the_runs(finished, report):
    labels = ["gaussian + condot", "gaussian + ot", "low-rank + condot", "low-rank + ot"]
    assert [cost["variant"] for cost in report["costs"]] == labels
    for cost, name in zip(
        report["costs"], ("gaussian+condot", "gaussian+ot", "gmm+condot", "gmm+ot"), strict=True
    ):
        runs = sorted(finished.glob(f"cells/{name}+condot-seed*/run"))
        assert len(runs) == 2
        infos = [json.loads((run / "info.json").read_text()) for run in runs]
        for key in ("prior_fit_seconds", "transport_cost", "transport_cost_unpaired"):
            assert cost[key] == pytest.approx(statistics.fmean(info[key] for info in infos))
        state = Flow.load(runs[0] / "flow").prior.state_dict().values()
        assert cost["prior_bytes"] == sum(tensor.numel() * tensor.element_size() for tensor in state)
        assert cost["seconds_per_step"] > 0


def test_settings_say_what_ran(report):
    settings = report["settings"]
    assert settings["parameters"] == [settings["parameters"][0]]
    assert settings["machine"]["torch"] == [torch.__version__]
    assert settings["evaluation"]["reference"] == ["359 test examples of digits"]
    assert settings["evaluation"]["classifier"][0].startswith("cnn128")


@pytest.mark.parametrize("name", ["plan.json", "result"])
def test_files_of_another_format_are_refused_in_one_line(copied, name):
    paths = list(copied.glob("cells/*/result-*.json")) if name == "result" else [copied / name]
    for path in paths:
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 3}))
    with pytest.raises(CheckpointError, match=r"of another version \(format: expected 4, got 3\)") as caught:
        write_report(copied)
    assert "\n" not in str(caught.value)
    assert f"flowprior compare --out {copied}" in str(caught.value)


def test_results_of_another_format_are_evaluated_again_and_not_trained_again(copied, monkeypatch):
    """The key of a run holds the format, so a result of another one is not found."""
    monkeypatch.setattr("flowprior.study.runs.FORMAT", 5)
    monkeypatch.setattr("flowprior.study.running.train", lambda *_, **__: pytest.fail("trained again"))
    before = len(list(copied.glob("cells/*/result-*.json")))
    assert run_grid(tiny_grid(priors=["gaussian"], seeds=1), copied).finished == 2
    assert len(list(copied.glob("cells/*/result-*.json"))) == before + 2


@pytest.mark.slow
def test_the_report_is_written_anew_with_another_baseline_and_metric(copied):
    changed = write_report(copied, baseline="low-rank+condot", metric="accuracy")
    assert (changed["baseline"], changed["metric"]) == ("low-rank + condot", "accuracy")
    assert "the ratio to the baseline low-rank + condot" in (copied / "report.html").read_text()
    assert write_report(copied)["baseline"] == "gaussian + condot", "the grid keeps its own"
    with pytest.raises(OptionError, match="metric='fdi' was not measured; choose of fid-cnn128"):
        write_report(copied, metric="fdi")


def test_the_report_of_nothing_finished_says_so(copied):
    for path in copied.glob("cells/*/result-*.json"):
        path.unlink()
    report = write_report(copied)
    assert len(report["waiting"]) == 8
    assert report["quality"] == report["best"] == report["curve"] == []
    assert "No run has a result yet." in (copied / "report.html").read_text()


# -- numbers in words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (37.77, "37.8"),
        (0.34, "0.340"),
        (1234.5, "1,234"),
        (8.0, "8.00"),
        (2e-5, "2.00e-05"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_a_deviation_has_the_decimals_of_its_mean():
    assert with_spread(20.1, 0.00079) == "20.1 ± 0.0"
    assert with_spread(0.977, 0.00707) == "0.977 ± 0.007"
    assert with_spread(37.77, 2.985) == "37.8 ± 3.0"
    assert with_spread(5.5, None) == "5.50"


def test_units():
    assert [data_size(n) for n in (536, 50836, 3_210_000, 4.2e9)] == ["536 B", "50.8 kB", "3.21 MB", "4.2 GB"]
    assert [duration(s) for s in (0.00158, 12.3, 7200)] == ["1.58 ms", "12.3 s", "120 min"]
    assert [comma_list(list(w)) for w in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert [p_value(p) for p in (0.25, 0.03125, 1e-6)] == ["0.25", "0.031", "< 0.0001"]


def test_flows_that_are_worse_than_their_prior_alone_are_named():
    loss = {"metric": "fid-x", "sampler": "euler", "variant": "a + ot", "nfe": [1.0, 2.0, 4.0]}
    found = {"samplers": ["euler"], "worse_than_prior": [loss]}
    start = "Worse than the prior alone (0 evaluations), by evaluations: "
    assert worse_than_prior(found, "fid-x") == f"{start}a + ot at 1, 2 and 4."
    assert worse_than_prior(found, "accuracy") == ""
    other = {**loss, "sampler": "heun", "variant": "b", "nfe": [2.0]}
    found = {"samplers": ["euler", "heun"], "worse_than_prior": [loss, other]}
    several = f"{start}a + ot by euler at 1, 2 and 4; b by heun at 2."
    assert worse_than_prior(found, "fid-x") == several
