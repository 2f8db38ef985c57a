"""flowprior inspect: tables, JSON, files, and one line for a mistake."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Call

PARTS = ["inspect", "--data", "digits", "--examples", "600", "--prior", "gmm", "--no-suggest"]


def test_tables_name_priors_and_pairings(call: Call) -> None:
    answer = call(*PARTS, "--prior", "gaussian", "--coupling", "condot", "--coupling", "ot")
    assert answer.code == 0, answer.err
    for word in ("10 conditions", "explained", "4 steps", "gmm + ot", "gaussian + condot"):
        assert word in answer.out
    assert answer.out.index("gmm + ot") < answer.out.index("gaussian + condot"), "the better one first"


def test_json_and_nothing_else(call: Call) -> None:
    found = json.loads(call(*PARTS, "--steps", "2", "--json").out)
    assert list(found["pairings"][0]["simulated_flow"]["distance"]) == ["1", "2"]
    assert found["suggestion"] is None
    assert found["examples"]["all"] == 1438


def test_a_directory_is_filled(call: Call, tmp_path: Path) -> None:
    answer = call(*PARTS, "--out", tmp_path / "found")
    assert answer.code == 0, answer.err
    assert {path.name for path in (tmp_path / "found").iterdir()} == {"inspection.json", "prior-1-gmm.png"}


def test_a_mistake_is_one_line(call: Call) -> None:
    answer = call("inspect", "--data", "digits", "--prior", "gmn")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "did you mean 'gmm'?" in answer.err


def test_it_ends_by_naming_what_auto_chooses(call: Call) -> None:
    answer = call("inspect", "--data", "moons:n=400", "--prior", "gaussian")
    assert answer.code == 0, answer.err
    assert "--prior auto takes latent-gmm + posterior: energy score" in answer.out
    found = json.loads(call("inspect", "--data", "moons:n=400", "--prior", "gaussian", "--json").out)
    assert (found["choice"]["prior"], found["choice"]["coupling"]) == ("latent-gmm", "posterior")
