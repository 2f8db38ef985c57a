"""Does the ranking of ``flowprior inspect`` foretell trained quality? Rank correlation with trained cells.

    python -m benchmarks.experiments.inspect_ranking

Reads every finished cell of Fashion-MNIST below benchmarks/results/fashion-mnist, inspects its prior and
coupling, and compares the order of the score with the order of the trained flows' feature distances at 4
evaluations, averaged over seeds. Run it again when there are more cells; it changes no trained figure.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import typer
from scipy.stats import spearmanr

from flowprior.data import load_data
from flowprior.inspection import Inspection, inspect_priors

RESULTS = Path(__file__).parents[1] / "results"
CELLS = RESULTS / "fashion-mnist"
TARGET = RESULTS / "inspect-ranking.json"
NFE = 4
METRICS = ("fid-cnn128", "fid-lite0")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def trained_cells(folder: Path = CELLS) -> dict[tuple[str, str], list[dict[str, float]]]:
    """Figures at 4 evaluations of every seed, by (prior, coupling)."""
    cells = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        cell = json.loads(file.read_text(encoding="utf-8"))
        row = next((row for row in cell.get("rows", []) if row["nfe"] == NFE), None)
        if row is not None and cell.get("prior") and cell.get("coupling"):
            cells[cell["prior"], cell["coupling"]].append({name: row[name] for name in METRICS})
    return dict(cells)


def inspected(settings: list[tuple[str, str]], examples: int, seed: int) -> list[Inspection]:
    """One inspection for each prior, with every coupling it was trained with."""
    couplings = defaultdict(list)
    for prior, coupling in settings:
        couplings[prior].append(coupling)
    data = load_data("fashion-mnist")
    options = {"examples": examples, "seed": seed, "steps": NFE, "suggestion": False}
    return [inspect_priors(data, [prior], own, **options) for prior, own in couplings.items()]


def compare(cells: dict[tuple[str, str], list[dict[str, float]]], found: list[Inspection]) -> dict[str, Any]:
    """Rows of scores beside trained figures, and the rank correlation for each metric."""
    rows = []
    for pairing in (pairing for inspection in found for pairing in inspection.pairings):
        seeds = cells[pairing.prior, pairing.coupling]
        means = {name: sum(seed[name] for seed in seeds) / len(seeds) for name in METRICS}
        rehearsed = {str(steps): value for steps, value in pairing.rehearsal.distance.items()}
        rows.append(
            {
                "prior": pairing.prior,
                "coupling": pairing.coupling,
                "seeds": len(seeds),
                "score": pairing.score,
                "rehearsed": rehearsed,
                "crossing": pairing.rehearsal.crossing,
                "starts_gap": pairing.starts_gap["coefficient"],
                "transport_cost": pairing.transport_cost,
                **means,
            }
        )
    rows.sort(key=lambda row: row["score"])
    scores = ("score", "crossing", "transport_cost")
    return {
        "rows": rows,
        "settings": len(rows),
        "cells": sum(row["seeds"] for row in rows),
        "spearman": {
            metric: {
                score: float(spearmanr([r[score] for r in rows], [r[metric] for r in rows])[0])
                for score in scores
            }
            for metric in METRICS
        },
    }


@app.command()
def main(examples: int = 20_000, seed: int = 0, threads: int = 0) -> None:
    """Inspect what was trained and write the comparison."""
    if threads:
        torch.set_num_threads(threads)
    cells = trained_cells()
    found = inspected(list(cells), examples, seed)
    result = compare(cells, found)
    result |= {
        "nfe": NFE,
        "examples": examples,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": [inspection.seconds for inspection in found],
    }
    TARGET.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["rows"]:
        figures = ", ".join(f"{name} {row[name]:.4g}" for name in METRICS)
        typer.echo(f"{row['score']:.4f}  {row['prior']} + {row['coupling']}: {figures}")
    typer.echo(json.dumps(result["spearman"]))


if __name__ == "__main__":
    app()
