"""The check of `inspect`'s ranking: which cells count, means over seeds, and the rank correlation."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.studies.inspect_ranking import as_said, compare, correlations, rows_of, trained_cells
from flowprior.evaluation.result import table_row
from flowprior.inspection import Pairing, SimulatedFlow


def cell(prior: str, value: float, seed: int = 0, metric: str = "fid-cnn128", **setting: str) -> list[dict]:
    """Rows of a trained cell as ``read_table`` gives them: the setting beside every value."""
    made = {"prior": prior, "coupling": "ot", "path": "condot", "prediction": "velocity", "peer": ""}
    row = {"flow": prior, "seed": seed, "split": "test"}
    values = ((2, metric, 99.0), (4, metric, value), (4, "accuracy", 0.9))
    return [table_row(name, found, nfe=nfe, **row) | made | setting for nfe, name, found in values]


def table(*cells: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for rows in cells for row in rows])


def said(**scores: float) -> pd.DataFrame:
    flows = {name: SimulatedFlow({1: 1.0, 4: score}, 1 + score, 0.0, 1) for name, score in scores.items()}
    return pd.DataFrame(
        as_said(Pairing(name, "ot", 100 * scores[name], {}, found, 0.0)) for name, found in flows.items()
    )


def test_peers_diffusion_and_other_splits_are_left_out_and_seeds_are_averaged() -> None:
    found = trained_cells(
        table(
            cell("gmm", 10.0),
            cell("gmm", 20.0, seed=1),
            cell("gaussian", 1.0, peer="torchcfm"),
            cell("gaussian", 1.0, prediction="epsilon", path="vp"),
            [row | {"split": "validation"} for row in cell("gmm", 90.0)],
        )
    )
    assert found.to_dict("records") == [{"prior": "gmm", "coupling": "ot", "fid-cnn128": 15.0, "seeds": 2}]


def test_ranks_are_compared_over_the_means_of_seeds() -> None:
    cells = trained_cells(
        table(cell("a", 1.0), cell("a", 3.0, 1), cell("b", 4.0), cell("c", 3.0), cell("d", 9.0))
    )
    found = compare(cells, said(a=0.01, b=0.02, c=0.03, d=0.04))
    assert list(found["prior"]) == ["a", "b", "c", "d"]
    assert list(found["fid-cnn128"]) == [2.0, 4.0, 3.0, 9.0]
    assert (len(found), found["seeds"].sum()) == (4, 5)
    swapped = "one swap of neighbours among four"
    assert correlations(found).loc["fid-cnn128", "score"] == pytest.approx(0.8), swapped


def test_two_features_have_a_mean_rank() -> None:
    values = {"a": (1.0, 1.0), "b": (2.0, 3.0), "c": (3.0, 2.0), "d": (4.0, 4.0)}
    both = [cell(name, x) + cell(name, y, metric="fid-lite0") for name, (x, y) in values.items()]
    found = compare(trained_cells(table(*both)), said(a=0.01, b=0.02, c=0.03, d=0.04))
    assert list(found["mean rank"]) == [1.0, 2.5, 2.5, 4.0]
    assert correlations(found).loc["mean rank", "score"] == pytest.approx(0.9487, abs=1e-4), "ties"


def test_fewer_than_three_pairings_have_no_correlation() -> None:
    found = compare(trained_cells(table(cell("a", 1.0), cell("b", 2.0))), said(a=0.01, b=0.02))
    assert correlations(found).isna().to_numpy().all()


def test_the_comparison_is_kept_as_rows_of_the_long_table() -> None:
    found = compare(trained_cells(table(cell("a", 1.0), cell("b", 2.0))), said(a=0.01, b=0.02))
    rows = {row["metric"]: row for row in rows_of(found) if row["flow"] == "a+ot"}
    assert (rows["score"]["nfe"], rows["fid-cnn128"]["nfe"]) == (None, 4)
    assert (rows["fid-cnn128"]["value"], rows["seeds"]["value"]) == (1.0, 1)
