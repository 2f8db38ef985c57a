"""report.json follows from the saved samples: recomputed here by other means, and by --check."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import ot
import pytest
import torch
from scipy import stats
from torch import Tensor

from flowprior.comparison import ComparisonFolder, check_report, write_report
from flowprior.comparison.collect import collect, samples_file
from flowprior.data import Data, load_data
from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation import Classifier, data_classifier
from flowprior.flow import Flow
from flowprior.storage import load_tensors, save_tensors

LABELS = ["gaussian + condot", "gaussian + ot", "low-rank + condot", "low-rank + ot"]


@pytest.fixture(scope="module")
def report(finished: Path) -> dict[str, Any]:
    return json.loads((finished / "report.json").read_text())


@pytest.fixture(scope="module")
def judge(cache: Path) -> tuple[Classifier, Data]:
    return data_classifier(load_data("digits")), load_data("digits", "test")


def rows(report: dict[str, Any], metric: str, part: str = "quality") -> list[dict[str, Any]]:
    found = [row for row in report[part] if row["metric"] == metric]
    assert found, metric
    return found


def saved(finished: Path, row: dict[str, Any], seed: int) -> tuple[Tensor, Tensor]:
    """Samples as they are judged, and their labels."""
    folder = ComparisonFolder(finished)
    path = samples_file(folder, collect(folder), row["variant"], seed, 0)
    name = f"nfe={row['nfe']:g}/guidance=1/seed={seed}"
    tensors, _ = load_tensors(path)
    return tensors[f"x/{name}"].clamp(-1, 1), tensors[f"cond/{name}"]


def frechet(ours: Tensor, theirs: Tensor) -> float:
    """By the eigenvalues of the product of both covariances."""
    a, b = ours.double().numpy(), theirs.double().numpy()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0)).sum()
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return float(shift + np.trace(first) + np.trace(second) - 2 * cross)


def w2_squared(x: Tensor, cond: Tensor, real: Tensor, labels: Tensor) -> float:
    found = []
    for label in range(10):
        one, two = x[cond == label].flatten(1).double(), real[labels == label].flatten(1).double()
        found.append(float(ot.emd2([], [], torch.cdist(one, two).square().numpy())))
    return statistics.fmean(found)


def test_every_figure_follows_from_the_saved_samples(finished, report, judge):
    classifier, test = judge
    real, labels = test.batch(torch.arange(len(test)))
    assert labels is not None
    looked_at = 0
    for metric in ("fid-cnn128", "accuracy", "w2_squared"):
        for row in rows(report, metric):
            assert sorted(row["by_seed"]) == ["0", "1"]
            for seed, figure in row["by_seed"].items():
                x, cond = saved(finished, row, int(seed))
                expected = {
                    "fid-cnn128": lambda x, cond: frechet(classifier.features(x), classifier.features(real)),
                    "accuracy": lambda x, cond: (classifier.predict(x) == cond).double().mean().item(),
                    "w2_squared": lambda x, cond: w2_squared(x, cond, real, labels),
                }[metric](x, cond)
                # Square roots of eigenvalues that are 0 but for rounding bound the Fréchet distance.
                assert figure == pytest.approx(expected, rel=1e-4 if metric == "fid-cnn128" else 1e-9)
                looked_at += 1
    assert looked_at == 3 * 4 * 2 * 2  # metrics, variants, NFE, seeds


def test_spreads_and_tests_follow_from_the_figures(report):
    for part in ("quality", "curve"):
        for row in report[part]:
            values = list(row["by_seed"].values())
            assert row["mean"] == pytest.approx(statistics.fmean(values), rel=1e-12)
            assert row["std"] == pytest.approx(statistics.stdev(values), rel=1e-9)
            base = next(
                other
                for other in report[part]
                if other["variant"] == "gaussian + condot"
                and all(other[key] == row[key] for key in ("metric", "sampler", "nfe", "step"))
            )
            test = row["against_baseline"]
            if row["variant"] == "gaussian + condot":
                assert test is None
                continue
            pairs = [(row["by_seed"][seed], base["by_seed"][seed]) for seed in ("0", "1")]
            ours, theirs = map(np.array, zip(*pairs, strict=True))
            expected = stats.permutation_test(
                (ours, theirs), lambda a, b: np.mean(a - b), permutation_type="samples", vectorized=False
            )
            assert test["p_sign_flip"] == pytest.approx(expected.pvalue)
            assert test["difference"] == pytest.approx(float(np.mean(ours - theirs)), rel=1e-9, abs=1e-12)
            assert (test["n"], test["smallest_p"], test["verdict"]) == (2, 0.5, "too few seeds")


def test_the_best_has_the_best_mean(report):
    assert report["metric"] == "fid-cnn128"
    assert report["baseline"] == "gaussian + condot"
    for best in report["best"]:
        group = [row for row in rows(report, best["metric"]) if row["nfe"] == best["nfe"]]
        side = {"lower": min, "higher": max}[report["metrics"][best["metric"]]["better"]]
        assert best["mean"] == side(row["mean"] for row in group)
        assert best["candidates"] == len(group) == 4


def test_convergence_is_the_first_step_that_reaches_the_baselines_end(report):
    for goal in report["convergence"]:
        sign = {"lower": 1, "higher": -1}[report["metrics"][goal["metric"]]["better"]]
        curve = rows(report, goal["metric"], "curve")
        means = {(row["variant"], row["step"]): sign * row["mean"] for row in curve}
        target = means["gaussian + condot", 12]
        assert sign * goal["target"] == target
        for label, step in goal["steps"].items():
            reached = [s for s in (4, 8, 12) if means[label, s] <= target]
            assert step == (reached[0] if reached else None)
    assert {goal["nfe"] for goal in report["convergence"]} == {2}


def test_costs_are_those_of_the_runs(finished, report):
    assert [cost["variant"] for cost in report["costs"]] == LABELS
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
        assert [place["nfe"] for place in cost["sampling"]] == [1, 2]


def test_settings_say_what_ran(report):
    settings = report["settings"]
    assert settings["parameters"] == [settings["parameters"][0]]
    assert settings["machine"]["torch"] == [torch.__version__]
    assert settings["judging"]["reference"] == ["359 test examples of digits"]
    assert settings["judging"]["judge"][0].startswith("cnn128")


def test_the_check_finds_no_difference(finished):
    found = check_report(finished)
    assert found.differences == []
    assert (found.cells, found.largest) == (8, 0.0)
    assert found.figures > 1000


def test_the_check_finds_samples_that_were_changed(copied):
    path = next(copied.glob("cells/gmm+ot+condot-seed1-*/samples-*-sampler0.safetensors"))
    tensors, metadata = load_tensors(path)
    tensors["x/nfe=2/guidance=1/seed=1"][0] += 0.5
    save_tensors(path, tensors, metadata)
    differences = check_report(copied).differences
    assert differences
    assert all(line.startswith("low-rank + ot, seed 1: ") for line in differences)
    assert any("fid-cnn128" in line for line in differences)


def test_the_check_finds_a_report_that_was_changed(copied):
    report = json.loads((copied / "report.json").read_text())
    report["quality"][3]["mean"] *= 1 + 1e-9
    report["best"][0]["variant"] = "nobody"
    (copied / "report.json").write_text(json.dumps(report))
    first, second = check_report(copied).differences
    assert first.startswith("report.json.quality[3].mean is ")
    assert second.startswith("report.json.best[0].variant is 'nobody'")


def test_the_check_refuses_another_judge(copied, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("flowprior.evaluation.classifier_training.LEARNING_RATE", 1e-3)
    with pytest.raises(CheckpointError, match="judged by cnn128"):
        check_report(copied)


def test_the_report_is_written_anew_with_another_baseline_and_metric(copied):
    changed = write_report(copied, baseline="low-rank+condot", metric="accuracy")
    assert (changed["baseline"], changed["metric"]) == ("low-rank + condot", "accuracy")
    assert "By accuracy, higher is better" in (copied / "report.html").read_text()
    assert write_report(copied) == changed
    assert check_report(copied).differences == []
    with pytest.raises(OptionError, match="metric='fdi' was not measured; choose of fid-cnn128"):
        write_report(copied, metric="fdi")


def test_the_report_of_nothing_finished_says_so(copied):
    for path in copied.glob("cells/*/result-*.json"):
        path.unlink()
    report = write_report(copied)
    assert len(report["waiting"]) == 8
    assert report["quality"] == report["best"] == report["curve"] == []
    assert "No cell has a result yet." in (copied / "report.html").read_text()


def test_no_comparison_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="holds no comparison; run one with: flowprior compare --out"):
        write_report(tmp_path)
