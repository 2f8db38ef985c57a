"""The headline study: settings are chosen on held-out images, the same ones for every run of a method."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas
import pytest

from benchmarks.studies.headline import candidates, comparison, few_samples, grids, runs, settings
from benchmarks.studies.headline import tables as headline_tables
from benchmarks.studies.store import store
from flowprior.evaluation.result import REAL_DATA
from flowprior.study.runs import variants
from flowprior.study.table import read_table
from flowprior.training import run

METHODS = ("gaussian+condot", "ddim", "flow_matching")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The study with three methods and short trainings on digits, its runs and results in a folder."""
    whole, few = grids.study(), {"steps": 4, "samples": 40, "nfe": [2], "metrics": ["fid"]}
    digits = {key: whole["data"]["digits"][key] for key in ("data", "validation", "samples")}
    tree = whole | {
        "methods": {method: whole["methods"][method] for method in METHODS},
        "choice": whole["choice"] | few,
        "data": {"digits": digits | {"model": "unet:widths=4"}},
        "shared": whole["shared"] | {"evaluation": {"batch_size": 40}, "training": {"warmup": 1}},
    }
    for module, name, value in (
        (grids, "study", lambda: tree),
        (grids, "RUNS", tmp_path / "runs"),
        (settings, "RESULTS", tmp_path),
        (grids, "RESULTS", tmp_path),
        (settings, "SCORED", ("fid-cnn128",)),
    ):
        monkeypatch.setattr(module, name, value)
    return tmp_path


def test_every_setting_of_every_method_can_be_trained_and_none_sees_the_test_split() -> None:
    every = settings.methods_on("fashion-mnist")
    for data in ("fashion-mnist", "digits"):
        grid = settings.choice_grid(
            data, {method: ["uniform", "logit-normal"] for method in every}, [0.1, 0.2]
        )
        found = variants(grid)
        assert all(own.skipped is None and not own.refused_samplers for own in found)
        assert grid.splits == ("validation",)
        trainings = {(label.split(", ")[0], str(grid.training_of(label))) for label in grid.variants}
        assert len(trainings) == len(found) == 36


@pytest.mark.parametrize("asked", grids.study()["runs"], ids=lambda own: own["name"])
def test_every_run_of_the_study_can_be_trained(asked: dict[str, Any]) -> None:
    assert {(own.skipped, bool(own.refused_samplers)) for own in variants(runs.run_grid_of(asked))} == {
        (None, False)
    }


def test_the_setting_of_the_lowest_distance_is_chosen_and_what_is_stored_is_not_run_again(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "package_commit", lambda: 40 * "a")  # a clean one
    monkeypatch.setattr(grids, "store", lambda name, folders: store(name, folders, small))
    settings.choose("digits")
    table = read_table(small / "choice.csv.gz")
    assert set(table["split"].dropna()) == {"validation", "training"}
    rows = table[(table["metric"] == "fid-cnn128") & (table["nfe"] == 2)]
    assert len(rows) == 3 * 2 + 3  # two step schedules, one for DDIM; timesteps first, then the learning rate
    found = settings.chosen("digits")
    for method in ("gaussian+condot", "ddim"):
        own = rows[rows["label"].str.startswith(method)]
        best = own.loc[own["value"].idxmin()]
        assert found[method] == {"time": best["time"], "lr": best["lr"], "sampler": best["sampler"]}
        first = own[own["lr"] == 0.002]
        assert set(own.loc[own["lr"] == 0.004, "time"]) == {first.loc[first["value"].idxmin(), "time"]}
    assert found["flow_matching"] == found["gaussian+condot"]
    assert grids.variant("ddim", found["ddim"])["training"]["prediction"] == "epsilon"
    capsys.readouterr()
    settings.choose("digits")
    assert capsys.readouterr().out == ""


def test_the_score_is_the_mean_logarithm_over_evaluations_and_features() -> None:
    rows = [
        {"label": f"a, uniform, {lr}", "flow": f"a, uniform, {lr}", "time": "uniform", "lr": lr}
        | {"sampler": "s", "nfe": nfe, "metric": metric, "value": value}
        for lr, values in {0.1: (1.0, 100.0), 0.2: (9.0, 9.0)}.items()
        for nfe in (1, 4)
        for metric, value in zip(settings.SCORED, values, strict=True)
    ]
    found = settings.scores(pandas.DataFrame(rows))
    assert found["lr"].tolist() == [0.2, 0.1]
    assert found["score"].tolist() == pytest.approx([2.1972246, 2.3025851])


@pytest.mark.parametrize(
    "turn", [name for name, own in grids.study()["candidates"].items() if "priors" in own]
)
def test_every_candidate_can_be_trained(turn: str) -> None:
    grid = candidates.candidates_grid("digits", turn)
    assert all(own.skipped is None for own in variants(grid))
    assert grid.splits == ("validation",)


def rows_of(label: str, values: dict[tuple[str, int], float], **setting: Any) -> list[dict[str, Any]]:
    shared = {
        "label": label,
        "flow": label,
        "data": "digits",
        "sampler": "euler",
        "time": "uniform",
        "lr": 0.1,
        "prior": "p",
        "coupling": "c",
        "prediction": "velocity",
        "steps": 9,
        **setting,
    }
    return [
        shared | {"metric": metric, "nfe": nfe, "value": value} for (metric, nfe), value in values.items()
    ]


def test_a_design_stands_by_its_worst_ratio_to_the_best_baseline_at_its_best_learning_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The best baseline is another one at each number of evaluations; the rate is chosen within a design."""
    few, many = ("fid-cnn128", 1), ("fid-cnn128", 15)
    choice = [
        *rows_of("gmm+ot, uniform, 0.1", {few: 10.0, many: 20.0}),
        *rows_of("ddpm, uniform, 0.1", {few: 100.0, many: 4.0}),
        *rows_of("ddpm, uniform, 0.2", {few: 90.0, many: 30.0}, lr=0.2),  # not the setting of ddpm
    ]
    tried = [
        *rows_of("a, velocity, uniform, 0.1", {few: 5.0, many: 6.0}),
        *rows_of("a, velocity, uniform, 0.2", {few: 9.0, many: 5.0}, lr=0.2),
        *rows_of("b, velocity, uniform, 0.1", {few: 1.0, many: 8.0}, prior="q"),
        *rows_of("b, velocity, uniform, 0.1", {few: 0.1, many: 0.1}, prior="q", steps=99),
    ]
    tables = {"choice": pandas.DataFrame(choice), "candidates": pandas.DataFrame(tried)}
    monkeypatch.setattr(settings, "_stored", lambda data: tables["choice"])
    monkeypatch.setattr(candidates, "read_table", lambda path: tables[path.name.partition(".")[0]])
    monkeypatch.setattr(settings, "SCORED", ("fid-cnn128",))
    found = candidates.ranking(["digits"]).reset_index()
    assert found["prior"].tolist() == ["p", "q"]
    assert found["worst"].tolist() == pytest.approx([1.25, 2.0])


def test_the_best_other_methods_of_a_run_follow_from_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    order = ["gmm+ot", "ddim", "flow_matching", "batchot", "gaussian+condot"]
    monkeypatch.setattr(runs, "chosen", lambda data: {method: {} for method in order})
    assert runs.methods_of({"data": "digits", "methods": ["default", "gmm+ot"], "best": 2}) == [
        *("default", "gmm+ot", "ddim", "batchot")
    ]
    assert runs.methods_of({"data": "digits", "best": 1}) == ["default", "gmm+ot"]
    assert runs.methods_of({"data": "digits", "methods": ["all"]}) == ["default", *grids.study()["methods"]]


def test_the_best_baseline_is_another_one_at_each_number_of_evaluations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {
        "default": {0: (9.0, 9.0), 1: (3.0, 5.0), 4: (3.0, 5.0), 8: (7.0, 7.0), 15: (6.0, 6.0)},
        "ddim": {0: (9.0, 9.0), 1: (80.0, 80.0), 4: (8.0, 8.0), 8: (10.0, 10.0), 15: (9.0, 9.0)},
        "batchot": {0: (9.0, 9.0), 1: (20.0, 12.0), 4: (10.0, 10.0), 8: (20.0, 20.0), 15: (90.0, 90.0)},
    }
    rows = [
        {"flow": flow, "label": flow, "metric": "fid-lite0", "nfe": nfe, "seed": seed, "value": value}
        for flow, of in values.items()
        for nfe, seeds in of.items()
        for seed, value in enumerate(seeds)
    ]
    rows += [
        *(row | {"metric": "w2_squared"} for row in rows if row["seed"] == 0),
        {"flow": "real data", "label": "ddim", "seed": 0, "metric": "fid-lite0", "value": 2.0},
        {"flow": "real data", "label": "ddim", "seed": 0, "metric": "w2_squared", "value": 3.5},
        *(
            {"flow": flow, "label": flow, "metric": metric, "nfe": nfe, "seed": 0, "value": value}
            for flow, nfe, far in (("default", 0, 0.1), ("default", 1, 0.9), ("default", 4, 0.9))
            for metric, value in (("nearest-q50", 0.9), ("nearest-q05", far))
        ),
    ]
    found = pandas.DataFrame(
        [row | {"cpu_seconds": 9.0, "model": "AB"[row["label"] == "batchot"]} for row in rows]
    )
    monkeypatch.setattr(headline_tables, "results", lambda data, steps: found)
    monkeypatch.setattr(headline_tables, "measured", lambda: [("digits", 9)])
    monkeypatch.setattr(headline_tables, "LOWER", ("fid-lite0", "w2_squared"))
    assert headline_tables.ratios().splitlines()[2:] == [
        "| digits | 9 | 4 | 0.50±0.18 (0.33) | 0.38 |",
        "| digits | 9 | largest | 0.70 (0.62) | 0.70 |",
    ]
    assert headline_tables.retrieving() == "`default` on digits (9 steps, NFE 1 and 4)"
    assert headline_tables.scores(
        found,
        {"four": ("fid-lite0", 4), "one": ("fid-lite0", 1), "missing": ("accuracy", 4)},
        ("model", "flow"),
    ).splitlines() == [
        "| model | method | seeds | CPU seconds | four | one | missing |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| A | `default` | 2 | 9.00 | 4.00 | 4.00 | – |",
        "| A | `ddim` | 2 | 9.00 | 8.00 | 80.0 | – |",
        "| B | `batchot` | 2 | 9.00 | 10.0 | 16.0 | – |",
        "| real images |  |  |  | 2.00 | 2.00 |  |",
    ]


@pytest.mark.parametrize(
    ("methods", "shown"), [(["default", "ddim"], [("digits", 1000)]), (["default", "gmm+ot"], [])]
)
def test_a_data_set_is_shown_when_every_method_has_values_and_by_the_seeds_that_all_have(
    methods: list[str], shown: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"data": "digits", "steps": 1000, "split": "test", "label": label, "flow": label, "seed": seed}
        for label, seed in (("default", 0), ("ddim", 0), ("default", 1))
    ]
    monkeypatch.setattr(comparison, "read_table", lambda path: pandas.DataFrame(rows))
    monkeypatch.setattr(comparison, "methods_of", lambda run: methods)
    assert comparison.measured() == shown
    assert set(comparison.results("digits")["seed"]) == {0}


@pytest.mark.parametrize(("data", "steps"), comparison.measured())
def test_stored_runs_have_the_settings_that_the_study_asks_for(data: str, steps: int) -> None:
    grid = runs.run_grid_of(
        next(run for run in grids.study()["runs"] if (run["data"], run["steps"]) == (data, steps))
    )
    stored = comparison.results(data, steps=steps, nfe=4).drop_duplicates("label").set_index("label")
    asked = {
        label: (
            own.prior,
            own.coupling,
            own.sampler,
            grid.training_of(label).lr,
            grid.training_of(label).time,
        )
        for label, own in grid.variants.items()
    }
    columns = ["prior", "coupling", "sampler", "lr", "time"]
    assert {label: tuple(stored.loc[label, columns]) for label in asked} == asked


def test_guidance_is_chosen_on_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {(1.0, "validation"): 5.0, (1.0, "test"): 1.0, (1.5, "validation"): 4.0, (1.5, "test"): 3.0}
    rows = pandas.DataFrame(
        [
            {"flow": "ddim", "sampler": "s", "nfe": 4, "metric": "fid-lite0"}
            | {"guidance": guidance, "split": split, "value": value}
            for (guidance, split), value in values.items()
        ]
    )
    monkeypatch.setattr(headline_tables, "results", lambda data, split="test": rows[rows["split"] == split])
    assert headline_tables.at_chosen("digits", ["fid-lite0"])["value"].tolist() == [3.0]


def test_scores_of_few_samples_and_late_starts_have_names_of_their_own_and_guidance_both_splits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terms = []
    row = {"flow": "spec", "seed": 7, "metric": "fid-lite0"}
    monkeypatch.setattr(
        few_samples,
        "evaluate",
        lambda flow, train, **given: (
            terms.append(given)
            or SimpleNamespace(
                rows=[
                    row | {"split": given["split"]},
                    row | {"flow": REAL_DATA, "split": given["split"]},
                    row | {"metric": "seconds", "split": None},
                ]
            )
        ),
    )
    monkeypatch.setattr(few_samples.closed_form, "values", lambda flow, run, data: [])
    grid, data = grids.grid_on("digits", {"a": {}}), SimpleNamespace(train=None, validation=None, test=None)
    for label, late in (("a", ()), ("default", ("validation", "test"))):
        asked: Any = SimpleNamespace(
            grid=grid, seed=1, variant=SimpleNamespace(label=label, specs=["euler:"])
        )
        told = few_samples.started_late(None, asked, data)  # pyright: ignore[reportArgumentType]
        told += few_samples.guided(None, asked, data)  # pyright: ignore[reportArgumentType]
        assert [(row["flow"], row["seed"], row["metric"], row["split"]) for row in told] == [
            (name, seed, metric, split)
            for metric, split in (
                ("fid-2000-lite0", "test"),
                *(("late-fid-lite0", split) for split in late),
                ("fid-lite0", "validation"),
                ("fid-lite0", "test"),
            )
            for name, seed in ((label, 1), (REAL_DATA, 7))
        ]
    assert [own.get("guidance") for own in terms] == [
        None,
        *2 * [few_samples.STRENGTHS],
        *3 * [None],
        *2 * [(1.0,)],
    ]
    last = ["euler:"] * 4 + ["euler:,start=0.4,prior_guidance=1.25"] * 2 + ["euler:,prior_guidance=1.5"] * 2
    assert [own["sampler"][-1] for own in terms] == last
