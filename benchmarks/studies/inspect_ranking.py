"""Does the ranking of ``flowprior inspect`` foretell trained quality? Rank correlation with trained cells.

    python -m benchmarks.studies.inspect_ranking --cells fashion-mnist --cells fashion-mnist-1200
    python -m benchmarks.studies.inspect_ranking --cells digits --data digits

Reads every finished cell of the folders below benchmarks/results that trains a prior and a coupling of ours
(no peer, no ε-prediction), inspects each pairing, and compares the order of the score with the order of the
trained flows' figures at 4 evaluations, averaged over seeds, folder by folder. How the score is made was
chosen on digits; the other data only check it. Run it again when there are more cells; it changes no trained
figure.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from scipy.stats import rankdata, spearmanr

from benchmarks.studies.report.judges import one_judge
from benchmarks.studies.store import RESULTS, write_json
from flowprior.data import load_data
from flowprior.inspection import Pairing, inspect_priors

TARGET = RESULTS / "inspect-ranking.json"
NFE = 4
SCORES = ("score", "rehearsed", "crossing", "transport_cost")
MEAN_RANK = "mean rank"
Key = tuple[str, str]
Figures = dict[str, float]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def trained_cells(folder: Path) -> dict[Key, list[Figures]]:
    """Distances at 4 evaluations of every seed, by (prior, coupling).

    Raises:
        MixedJudges: the cells that count were judged by several judges.
    """
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    ours = [cell for cell in found if is_ours(cell)]
    one_judge(ours, folder.name)
    cells = defaultdict(list)
    for cell in ours:
        row = next((row for row in cell.get("rows", []) if row["nfe"] == NFE), None)
        if row is not None:
            cells[cell["prior"], cell["coupling"]].append(distances(row))
    return dict(cells)


def known_pairings(rows: list[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """What an earlier inspection said of each pairing: its columns without the trained figures."""
    said = ("prior", "coupling", "score", "rehearsed", "crossing", "shift", "transport_cost")
    return {(row["prior"], row["coupling"]): {name: row[name] for name in said} for row in rows}


def is_ours(cell: dict[str, Any]) -> bool:
    """Whether a prior and a coupling of ours, on the straight path, decide the cell."""
    straight = cell.get("path", "condot") == "condot" and cell.get("prediction", "velocity") == "velocity"
    return bool(cell.get("prior") and cell.get("coupling")) and not cell.get("peer") and straight


def distances(row: dict[str, Any]) -> Figures:
    """Figures of a row of which less is better: feature distances, their mean rank, and W2²."""
    return {name: row[name] for name in row if name.startswith("fid-") or name in ("w2_squared", MEAN_RANK)}


def mean_ranks(rows: list[dict[str, Any]], features: list[str]) -> list[float]:
    """Of every row, the mean of its ranks (from 1) under the features, which seldom agree."""
    ranks: Any = [rankdata([row[name] for row in rows]) for name in features]
    return [float(sum(own) / len(features)) for own in zip(*ranks, strict=True)]


def inspected(data: str, keys: list[Key], examples: int, seed: int) -> dict[Key, dict[str, Any]]:
    """What is said of every pairing, from one inspection for each prior."""
    couplings = defaultdict(list)
    for prior, coupling in keys:
        couplings[prior].append(coupling)
    whole = load_data(data)
    found = {}
    for prior, own in couplings.items():
        inspection = inspect_priors(
            whole, [prior], own, examples=examples, seed=seed, steps=NFE, suggestion=False
        )
        found |= {(pairing.prior, pairing.coupling): as_said(pairing) for pairing in inspection.pairings}
    return found


def compare(cells: dict[Key, list[Figures]], found: dict[Key, dict[str, Any]]) -> dict[str, Any]:
    """Rows of scores beside trained figures, best score first, and the rank correlation for each metric."""
    rows = [found[key] | means(seeds) for key, seeds in cells.items() if key in found]
    rows.sort(key=lambda row: row["score"])
    features = [name for name in rows[0] if name.startswith("fid-")] if rows else []
    if len(features) > 1:
        for row, rank in zip(rows, mean_ranks(rows, features), strict=True):
            row[MEAN_RANK] = rank
    metrics = list(distances(rows[0])) if rows else []
    return {
        "rows": rows,
        "settings": len(rows),
        "cells": sum(row["seeds"] for row in rows),
        "spearman": {
            metric: {score: correlation(rows, score, metric) for score in SCORES} for metric in metrics
        },
        "agreement": correlation(rows, *features) if len(features) == 2 else None,
    }


def means(seeds: list[Figures]) -> dict[str, Any]:
    """What the trained cells of a pairing gave, averaged over their seeds."""
    return {
        "seeds": len(seeds),
        **{name: sum(seed[name] for seed in seeds) / len(seeds) for name in seeds[0]},
    }


def as_said(pairing: Pairing) -> dict[str, Any]:
    """What the inspection says of a pairing."""
    flow = pairing.simulated_flow
    return {
        "prior": pairing.prior,
        "coupling": pairing.coupling,
        "score": pairing.score,
        "rehearsed": flow.distance[max(flow.distance)],
        "crossing": flow.crossing,
        "shift": flow.shift,
        "transport_cost": pairing.transport_cost,
    }


def correlation(rows: list[dict[str, Any]], score: str, metric: str) -> float | None:
    """Spearman's, or None for fewer than three rows."""
    if len(rows) < 3:
        return None
    found: Any = spearmanr([row[score] for row in rows], [row[metric] for row in rows])
    return float(found.statistic)


@app.command()
def main(
    cells: Annotated[list[str], typer.Option(help="folder below benchmarks/results; can be repeated")],
    data: str = typer.Option("fashion-mnist", help="what these cells were trained on"),
    examples: int = 15_000,
    seed: int = 0,
    threads: int = 0,
    keep_scores: bool = typer.Option(False, help="take the scores from the last comparison; inspect nothing"),
) -> None:
    """Inspect what was trained and write the comparison; other folders' comparisons stay."""
    if threads:
        torch.set_num_threads(threads)
    trained = {name: trained_cells(RESULTS / name) for name in cells}
    keys = list(dict.fromkeys(key for folder in trained.values() for key in folder))
    known = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
    fresh = {} if keep_scores else inspected(data, keys, examples, seed)
    for name, folder in trained.items():
        result = compare(folder, known_pairings(known[name]["rows"]) if keep_scores else fresh)
        known[name] = {"data": data, "nfe": NFE, "examples": examples, "seed": seed, **result}
        for row in result["rows"]:
            figures = ", ".join(f"{metric} {value:.4g}" for metric, value in distances(row).items())
            typer.echo(f"{row['score']:.4f}  {row['prior']} + {row['coupling']}: {figures}")
        typer.echo(f"{name}: {json.dumps(result['spearman'])}")
    write_json(TARGET, known)


if __name__ == "__main__":
    app()
