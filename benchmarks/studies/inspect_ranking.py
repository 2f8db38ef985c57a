"""Does the ranking of ``flowprior inspect`` foretell trained quality? Rank correlation with trained cells.

    python -m benchmarks.studies.inspect_ranking --cells fashion-mnist-1000 --cells fashion-mnist-500
    python -m benchmarks.studies.inspect_ranking --cells digits --data digits

Folder by folder below benchmarks/results the order of the score is compared with that of the distances at 4
evaluations. How the score is made was chosen on digits; the other data only check it.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
import typer

from benchmarks.studies import RESULTS, write_cell
from flowprior.data import load_data
from flowprior.evaluation.result import table_row
from flowprior.inspection import Pairing, inspect_priors
from flowprior.study.table import read_table

NFE = 4
SCORES = ["score", "simulated", "crossing", "transport_cost"]
OURS = {"path": "condot", "prediction": "velocity", "peer": "", "trainer": "", "split": "test"}
"""What the columns of a cell say that prior and coupling of ours decide, where it has them."""


def trained_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Distances of every pairing (prior, coupling): means over its seeds, and how many there are."""
    kept = table["metric"].str.startswith("fid-") | (table["metric"] == "w2_squared")
    kept &= (table["nfe"] == NFE) & table["step"].isna()
    for name, value in OURS.items():
        kept &= table[name].fillna(value) == value if name in table else True
    means = table[kept].pivot_table(index=["prior", "coupling"], columns="metric", values="value")
    seeds = table[kept].groupby(["prior", "coupling"])["seed"].nunique()
    return means.assign(seeds=seeds).reset_index()


def inspected(data: str, cells: pd.DataFrame, examples: int, seed: int) -> pd.DataFrame:
    """What is said of every pairing, from one inspection for each prior."""
    whole, rows = load_data(data), []
    options: dict[str, Any] = {"examples": examples, "seed": seed, "steps": NFE, "suggestion": False}
    for prior, own in cells.groupby("prior", sort=False)["coupling"]:
        rows += map(as_said, inspect_priors(whole, [str(prior)], list(own.unique()), **options).pairings)
    return pd.DataFrame(rows)


def as_said(pairing: Pairing) -> dict[str, Any]:
    """What the inspection says of a pairing."""
    simulated = pairing.simulated_flow
    own = {name: getattr(pairing, name) for name in ("prior", "coupling", "score", "transport_cost")}
    told = {"crossing": simulated.crossing, "shift": simulated.shift}
    return own | told | {"simulated": simulated.distance[max(simulated.distance)]}


def compare(cells: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """What :func:`inspected` says beside what :func:`trained_cells` has, best score first."""
    return with_mean_rank(said.merge(cells, on=["prior", "coupling"]).sort_values("score", kind="stable"))


def with_mean_rank(found: pd.DataFrame) -> pd.DataFrame:
    """The comparison with the mean of the ranks by several features, where there are several."""
    ranks = found.filter(like="fid-").rank()
    return found.assign(**{"mean rank": ranks.mean(axis=1)}) if len(ranks.columns) > 1 else found


def correlations(found: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of every score with every distance; NaN for fewer than three pairings."""
    columns = found.filter(items=[*SCORES, *distances(found)])
    return columns.corr("spearman", min_periods=3).loc[distances(found), SCORES]


def distances(found: pd.DataFrame) -> list[str]:
    """The columns of which less is better: feature distances, W2², and the features' mean rank."""
    names = [name for name in found if name.startswith("fid-")]
    return names + [name for name in ("w2_squared", "mean rank") if name in found]


def rows_of(found: pd.DataFrame) -> list[dict[str, Any]]:
    """The comparison as rows of the long table; trained distances have a number of evaluations."""
    trained = [name for name in distances(found) if name != "mean rank"]
    metrics = dict.fromkeys(["seeds", *SCORES[:3], "shift", "transport_cost"]) | dict.fromkeys(trained, NFE)
    return [
        table_row(name, row[name], flow=f"{row['prior']}+{row['coupling']}", nfe=nfe)
        for row in found.to_dict("records")
        for name, nfe in metrics.items()
    ]


def main(
    cells: Annotated[list[str], typer.Option(help="folder below benchmarks/results; can be repeated")],
    data: str = typer.Option("fashion-mnist", help="what these cells were trained on"),
    examples: int = 15_000,
    seed: int = 0,
) -> None:
    """Inspect what was trained and write the comparison; other folders' comparisons stay."""
    trained = {name: trained_cells(read_table(RESULTS / name)) for name in cells}
    said = inspected(data, pd.concat(trained.values()), examples, seed)
    for name, folder in trained.items():
        found = compare(folder, said)
        setting = {"label": name, "data": data, "examples": examples, "seed": seed}
        run = {"settings": len(found), "cells": int(found["seeds"].sum())}
        write_cell(RESULTS / "inspect-ranking" / f"{name}.json", setting, rows_of(found), run)
        typer.echo(f"{name}:\n{correlations(found).to_string()}")


if __name__ == "__main__":
    typer.run(main)
