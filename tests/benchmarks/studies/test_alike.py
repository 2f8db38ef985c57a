"""Which cells may stand beside each other: the stored ones that may, and those that once did and may not."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from benchmarks.studies import RESULTS, alike, emoji, lead, one_evaluation, reflow, warm_start
from benchmarks.studies.alike import UnlikeStudies, joined, refuse_unlike
from flowprior.errors import OptionError
from flowprior.study.table import read_table, select

DIVIDED = ["part", "variant", "count", "latent", "data"]
"""Columns that a page's tables divide a folder by, or that seeds have values of their own of."""
NAMED = {"embeddings": {"prior"}}
"""Folder -> what the seeds of a label differ in, which the page says."""
NOT_TRAINED = {"kills", "overhead", "component-counts", "misfit", "inspect-ranking"}
TRAINED = sorted({path.parent for path in RESULTS.rglob("*-seed*.json")})


@cache
def table_of(folder: Path):
    return read_table(folder)


def stored(folder: str, **where):
    return select(table_of(RESULTS / folder), **where)


def test_a_larger_network_does_not_stand_beside_the_average_velocity() -> None:
    with pytest.raises(UnlikeStudies) as error:
        one_evaluation.beside(stored("one-evaluation", seed=0), stored("lead-8000"))
    assert "model 'unet:widths=32-64' and 'unet:widths=32-64-128'" in str(error.value)
    assert "`average velocity` beside `default`" in str(error.value)
    assert "steps" not in str(error.value).partition("got")[2]


def test_a_warm_start_stands_beside_its_training_from_scratch_and_its_base() -> None:
    warm, scratch, base = (stored(name) for name in ("warm-start", "from-scratch", "long-training"))
    own, cold = warm_start.beside(warm, scratch, "fid-lite0")
    assert list(own.index) == list(cold.index)
    assert set(warm_start.base_at_the_end(base, warm, "fid-lite0").index) >= {4, 15}
    with pytest.raises(UnlikeStudies, match="steps '1000' and '60000'"):
        warm_start.beside(warm, base, "fid-lite0")


def test_a_round_of_rectification_stands_beside_the_flow_before_it_and_no_other() -> None:
    after = stored("reflow")
    assert "more training" in reflow.outcome(after, stored("long-training"), "fid-lite0").index
    with pytest.raises(UnlikeStudies, match="model 'unet:widths=32-64' and 'unet:widths=32-64-128'"):
        reflow.outcome(after, stored("lead-8000"), "fid-lite0")


def test_rivals_of_the_earlier_study_join_those_of_the_same_budget_alone() -> None:
    long, earlier = stored("lead-16000"), stored("fashion-mnist-16000")
    found = lead.with_rivals(long, earlier)
    assert set(found["flow"]) - set(long["flow"]) == {"torchcfm-ot"}
    with pytest.raises(UnlikeStudies, match="steps '16000' and '1000'"):
        lead.with_rivals(long, stored("fashion-mnist-1000"))
    with pytest.raises(UnlikeStudies, match="model 'unet:widths=32-64-128' and 'unet:widths=32-64'"):
        lead.with_rivals(stored("lead-8000"), earlier)


@pytest.mark.parametrize("flow", ["gaussian+condot", "torchcfm-ot", "flow_matching"])
@pytest.mark.parametrize("metric", ["fid-cnn128", "fid-lite0"])
def test_what_the_earlier_study_does_not_name_was_as_it_is_today(flow: str, metric: str) -> None:
    """Trained again after 1,000 steps, its rivals have the same values."""
    where = {"flow": flow, "metric": metric, "sampler": "euler", "step": None, "split": "test"}
    tables = (
        stored(name, **where).set_index(["seed", "nfe"]) for name in ("lead-1000", "fashion-mnist-1000")
    )
    now, then = (table["value"].sort_index() for table in tables)
    assert now.to_dict() == pytest.approx(then.to_dict(), rel=1e-5)


def test_flows_of_captions_have_no_mean_over_pixels_and_latents() -> None:
    both = stored("emoji")
    with pytest.raises(UnlikeStudies, match=r"`condot`: expected cells of one setting, got latent 'none' or"):
        alike.means(both, emoji.DISTANCE)
    pixels = emoji.of_space(both)
    assert len(alike.means(pixels, emoji.DISTANCE)) == 8
    assert set(pixels["cell"].str.partition("-")[0]) == {"pixels"}


@pytest.mark.parametrize("folder", ["emoji-far", "emoji-temperatures"])
def test_what_the_page_calls_the_same_flows_were_trained_alike(folder: str) -> None:
    other = stored(folder, label=["condot", "caption-means", "kernel-mean"])
    other = emoji.of_space(other) if "latent" in other else other
    flows = emoji.of_space(stored("emoji", seed=0, label=list(other["label"].unique())))
    refuse_unlike(flows, other, ("split", "reference", "samples", "nfe", "sampler"))


def test_a_setting_that_older_cells_do_not_name_is_what_it_was() -> None:
    table = stored("lead-1000", label="gaussian+condot")
    older = table.drop(columns="pair_within")
    refuse_unlike(table, older, ())
    some = table["validation"].where(table["seed"] > 0).astype(float)
    refuse_unlike(table, table.assign(validation=some), ())
    with pytest.raises(UnlikeStudies, match="pair_within 'batch' and 'micro-batch'"):
        refuse_unlike(table.assign(pair_within="batch"), older, ())


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("features", "cnn128 sha256 5568814b"),
        ("reference", "9 test examples"),
        ("samples", 500),
        ("ema", 0.99),
        ("seed", 7),
    ],
)
def test_evaluators_samples_and_seeds_are_held_against_each_other(column: str, other: object) -> None:
    table = stored("lead-8000", label="default", metric="fid-cnn128", split="test")
    with pytest.raises(UnlikeStudies, match=f"got {column} .* and '{other}'"):
        refuse_unlike(table, table.assign(**{column: other}), ())
    refuse_unlike(table, table.assign(**{column: other}), (column,))


def test_data_that_a_cell_does_not_name_are_not_taken_for_any_other() -> None:
    table = stored("lead-8000", label="default")
    with pytest.raises(UnlikeStudies, match="data 'fashion-mnist' and 'None'"):
        refuse_unlike(table, table.drop(columns="data"), ())


def test_a_study_without_pictures_held_out_is_told_from_one_with() -> None:
    table = stored("lead-8000", label="default")
    with pytest.raises(UnlikeStudies, match="split 'test' or 'validation' and 'test'"):
        refuse_unlike(table, select(table, split="test"), ())


def test_tables_without_a_common_metric_and_unknown_names_are_refused() -> None:
    table = stored("lead-8000", label="default")
    with pytest.raises(UnlikeStudies, match="expected a metric that both have"):
        refuse_unlike(select(table, metric="fid-lite0"), select(table, metric="fid-cnn128"), ())
    with pytest.raises(OptionError, match="got modle"):
        joined(table, table, ("modle",))


@pytest.mark.parametrize("folder", TRAINED, ids=lambda path: str(path.relative_to(RESULTS)))
def test_a_label_is_one_setting(folder) -> None:
    if folder.relative_to(RESULTS).parts[0] in NOT_TRAINED:
        pytest.skip("no trained cells")
    table = table_of(folder)
    unnamed = {name: "" if value is None else value for name, value in alike.UNNAMED.items()}
    own = table.reindex(columns=[*unnamed, "label"]).astype(object)
    for name, value in unnamed.items():
        own.loc[own[name].isna(), name] = value
    counts = own.groupby(["label", *DIVIDED]).nunique().max()
    assert set(counts.index[counts > 1]) <= NAMED.get(folder.name, set())
