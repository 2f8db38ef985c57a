"""The study of captions: which temperature a setting stands at, and what is said of it."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import STUDIES, captions
from flowprior.samplers import Sampler
from flowprior.study.grid import load_grid

WARM, COLD = "euler", "euler:temperature=0.4"


def rows_of(flow: str, metric: str, split: str, values: dict[tuple[str, int], float], seed: int = 0):
    keys = {"flow": flow, "metric": metric, "split": split, "seed": seed, "step": None, "samples": 1000}
    return [
        {**keys, "sampler": sampler, "nfe": nfe, "value": value} for (sampler, nfe), value in values.items()
    ]


def table() -> pandas.DataFrame:
    """A baseline that held-out pictures prefer warm at 15, against its test split, and two designs."""
    rows = []
    distances = {
        "condot": {(WARM, 4): 10.0, (COLD, 4): 9.0, (WARM, 15): 8.0, (COLD, 15): 6.0},
        "ddpm": {(WARM, 4): 30.0, (WARM, 15): 7.0},
        "caption-means": {(WARM, 4): 6.0, (COLD, 4): 3.0, (WARM, 15): 5.0, (COLD, 15): 4.0},
        "kernel-mean": {(WARM, 4): 6.0, (COLD, 4): 2.0, (WARM, 15): 6.0, (COLD, 15): 2.0},
    }
    for flow, values in distances.items():
        rows += rows_of(flow, captions.DISTANCE, captions.SEEN, values)
        held_out = dict(values)
        if flow == "condot":
            held_out[COLD, 15] = 9.0
        rows += rows_of(flow, captions.DISTANCE, captions.VALIDATION, held_out)
        hits = {place: 1 / (1 + value) for place, value in values.items()}
        for seed in (0, 1):
            rows += rows_of(flow, captions.FOUND, captions.SEEN, hits, seed)
    found = pandas.DataFrame(rows)
    return found.astype({"nfe": "Int64", "step": "Int64", "samples": "Int64"})


def test_a_setting_stands_at_the_temperature_that_held_out_pictures_prefer():
    warm = captions.preferred(table())
    assert warm.loc["condot"].tolist() == [COLD, WARM]
    assert [captions.temperature(sampler) for sampler in warm.loc["condot"]] == ["0.4", "1"]
    found = captions.at_preferred(table(), captions.DISTANCE, captions.SEEN)
    assert found.loc["condot"].tolist() == [9.0, 8.0]
    assert found.loc["caption-means"].tolist() == [3.0, 4.0]
    shares = captions.at_preferred(table(), captions.FOUND, captions.SEEN)
    assert shares.loc["condot"].tolist() == pytest.approx([1 / 10, 1 / 9])


def test_the_best_design_is_set_against_the_best_baseline_at_each_number_of_evaluations():
    assert captions.best_design(table()) == "kernel-mean"
    ratio = captions.over_best_baseline(table(), captions.DISTANCE, captions.SEEN)
    assert ratio.to_dict() == {4: 2 / 9, 15: 2 / 7}
    assert captions.has_both(table())
    alone = table()
    assert not captions.has_both(alone[alone["flow"].isin(captions.BASELINES)])


def test_captions_found_are_compared_on_all_samples_of_all_seeds():
    tested = captions.finds_more(table(), captions.SEEN)
    assert tested.loc["design", 15] == pytest.approx(1 / 3)
    assert tested.loc["baseline", 15] == pytest.approx(1 / 8)
    assert tested.loc["p", 15] < 1e-20
    close = captions._fisher(0.1, 0.1, 2000)
    assert close == pytest.approx(1)


def test_the_study_names_the_settings_that_are_compared():
    grid = load_grid(STUDIES / "emoji.toml")
    assert {*captions.BASELINES} < {*grid.variants}
    assert [captions.temperature(spec) for spec in grid.samplers.values()] == ["1", "0.7", "0.4"]
    assert [Sampler.registry.resolve(spec).temperature for spec in grid.samplers.values()] == [1, 0.7, 0.4]
