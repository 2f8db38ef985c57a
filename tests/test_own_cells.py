"""The recipe of docs/own-cells.md, word for word, on the cells in scanpy's wheel, from an empty folder."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import warnings
from importlib.util import find_spec
from pathlib import Path

import anndata as _anndata  # noqa: F401  # the page imports it
import pytest

from tests.cli.conftest import call_app, succeed
from tests.markdown_blocks import REPOSITORY, promised

PAGE = REPOSITORY / "docs" / "own-cells.md"
NUMBER = re.compile(r"-?\d+\.\d+")
CLOSE = 0.5
"""Units of log expression or of a component within which another machine's samples have their means."""


def run_console(lines: str) -> str:
    """Run the flowprior commands of a console block; what they said on both streams."""
    words = [shlex.split(line.removeprefix("$ ")) for line in lines.splitlines()]
    answers = [succeed(*rest) for first, *rest in words if first == "flowprior"]
    return "".join(answer.out + answer.err for answer in answers)


def check_prints(code: str, printed: list[str]) -> None:
    """What a block printed has the words that the page promises, and about its numbers."""
    for expected, found in zip(promised(code), printed, strict=True):
        assert NUMBER.sub("#", expected).split() == NUMBER.sub("#", found).split()
        pairs = zip(NUMBER.findall(expected), NUMBER.findall(found), strict=True)
        assert all(abs(float(one) - float(other)) < CLOSE for one, other in pairs), found


def check_text(text: str, said: str) -> None:
    """What the page shows of a command: a mistake, lines of a training, or a table of values."""
    lines = text.splitlines()
    if lines[0].startswith("$ "):
        answer = call_app(*shlex.split(lines[0])[2:])
        assert (answer.code, answer.err) == (2, lines[1] + "\n")
    elif lines[0].startswith("flowprior: warning"):
        assert lines[0].partition("warning: ")[2] in said
        assert lines[1] in said
    else:
        assert [
            name for name in ("fid-mlp128", "kid-mlp128", "accuracy", "w2_squared") if name not in said
        ] == []
        assert lines[-1] in said


@pytest.mark.slow
@pytest.mark.skipif(find_spec("scanpy") is None, reason="needs the wheel of scanpy, for its file of cells")
def test_the_page_leads_from_a_file_to_cells_by_name_and_their_genes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    namespace: dict[str, object] = {"__name__": "page"}
    text, said = PAGE.read_text(encoding="utf-8"), ""
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "console":
            said += run_console(code)
        elif language == "text":
            check_text(code, said)
        else:
            with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(code, PAGE.name, "exec"), namespace)
            check_prints(code, printed.getvalue().splitlines())
