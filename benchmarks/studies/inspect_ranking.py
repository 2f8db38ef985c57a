"""Does the ranking of ``flowprior inspect`` foretell trained quality? Rank correlation with trained cells.

    python -m benchmarks.studies.inspect_ranking --cells fashion-mnist-1000 --cells fashion-mnist-500
    python -m benchmarks.studies.inspect_ranking --cells digits --data digits

Reads every trained cell of the folders below benchmarks/results that a prior and a coupling of ours decide (no
peer, straight path, network of the velocity), inspects each pairing, and compares the order of the score with
that of the trained flows' distances at 4 evaluations, averaged over seeds, folder by folder. How the score is
made was chosen on digits; the other data only check it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import pandas as pd
import typer

from benchmarks.studies.protocol import RESULTS
from flowprior.data import load_data
from flowprior.inspection import Pairing, inspect_priors
from flowprior.storage import write_text
from flowprior.study.table import read_table

TARGET = RESULTS / "inspect-ranking.json"
NFE = 4
SCORES = ["score", "rehearsed", "crossing", "transport_cost"]
SAID = ["prior", "coupling", "score", "rehearsed", "crossing", "shift", "transport_cost"]
OURS = {"path": "condot", "prediction": "velocity", "peer": "", "trainer": ""}
"""What the columns of a cell say that prior and coupling of ours decide, where it has them."""


def trained_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Distances of every pairing (prior, coupling): means over its seeds, and how many there are."""
    is_distance = table["metric"].str.startswith("fid-") | (table["metric"] == "w2_squared")
    kept = (table["nfe"] == NFE) & is_distance & table["step"].isna()
    for name, value in OURS.items():
        if name in table:
            kept &= table[name].fillna(value) == value
    if "split" in table:
        kept &= table["split"].fillna("test") == "test"
    pairs = table[kept].groupby(["prior", "coupling"])
    means = table[kept].pivot_table(index=["prior", "coupling"], columns="metric", values="value")
    return means.assign(seeds=pairs["seed"].nunique()).reset_index()


def compare(cells: pd.DataFrame, said: pd.DataFrame) -> dict[str, Any]:
    """Rows of scores beside trained distances, best score first, and the rank correlation for each metric.

    Args:
        cells: what :func:`trained_cells` gives.
        said: what :func:`inspected` gives.
    """
    found = said.merge(cells, on=["prior", "coupling"]).sort_values("score", kind="stable")
    metrics = [name for name in found if name.startswith("fid-") or name == "w2_squared"]
    features = [name for name in metrics if name.startswith("fid-")]
    if len(features) > 1:  # features seldom agree
        found["mean rank"] = found[features].rank().mean(axis=1)
        metrics.append("mean rank")
    ranks = found[[*SCORES, *metrics]].corr("spearman") if len(found) > 2 else None
    return {
        "rows": found.to_dict("records"),
        "settings": len(found),
        "cells": int(found["seeds"].sum()),
        "spearman": {
            metric: {score: None if ranks is None else float(ranks.loc[score, metric]) for score in SCORES}
            for metric in metrics
        },
        "agreement": float(ranks.loc[*features]) if ranks is not None and len(features) == 2 else None,
    }


def inspected(data: str, cells: pd.DataFrame, examples: int, seed: int) -> pd.DataFrame:
    """What is said of every pairing, from one inspection for each prior."""
    whole, rows = load_data(data), []
    for prior, own in cells.groupby("prior", sort=False):
        couplings = list(own["coupling"].unique())
        options: dict[str, Any] = {"examples": examples, "seed": seed, "steps": NFE, "suggestion": False}
        rows += map(as_said, inspect_priors(whole, [str(prior)], couplings, **options).pairings)
    return pd.DataFrame(rows)


def as_said(pairing: Pairing) -> dict[str, Any]:
    """What the inspection says of a pairing."""
    simulated = pairing.rehearsal
    return {
        "prior": pairing.prior,
        "coupling": pairing.coupling,
        "score": pairing.score,
        "rehearsed": simulated.distance[max(simulated.distance)],
        "crossing": simulated.crossing,
        "shift": simulated.shift,
        "transport_cost": pairing.transport_cost,
    }


def main(
    cells: Annotated[list[str], typer.Option(help="folder below benchmarks/results; can be repeated")],
    data: str = typer.Option("fashion-mnist", help="what these cells were trained on"),
    examples: int = 15_000,
    seed: int = 0,
    keep_scores: bool = typer.Option(False, help="take the scores from the last comparison; inspect nothing"),
) -> None:
    """Inspect what was trained and write the comparison; other folders' comparisons stay."""
    known = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
    trained = {name: trained_cells(read_table(RESULTS / name)) for name in cells}
    fresh = pd.DataFrame() if keep_scores else inspected(data, pd.concat(trained.values()), examples, seed)
    for name, folder in trained.items():
        said = pd.DataFrame(known[name]["rows"])[SAID] if keep_scores else fresh
        settings = {"data": data, "nfe": NFE, "examples": examples, "seed": seed}
        known[name] = settings | compare(folder, said)
        typer.echo(f"{name}: {json.dumps(known[name]['spearman'])}")
    write_text(TARGET, json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
