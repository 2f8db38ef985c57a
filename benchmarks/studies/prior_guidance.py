"""Classifier-free guidance of a flow beside guidance by its prior, and what is read off the study.

    python -m benchmarks.studies.prior_guidance RUN

writes what guidance by the prior does to a flow that was trained for longer, such as the 60,000 steps of
long_training.toml, into ``benchmarks/results/prior-guidance-long``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.studies import FASHION_CLASSIFIER, RESULTS, SEED, Row, write_cell
from benchmarks.studies.tables import FEATURES
from flowprior.data import Data, load_data
from flowprior.evaluation import sweep
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.pictures import save_figure
from flowprior.study.table import DataFrame, Series, trained

BASE_SAMPLER, CAPTION_SAMPLER = "euler:grid=last,at=0.7", "euler:temperature=0.6"
SMALL = (1.0, 1.05, 1.1, 1.25)
"""Strengths of guidance by the prior for a flow that was trained for longer."""
BESIDE = 1.25
"""Strength of the prior's guidance that is looked at together with classifier-free guidance."""
STRENGTHS = (1.25, 1.5, 2.0, 3.0)
NFES = (1, 4, 15)
BATCH = 250
LABELS: dict[str, Any] = {
    "samples": 2000,
    "conditions": "balanced",
    "metrics": ["fid", "accuracy"],
    "classifier": str(FASHION_CLASSIFIER),
}
CAPTIONS: dict[str, Any] = {
    "samples": 1000,
    "conditions": "reference",
    "metrics": ["fid", "image-text"],
    "classifier": "none",
}
"""What is asked of the flows of labels, and of those of captions."""
AGREEMENT = "accuracy"
CAPTION_AGREEMENT, CAPTION_DISTANCES = "caption-top5-lite0", ("fid-lite0",)
NONE, PRIOR, FREE, BOTH = "none", "prior", "classifier-free", f"prior {BESIDE:g} and classifier-free"
"""The ways of guidance; the last is at this strength of the prior's alone."""
ALLOWED = 1.05
"""What a distance may become, as a multiple of that without guidance."""


def with_classifier_free_guidance(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Distances and accuracy under classifier-free guidance, alone and together with the prior's."""
    return _free(flow, cell, data, BASE_SAMPLER, LABELS)


def captions_with_classifier_free_guidance(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """The distance and captions found under classifier-free guidance, alone and together with the prior's."""
    return _free(flow, cell, data, CAPTION_SAMPLER, CAPTIONS)


def _free(flow: Flow, cell: Any, data: Any, sampler: str, asked: Mapping[str, Any]) -> list[Row]:
    samplers = [sampler, f"{sampler},prior_guidance={BESIDE:g}"]
    found = _evaluated(flow, data.train, data.test, cell.seed + SEED, samplers, STRENGTHS, asked)
    return [row | {"flow": cell.variant.label, "seed": cell.seed} for row in found if row["nfe"] in NFES]


def _evaluated(
    flow: Flow,
    train: Data,
    test: Data,
    seed: int,
    samplers: Sequence[str],
    guidances: Sequence[float],
    asked: Mapping[str, Any] = LABELS,
) -> list[Row]:
    """What is asked of a flow; nothing of real data."""
    found = sweep(
        flow,
        train,
        reference=test,
        nfe=NFES,
        samplers=samplers,
        guidances=guidances,
        seeds=[seed],
        features=["lite0"],
        batch_size=BATCH,
        **asked,
    )
    return [row for row in found.rows if row["flow"] != REAL_DATA]


def guided(table: DataFrame, metric: str) -> DataFrame:
    """Means over seeds: a row for each (flow, way, strength), a column for each number of evaluations."""
    own = trained(table, metric)
    by_prior = own["sampler"].str.extract(r"prior_guidance=([\d.]+)")[0].astype(float)
    free = own["guidance"].astype(float).fillna(1.0)
    own = own.assign(way=NONE, strength=1.0)
    moved = by_prior.fillna(1.0) != 1
    own.loc[moved, "way"], own.loc[moved, "strength"] = PRIOR, by_prior
    own.loc[free != 1, "way"], own.loc[free != 1, "strength"] = FREE, free
    own.loc[(by_prior == BESIDE) & (free != 1), "way"] = BOTH
    own = own[~(moved & (free != 1)) | (by_prior == BESIDE)]
    found = own.pivot_table(index=["flow", "way", "strength"], columns="nfe", values="value", sort=False)
    return found.sort_index(axis=1)


def gains(
    table: DataFrame,
    flow: str,
    nfe: int,
    agreement: str = AGREEMENT,
    distances: Sequence[str] = tuple(FEATURES),
) -> Series:
    """Way -> the most agreement it adds where no distance exceeds 1.05 times the one without guidance."""
    agreeing = guided(table, agreement).loc[flow][nfe]
    allowed = agreeing.notna()
    for metric in distances:
        distance = guided(table, metric).loc[flow][nfe]
        allowed &= distance <= ALLOWED * distance[(NONE, 1.0)]
    return (agreeing[allowed] - agreeing[(NONE, 1.0)]).groupby(level="way", sort=False).max()


def caption_gains(table: DataFrame, flow: str, nfe: int) -> Series:
    """As :func:`gains`: the captions found, where the distance of lite0's features allows it."""
    return gains(table, flow, nfe, CAPTION_AGREEMENT, CAPTION_DISTANCES)


def draw_captions(table: DataFrame, path: Path) -> None:
    """As :func:`draw_curves`: the captions found against the distance of lite0's features."""
    distance = CAPTION_DISTANCES[0]
    draw_curves(table, path, agreement=CAPTION_AGREEMENT, distance=distance, name="caption found")


def most(table: DataFrame, flow: str, nfe: int, agreement: str = AGREEMENT) -> float:
    """The most agreement classifier-free guidance adds at any strength, whatever becomes of distances."""
    agreeing = guided(table, agreement).loc[flow][nfe]
    return float((agreeing.loc[FREE] - agreeing[(NONE, 1.0)]).max())


def better_everywhere(table: DataFrame, strength: float) -> bool:
    """Whether this strength of the prior brings both distances down for all flows, from NFE 1 on."""
    for metric in FEATURES:
        found = guided(table, metric).drop(columns=0, errors="ignore")
        own, none = (found.xs(place, level=("way", "strength")) for place in ((PRIOR, strength), (NONE, 1.0)))
        if not bool((own < none).to_numpy().all()):
            return False
    return True


def draw_curves(
    table: DataFrame,
    path: Path,
    *,
    agreement: str = AGREEMENT,
    distance: str = FEATURES[1],
    name: str = AGREEMENT,
) -> None:
    """Agreement against Fréchet distance along the strengths, for each flow and number of evaluations."""
    flows = list(dict.fromkeys(guided(table, agreement).index.get_level_values("flow")))
    figure = Figure(figsize=(9.0, 2.9 * len(flows)), layout="constrained")
    panels = figure.subplots(len(flows), len(NFES), squeeze=False)
    for row, flow in zip(panels, flows, strict=True):
        for axes, nfe in zip(row, NFES, strict=True):
            for way, marker in ((PRIOR, "o-"), (FREE, "s--"), (BOTH, "^:")):
                values = tuple(guided(table, metric).loc[flow][nfe] for metric in (distance, agreement))
                _draw(axes, *values, way=way, marker=marker)
            axes.set_title(f"{flow}, NFE {nfe}", fontsize=9)
            axes.set_xlabel(distance)
        row[0].set_ylabel(name)
    panels[0][0].legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def _draw(axes: Any, distance: Series, agreement: Series, *, way: str, marker: str) -> None:
    """One way's curve, from no guidance on; a number beside each point is its strength."""
    if way not in agreement.index.get_level_values("way"):
        return
    first = (PRIOR, BESIDE) if way == BOTH else (NONE, 1.0)
    places = [first, *((way, strength) for strength in agreement.loc[way].index)]
    x, y = [distance[place] for place in places], [agreement[place] for place in places]
    axes.plot(x, y, marker, markersize=4, label=way)
    for (_, strength), a, b in zip(places, x, y, strict=True):
        axes.annotate(f"{strength:g}", (a, b), fontsize=6, xytext=(3, 3), textcoords="offset points")


def main(run: str) -> None:
    """Evaluate the flow of ``run`` at small strengths, and store it as a cell."""
    flow = Flow.load(run)
    train, test = load_data("fashion-mnist"), load_data("fashion-mnist", "test")
    samplers = [f"{BASE_SAMPLER},prior_guidance={strength:g}" for strength in SMALL]
    found = _evaluated(flow, train, test, SEED, samplers, [1.0])
    config = flow.metadata["config"]
    setting = {"label": "default", "seed": 0, "steps": config["training"]["steps"], "prior": config["prior"]}
    rows = [row | {"flow": "default", "seed": 0} for row in found]
    write_cell(RESULTS / "prior-guidance-long" / "default.json", setting, rows)


if __name__ == "__main__":
    main(sys.argv[1])
