"""The record of which tests reach an operator names them, and only they are repeated."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import CodeType, FrameType

import pytest
import torch

from flowprior.priors import Prior, averaged_gmm, checks

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
    result = pytester.runpytest_inprocess("-p", "tests.reached", f"--repeat={tmp_path}/none")
    result.stderr.fnmatch_lines(["*run with --record=*"])


def test_a_reader_of_latent_gmm_opens_few_files() -> None:
    """Those of the core that fit, draws and density run; checks, operators and the latents' prior aside."""
    run: set[CodeType] = set()
    x = torch.randn(200, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    labels, prior = torch.arange(200) % 4, Prior.create("latent-gmm", rank=6)

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent.name in ("mixtures", "priors") and not is_of_another(frame):
            run.add(frame.f_code)

    def is_of_another(frame: FrameType | None) -> bool:
        """Return whether a call is made by the prior of the latents."""
        while frame is not None and frame.f_locals.get("self") is not prior:
            if isinstance(frame.f_locals.get("self"), Prior):
                return True
            frame = frame.f_back
        return False

    sys.setprofile(note)
    try:
        prior.fit((x, labels))
        prior.log_prob(prior.infer(prior.sample(labels), labels), labels)
    finally:
        sys.setprofile(None)
    aside = {checks.__file__, averaged_gmm.__file__}
    run = {code for code in run if code.co_filename not in aside}
    files = {Path(code.co_filename) for code in run}
    lines = sum(len(inspect.getsourcelines(code)[0]) for code in run if code.co_name[0] != "<")
    assert len(files) <= 12, sorted(file.name for file in files)
    assert lines <= 2400
