"""The check of `inspect`'s ranking: which cells count, means over seeds, and the rank correlation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.studies.inspect_ranking import as_said, compare, known_pairings, trained_cells
from benchmarks.studies.report.judges import MixedJudges
from flowprior.inspection import Pairing, SimulatedFlow


def write(folder: Path, name: str, fid: float, **changes: str) -> None:
    cell = {"prior": "gmm", "coupling": "ot", "path": "condot", "prediction": "velocity", "peer": ""}
    rows = [{"nfe": 2, "fid-cnn128": 99.0}, {"nfe": 4, "fid-cnn128": fid, "accuracy": 0.9}]
    (folder / f"{name}.json").write_text(json.dumps({**cell, "rows": rows, **changes}))


def pairing(prior: str, distance: float) -> Pairing:
    return Pairing(
        prior, "ot", 100 * distance, {}, SimulatedFlow({1: 1.0, 4: distance}, 1 + distance, 0.0, 1), 0.0
    )


def test_peers_and_diffusion_are_left_out_and_seeds_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "a0", 10.0)
    write(tmp_path, "a1", 20.0)
    write(tmp_path, "peer", 1.0, peer="torchcfm")
    write(tmp_path, "ddpm", 1.0, prediction="epsilon", path="vp")
    assert trained_cells(tmp_path) == {("gmm", "ot"): [{"fid-cnn128": 10.0}, {"fid-cnn128": 20.0}]}


def test_ranks_are_compared_over_the_means_of_seeds() -> None:
    figures = {"a": [1.0, 3.0], "b": [4.0], "c": [3.0, 3.0], "d": [9.0]}
    scores = {"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.04}
    cells = {(name, "ot"): [{"fid-cnn128": v} for v in values] for name, values in figures.items()}
    result = compare(cells, {(name, "ot"): as_said(pairing(name, score)) for name, score in scores.items()})
    assert [row["prior"] for row in result["rows"]] == ["a", "b", "c", "d"]
    assert [row["fid-cnn128"] for row in result["rows"]] == [2.0, 4.0, 3.0, 9.0]
    assert (result["settings"], result["cells"]) == (4, 6)
    assert result["spearman"]["fid-cnn128"]["score"] == pytest.approx(0.8), (
        "one swap of neighbours among four"
    )


def test_two_features_have_a_mean_rank_and_an_agreement() -> None:
    figures = {"a": (1.0, 1.0), "b": (2.0, 3.0), "c": (3.0, 2.0), "d": (4.0, 4.0)}
    cells = {(name, "ot"): [{"fid-cnn128": x, "fid-lite0": y}] for name, (x, y) in figures.items()}
    result = compare(
        cells, {(name, "ot"): as_said(pairing(name, 0.01 * i)) for i, name in enumerate(figures, 1)}
    )
    assert [row["mean rank"] for row in result["rows"]] == [1.0, 2.5, 2.5, 4.0]
    assert result["agreement"] == pytest.approx(0.8)
    assert result["spearman"]["mean rank"]["score"] == pytest.approx(0.9487, abs=1e-4), "ties"


def test_cells_of_two_judges_are_not_ranked_together(tmp_path: Path) -> None:
    for name, digest in (("a", "1"), ("b", "2")):
        write(tmp_path, name, 10.0)
        path = tmp_path / f"{name}.json"
        cell = json.loads(path.read_text())
        path.write_text(json.dumps({**cell, "prior": name, "features": [f"cnn128 sha256 {digest}"]}))
    with pytest.raises(MixedJudges, match="expected one judge"):
        trained_cells(tmp_path)


def test_scores_of_the_last_inspection_can_be_kept() -> None:
    cells = {(name, "ot"): [{"fid-cnn128": v}] for name, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    said = {key: as_said(pairing(key[0], 0.01 * i)) for i, key in enumerate(cells, 1)}
    first = compare(cells, said)
    assert known_pairings(first["rows"]) == said
    assert compare(cells, known_pairings(first["rows"])) == first
