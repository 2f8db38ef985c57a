"""Are a design's captions found more often than a baseline's? Sample by sample, over captions and seeds.

    flowprior compare benchmarks/studies/emoji.toml --out runs/emoji
    python -m benchmarks.studies.emoji_pairs runs/emoji kernel-mean+leave-one-out

The names after the folder are the designs to compare with all baselines; without any, all designs are.

The flows of one seed are asked for the same captions in the same order, so their samples are pairs. A caption
counts once, with the difference of what was found, summed over its samples and the seeds that both flows
have. If the flows were equally good, each caption's difference would be as likely to have the other sign: the
test turns signs at random. What is compared are the samples that the cells' own values were computed from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy
import pandas
import torch
from scipy.stats import permutation_test

from benchmarks.studies import RESULTS, emoji
from flowprior.data import Data
from flowprior.data.splits import draw_indices
from flowprior.features import as_extractor
from flowprior.metrics.caption_scorers import CaptionScorer, scorer_of
from flowprior.metrics.image_text import found_ranks
from flowprior.metrics.reference import Reference
from flowprior.metrics.setup import Rows
from flowprior.storage import read_json, write_json
from flowprior.study import StudyFolder
from flowprior.study.cell_file import Collection as Study
from flowprior.study.cell_file import collect
from flowprior.study.evaluating import Replay
from flowprior.study.splits import Splits
from flowprior.study.table import DataFrame
from flowprior.training.config import NO_LATENT

TARGET = RESULTS / "emoji-pairs.json"
NEAREST = 5
"""A caption is found where it is among so many nearest ones."""
TURNED = 99_999
"""How often signs are turned at random."""
SHARES = ("design_found", "baseline_found", "p")
COLUMNS = ("space", "split", "nfe", "design", "baseline", "seeds", "captions", *SHARES)
"""Of the written rows."""


def found_in_samples(study: Study, splits: Splits, designs: Sequence[str] = ()) -> DataFrame:
    """A row for each sample: ``flow``, ``seed``, ``split``, ``nfe``, ``caption``, its number, and ``found``.

    Of the baselines and of ``designs``; where there are none, of all flows.
    """
    scorer = scorer_of(as_extractor("lite0"), Reference(splits.train, "training"))
    references = {emoji.SEEN: splits.test} | dict(splits.references)
    tables = []
    for label, seed, result in study.cells():
        if designs and label not in (*emoji.BASELINES, *designs):
            continue
        asked = result["run"]["evaluations"][0]
        samples = Replay(study.samples_file(label, seed))
        for split, data in references.items():
            for table in _found(samples, asked, data, scorer):
                tables.append(table.assign(flow=label, seed=seed, split=split))
    return pandas.concat(tables)


def _found(samples: Replay, asked: dict[str, Any], data: Data, scorer: CaptionScorer) -> Iterator[DataFrame]:
    """The samples of one flow for the captions of ``data``, a table for each number of evaluations."""
    seed = asked["request"]["seed"]
    rows = Rows(data, draw_indices(data, asked["request"]["samples"], torch.Generator().manual_seed(seed)))
    captions = scorer.captions_of(data)
    assert captions is not None
    for nfe in asked["spent"]:
        generator = torch.Generator().manual_seed(seed)
        x = samples(data.conditions(rows.indices), nfe=nfe, generator=generator).x.clamp(-1, 1)
        ranks = found_ranks(scorer, scorer.extractor.features(x), rows)
        columns = {"caption": captions.numbers[rows.indices].numpy(), "found": (ranks < NEAREST).numpy()}
        yield pandas.DataFrame(columns).assign(nfe=nfe)


def compared(found: DataFrame) -> list[dict[str, Any]]:
    """Every design beside every baseline, by split and NFE; see :func:`compare`."""
    flows = list(found["flow"].unique())
    pairs = list(product([f for f in flows if f not in emoji.BASELINES], emoji.BASELINES))
    return [
        {"split": split, "nfe": int(nfe), "design": design, "baseline": baseline}
        | compare(own[own["flow"] == design], own[own["flow"] == baseline])
        for (split, nfe), own in found.groupby(["split", "nfe"], sort=False)
        for design, baseline in pairs
        if {design, baseline} <= {*own["flow"]}
    ]


def compare(design: DataFrame, baseline: DataFrame) -> dict[str, Any]:
    """What two flows find, on the seeds that both have.

    ``seeds`` and ``captions`` count these, ``design_found`` and ``baseline_found`` are shares of the samples;
    ``p`` is two-sided, of the mean difference of a caption.
    """
    seeds = {*design["seed"]} & {*baseline["seed"]}
    ours, theirs = (one[one["seed"].isin(seeds)].reset_index(drop=True) for one in (design, baseline))
    if not ours[["seed", "caption"]].equals(theirs[["seed", "caption"]]):
        raise ValueError("expected samples of the same captions in the same order; evaluate both flows alike")
    by_caption = (ours["found"].astype(int) - theirs["found"]).groupby(ours["caption"]).sum()
    return {
        "seeds": len(seeds),
        "captions": len(by_caption),
        "design_found": float(ours["found"].mean()),
        "baseline_found": float(theirs["found"].mean()),
        "p": _turned_signs(by_caption.to_numpy()),
    }


def _turned_signs(differences: numpy.ndarray) -> float:
    tested = permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis),
        permutation_type="samples",
        n_resamples=TURNED,
        batch=1000,
        vectorized=True,
        rng=numpy.random.default_rng(0),
    )
    return float(tested.pvalue)


def read(path: Path = TARGET) -> DataFrame:
    """The rows that :func:`main` wrote; none where it was not called."""
    rows = read_json(path)["rows"] if path.exists() else []
    return pandas.DataFrame(rows, columns=pandas.Index(COLUMNS))


def main(out: str, *designs: str, target: Path = TARGET) -> None:
    """Compare the flows of a study's folder, and write their rows beside those of other spaces."""
    study = collect(StudyFolder(out))
    latent = study.grid["latent"]
    space = emoji.PIXELS if latent == NO_LATENT else latent
    rows = compared(found_in_samples(study, Splits.of(study.grid), designs))
    stored = read(target)
    others = stored[stored["space"] != space].to_dict("records")
    write_json(target, {"rows": others + [{"space": space} | row for row in rows]}, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
