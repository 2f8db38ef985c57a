"""Names of files and labels come from users: none of them is markup, a pattern or a formula."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from flowprior.cli.commands import print_rich
from tests.cli.conftest import SHORT, Call

ODD = "x[/b] [red] $\\frac$ \\1 :smile:"
BRACKETS = "x[/b].npz"


def test_text_and_tables_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table(title=ODD, caption=ODD, width=80)
    table.add_column(ODD, no_wrap=True)
    table.add_row(ODD)
    print_rich(ODD, table)
    assert capsys.readouterr().out.count(ODD) == 5


def test_compare_takes_any_label(call: Call, tmp_path: Path) -> None:
    specs = {"[/b]": "gaussian", "a\\1": "gmm:components=1", "$\\frac$": "gmm:components=2"}
    sizes = ["--seeds", "1", "--steps", "2", "--samples", "20", "--nfe", "1", "--set", "curve.points=0"]
    sizes += ["--set", "evaluation.metrics=['fid']"]
    priors = [f"--prior={label}={spec}" for label, spec in specs.items()]
    parts = [*priors, "--coupling", "condot", "--model", "mlp:width=8"]
    out = tmp_path / "out[/b]"
    answer = call("compare", *parts, *sizes, *SHORT, "--out", out)
    assert answer.code == 0, answer.err
    assert f"the report is in {out}" in answer.out
    for written in (answer.out, (out / "report.html").read_text()):
        assert all(f"{label} + condot" in written for label in specs)


@pytest.mark.parametrize("options", [[], ["--report-only"]])
def test_compare_asks_for_its_extra_before_it_works(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("flowprior.study.run_grid", Mock(side_effect=AssertionError("the work was begun")))
    answer = call("compare", *options, "--out", tmp_path / "out")
    assert (answer.code, answer.out) == (2, "")
    needs = "the report needs jinja2; pip install jinja2 pandas"
    assert answer.err == f"flowprior: error: compare: {needs}\n"
    assert not (tmp_path / "out").exists()
