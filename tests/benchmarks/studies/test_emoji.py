"""The study of captions: which temperature a setting stands at, and what is said of it."""

from __future__ import annotations

import math

import pandas
import pytest

from benchmarks.studies import RESULTS, STUDIES, emoji
from flowprior.study.grid import load_grid
from flowprior.study.table import read_runs, read_table, select

WARM, COLD = "euler", "euler:temperature=0.4"


def rows_of(flow: str, metric: str, split: str, sampler: str, values: dict[int, float], seed: int = 0):
    keys = {"flow": flow, "metric": metric, "split": split, "sampler": sampler, "seed": seed, "step": None}
    return [{**keys, "samples": 1000, "nfe": nfe, "value": value} for nfe, value in values.items()]


def framed(rows) -> pandas.DataFrame:
    return pandas.DataFrame(rows).astype({"nfe": "Int64", "step": "Int64", "samples": "Int64"})


def table() -> pandas.DataFrame:
    """Baselines and designs, each at its temperature; held-out pictures and test prefer another design."""
    rows = []
    for flow, sampler, distances in (
        ("condot", WARM, {0: 99.0, 4: 9.0, 15: 8.0}),
        ("ddpm", "ancestral", {0: 99.0, 4: 30.0, 15: 7.0}),
        ("caption-means", COLD, {0: 9.0, 4: 3.0, 15: 4.0}),
        ("kernel-mean", COLD, {0: 8.0, 4: 4.0, 15: 3.5}),
    ):
        held_out = {nfe: value - 2 * (flow == "caption-means") for nfe, value in distances.items()}
        rows += rows_of(flow, emoji.DISTANCE, emoji.SEEN, sampler, distances)
        rows += rows_of(flow, emoji.DISTANCE, emoji.VALIDATION, sampler, held_out)
        hits = {nfe: 1 / (1 + value) for nfe, value in distances.items()}
        for seed in (0, 1):
            rows += rows_of(flow, emoji.FOUND, emoji.SEEN, sampler, hits, seed)
    return framed(rows)


def test_a_samplers_spec_says_the_temperature():
    expected = {"condot": 1, "ddpm": 1, "caption-means": 0.4, "kernel-mean": 0.4}
    assert emoji.temperatures(table()) == expected


def test_the_design_is_chosen_on_held_out_pictures_and_set_against_the_best_baseline_at_each_number():
    assert emoji.best_design(table()) == "caption-means"
    ratio = emoji.over_best_baseline(table(), emoji.DISTANCE, emoji.SEEN)
    assert ratio.to_dict() == {0: 1 / 11, 4: 1 / 3, 15: 4 / 7}
    other = emoji.over_best_baseline(table(), emoji.DISTANCE, emoji.SEEN, "kernel-mean")
    assert other.to_dict() == {0: 8 / 99, 4: 4 / 9, 15: 0.5}
    assert emoji.over_best_baseline(table(), emoji.DISTANCE, emoji.SEEN, "absent").empty
    assert emoji.has_both(table())
    alone = table()
    assert not emoji.has_both(alone[alone["flow"].isin(emoji.BASELINES)])


def test_captions_found_stand_beside_the_best_baselines_at_each_number():
    pairs = pandas.DataFrame(
        [
            {"split": split, "nfe": 15, "design": design, "baseline": baseline, "p": p}
            for split, design, baseline, p in (
                (emoji.SEEN, "caption-means", "ddpm", 0.01),
                (emoji.SEEN, "caption-means", "condot", 0.2),
                (emoji.UNSEEN, "caption-means", "ddpm", 0.3),
                (emoji.SEEN, "kernel-mean", "ddpm", 0.4),
            )
        ]
    )
    found = emoji.finds_more(table(), pairs, emoji.SEEN)
    assert found.loc["design", 15] == pytest.approx(1 / 5)
    assert found.loc["baseline", 15] == pytest.approx(1 / 8)
    assert found.loc["p", 15] == 0.01
    assert math.isnan(found.loc["p", 4]), "they were not compared there"


def test_cells_belong_to_pixels_or_to_the_latents_of_an_encoder():
    runs = pandas.DataFrame({"cell": ["a", "b", "c"], "latent": [None, "vae", None]})
    assert emoji.spaces(runs) == {"pixels": ["a", "c"], "vae": ["b"]}
    assert emoji.spaces(runs.drop(columns="latent")) == {"pixels": ["a", "b", "c"]}


def test_the_temperature_is_that_of_least_distance_among_those_that_copy_nothing():
    """A temperature at which one of the quantiles is too small, or was not measured, is passed over."""
    other = "euler:temperature=0.6"
    rows = []
    for sampler, distance, nearest in (
        (WARM, 8.0, (1.1, 1.0)),
        (other, 7.0, (0.97, 0.9)),
        (COLD, 6.0, (1.2, 0.8)),
    ):
        rows += rows_of("condot", emoji.DISTANCE, emoji.VALIDATION, sampler, {15: distance})
        for quantile, value in zip(emoji.FAR_ENOUGH, nearest, strict=True):
            rows += rows_of("condot", quantile, emoji.VALIDATION, sampler, {15: value})
    rows += rows_of("unmeasured", emoji.DISTANCE, emoji.VALIDATION, WARM, {15: 5.0})
    found = framed(rows)
    assert emoji.by_temperature(found).loc["condot"].to_dict() == {1.0: 8.0, 0.6: 7.0, 0.4: 6.0}
    assert emoji.nearness(found).loc["condot"].to_dict() == pytest.approx({1.0: -0.1, 0.6: 0.0, 0.4: 0.1})
    assert emoji.nearness(found).loc["unmeasured"].isna().all()
    assert emoji.suited(found) == {"condot": 0.6}


@pytest.mark.parametrize("name", ["emoji", "emoji_far", "emoji_sizes"])
def test_studies_of_pixels_train_the_same_flows(name):
    """So that the one that chooses temperatures leaves its trainings to the others."""
    chosen, study = load_grid(STUDIES / "emoji_temperatures.toml"), load_grid(STUDIES / f"{name}.toml")
    for key in ("data", "model", "latent", "validation", "training", "evaluation_seed"):
        assert getattr(chosen, key) == getattr(study, key)
    for label, own in study.variants.items():
        anywhere = {"sampler": ""}
        assert {**own, **anywhere} == {**chosen.variants[label], **anywhere}


@pytest.mark.parametrize(("space", "name"), [(emoji.PIXELS, "emoji"), ("vae", "emoji_latents")])
def test_every_setting_is_sampled_at_the_temperature_that_suits_it(space, name):
    pilot, study = RESULTS / "emoji-temperatures", load_grid(STUDIES / f"{name}.toml")
    cells = emoji.spaces(read_runs(pilot))[space]
    suited = emoji.suited(select(read_table(pilot), cell=cells))
    assert {"condot", "kernel-mean", "kernel-mean+leave-one-out"} <= {*suited}
    for label in study.variants.keys() & suited.keys():
        assert emoji.temperature_of(study.variants[label]["sampler"]) == suited[label], label


def test_temperatures_are_tried_from_one_down():
    samplers = load_grid(STUDIES / "emoji_temperatures.toml").samplers.values()
    assert [emoji.temperature_of(spec) for spec in samplers] == [1, 0.8, 0.6, 0.4, 0.2]
