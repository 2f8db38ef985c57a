"""flowprior inspect: tables, JSON, files, and one line for a mistake."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

from flowprior.cli.inspect import command_of
from tests.cli.conftest import SHORT, Call

PARTS = ["inspect", "--data", "digits", "--examples", "600", "--prior", "gmm"]


def test_tables_name_priors_and_pairings(call: Call) -> None:
    answer = call(*PARTS, "--prior", "gaussian", "--coupling", "condot", "--coupling", "ot")
    assert answer.code == 0, answer.err
    for word in ("explained", "4 steps", "gmm + ot", "gaussian + condot"):
        assert word in answer.out
    assert answer.out.index("gmm + ot") < answer.out.index("gaussian + condot"), "the better one first"


def test_it_ends_with_one_recommendation_its_reason_and_its_command(call: Call, tmp_path: Path) -> None:
    lowrank = "gmm:covariance=lowrank,rank=8"
    parts = ["--data", "digits", "--examples", "600", "--steps", "2", "--prior", lowrank]
    *_, reason, last = call("inspect", *parts, "--coupling", "ot").out.splitlines()
    assert reason.startswith(f"recommended: {lowrank} + ot has the score ")
    assert reason.endswith("; nothing else was asked for")
    told, command = last.split(": ", 1)
    assert told == "to train it"
    assert command == f"flowprior train --data=digits --prior={lowrank} --coupling=ot"
    small = ["--model", "mlp:width=8", "--steps", "2", "--out", str(tmp_path / "run"), *SHORT]
    answer = call(*shlex.split(command)[1:], *small)
    assert answer.code == 0, answer.err
    found = json.loads(call("inspect", *parts, "--coupling", "ot", "--json").out)
    assert (found["reason"], found["command"]) == (reason.removeprefix("recommended: "), command)
    assert list(found["pairings"][0]["simulated_flow"]["distance"]) == ["1", "2"]
    assert found["examples"]["all"] == 1438


def test_a_path_with_spaces_stands_in_quotes() -> None:
    pairing = SimpleNamespace(prior="gmm", coupling="condot")
    command = command_of("my photos/", pairing)  # type: ignore[arg-type]
    assert shlex.split(command)[2] == "--data=my photos/"
