"""The real thing in processes of its own: installed command, module, exit codes, a fast start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flowprior
from tests.cli.conftest import SHORT


def test_the_module_answers_a_mistake_in_one_line_without_torch() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "flowprior", "trian"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    imported, said = (
        [line for line in answer.stderr.splitlines() if line.startswith("import time:") == timed]
        for timed in (True, False)
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert [line.startswith("flowprior: error: no such command 'trian'") for line in said] == [True]
    assert not any(line.split("|")[-1].strip() == "torch" for line in imported)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_waits_for_a_stopped_training_does_not_go_on(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    parts = [
        "--data",
        "eight-modes:n=200",
        "--prior",
        "gaussian",
        "--coupling",
        "condot",
        "--steps",
        "100000",
    ]
    parts += ["--model", "mlp:width=8", "--out", str(tmp_path / "run"), "--set", "training.log_every=1"]
    command = [sys.executable, "-m", "flowprior", "train", *parts, *SHORT]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 200
        while time.monotonic() < deadline and (not metrics.is_file() or metrics.stat().st_size < 600):
            time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code, stderr
    assert f"stopped by {number.name} after step" in stderr
    assert "Traceback" not in stderr


def test_the_public_names_are_there() -> None:
    assert all(hasattr(flowprior, name) for name in flowprior.__all__)
    assert not hasattr(flowprior, "nothing")
