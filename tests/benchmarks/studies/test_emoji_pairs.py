"""Whether a design's captions are found more often than a baseline's, sample by sample."""

from __future__ import annotations

import numpy
import pandas
import pytest

from benchmarks.studies import emoji, emoji_pairs
from flowprior.study import run_grid
from flowprior.study.grid import grid_from_dict
from flowprior.study.table import means, read_table, trained

DESIGN, BASELINE = "kernel-mean", "condot"


def samples_of(flow: str, found: list[bool], captions: list[int], seed: int = 0) -> pandas.DataFrame:
    keys = {"flow": flow, "seed": seed, "split": emoji.SEEN, "nfe": 4}
    return pandas.DataFrame({"caption": captions, "found": found}).assign(**keys)


def test_a_caption_counts_once_however_many_samples_it_has():
    """Ten captions, found by the design alone: p is that of ten signs, 2 of 1,024, though samples are 100."""
    captions = [place // 10 for place in range(100)]
    ours, theirs = samples_of(DESIGN, [True] * 100, captions), samples_of(BASELINE, [False] * 100, captions)
    found = emoji_pairs.compare(ours, theirs)
    assert found["p"] == pytest.approx(2 / 1024, rel=1e-9)
    assert (found["captions"], found["design_found"], found["baseline_found"]) == (10, 1.0, 0.0)


def test_flows_that_find_equally_much_do_not_differ():
    captions = list(range(200))
    ours = samples_of(DESIGN, [place % 2 == 0 for place in captions], captions)
    theirs = samples_of(BASELINE, [place % 2 == 1 for place in captions], captions)
    assert emoji_pairs.compare(ours, theirs)["p"] > 0.5


def test_false_alarms_are_as_rare_as_p_says(monkeypatch):
    monkeypatch.setattr(emoji_pairs, "TURNED", 999)
    generator = numpy.random.default_rng(0)
    captions = list(range(60))
    values = [
        emoji_pairs.compare(
            *(samples_of(flow, list(generator.random(60) < 0.3), captions) for flow in (DESIGN, BASELINE))
        )["p"]
        for _ in range(60)
    ]
    assert sum(p <= 0.2 for p in values) <= 20


def test_seeds_that_one_flow_lacks_are_left_out_and_other_captions_refused():
    captions = [0, 1, 2, 3]
    ours = pandas.concat([samples_of(DESIGN, [True] * 4, captions, seed) for seed in (0, 1)])
    theirs = samples_of(BASELINE, [False] * 4, captions)
    assert emoji_pairs.compare(ours, theirs)["seeds"] == 1
    with pytest.raises(ValueError, match="same captions in the same order"):
        emoji_pairs.compare(ours, samples_of(BASELINE, [False] * 4, captions[::-1]))


@pytest.mark.slow
def test_what_is_compared_is_what_the_cells_say(tmp_path):
    """The shares of the samples are the values of ``image-text``, on seen and on unseen captions."""
    grid = grid_from_dict(
        {
            "data": "emoji",
            "model": "mlp:width=8",
            "seeds": 1,
            "nfe": [0, 1],
            "samples": 40,
            "references": {emoji.UNSEEN: "emoji:captions=unseen"},
            "training": {"steps": 1, "batch_size": 8},
            "curve": {"points": 0},
            "evaluation": {"classifier": "none", "features": ["lite0"], "metrics": ["image-text"]},
            "variants": {
                BASELINE: {"prior": "gaussian", "coupling": "condot", "prediction": "velocity"},
                DESIGN: {"prior": "kernel-mean", "coupling": "condot", "prediction": "velocity"},
            },
        }
    )
    run_grid(grid, tmp_path / "study")
    target = tmp_path / "pairs.json"
    emoji_pairs.main(str(tmp_path / "study"), DESIGN, target=target)
    rows = emoji_pairs.read(target)
    assert list(rows["nfe"]) == [0, 1, 0, 1]
    assert set(rows["space"]) == {emoji.PIXELS}
    table = read_table(tmp_path / "study")
    for split in (emoji.SEEN, emoji.UNSEEN):
        values = means(trained(table, emoji.FOUND, split), emoji.FOUND, split)
        for _, row in rows[rows["split"] == split].iterrows():
            assert row["design_found"] == pytest.approx(values.loc[DESIGN, row["nfe"]])
            assert row["baseline_found"] == pytest.approx(values.loc[BASELINE, row["nfe"]])
    emoji_pairs.main(str(tmp_path / "study"), target=target)
    assert len(emoji_pairs.read(target)) == 4
