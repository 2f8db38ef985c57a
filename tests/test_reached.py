"""The record of which tests reach an operator names them, and only they are repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest, torch
from flowprior.ops import flow_matching_loss

@pytest.fixture(scope="session")
def drawn():
    return flow_matching_loss(torch.zeros(3, 2), torch.ones(3, 2))

def test_calls(): flow_matching_loss(torch.zeros(3, 2), torch.ones(3, 2))
def test_first_of_fixture(drawn): pass
def test_second_of_fixture(drawn): pass
def test_neither(): torch.rand(3)
def test_skips(): pytest.skip("not here")
@pytest.mark.slow
def test_slow(): pass
"""


@pytest.mark.parametrize(
    ("which", "kept"),
    [("reached", ["calls", "first_of_fixture", "second_of_fixture"]), ("skipped", ["skips", "slow"])],
)
def test_a_record_names_the_tests_to_repeat(
    pytester: pytest.Pytester, tmp_path: Path, which: str, kept: list[str]
) -> None:
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(TESTS)
    options = ("-p", "tests.reached", "-p", "no:cacheprovider")
    pytester.inline_run(*options, f"--record={tmp_path}/record", "-m", "not slow")
    again = pytester.inline_run(*options, f"--repeat={tmp_path}/record", f"--which={which}")
    ran = {call.item.name for call in again.getcalls("pytest_runtest_setup")}
    assert ran == {f"test_{name}" for name in kept}


def test_a_missing_record_is_an_error(pytester: pytest.Pytester, tmp_path: Path) -> None:
    pytester.makepyfile("def test_one(): pass")
    result = pytester.runpytest_inprocess("-p", "tests.reached", f"--repeat={tmp_path}/none")
    result.stderr.fnmatch_lines(["*run with --record=*"])
