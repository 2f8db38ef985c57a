"""What the machine is: ``python -m benchmarks.gpu.machine`` says it as JSON, from a process that then ends.

The card is looked at in that process alone: the one that starts the steps must not hold it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.command import ROOT, run_command

LIMIT = 120
"""Seconds that an import of torch and a look at the card may take on a machine that has just started."""


def ask() -> dict[str, Any]:
    """What :func:`describe` says in a process of its own; ``card`` is None, and why, where that fails."""
    finished = run_command([sys.executable, "-m", "benchmarks.gpu.machine"], LIMIT)
    try:
        return json.loads(finished.output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {**around(), "card": None, "no_card": finished.end(3) or "torch does not answer"}


def describe() -> dict[str, Any]:
    """Card, driver, versions and processor.

    ``card`` is the card's name, None where torch sees none; ``no_card`` then says why.
    """
    found = around()
    if find_spec("torch") is None:
        return found | {"card": None, "no_card": "torch is not installed"}
    import torch

    found |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    if not torch.cuda.is_available():
        reason = "torch sees no CUDA device" if torch.version.cuda else "torch is built without CUDA"
        return found | {"card": None, "no_card": reason}
    card = torch.cuda.get_device_properties(0)
    return found | {
        "card": card.name,
        "capability": f"{card.major}.{card.minor}",
        "memory": card.total_memory,
        "l2_cache": card.L2_cache_size,
        "multiprocessors": card.multi_processor_count,
        "cards": torch.cuda.device_count(),
    }


def around() -> dict[str, Any]:
    """What stands around the card: Python, processor, cores, driver, nvcc, commit."""
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "driver": _first(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        "nvcc": _release(_said([nvcc(), "--version"])),
        "commit": _first(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]),
    }


def nvcc() -> str:
    """The compiler that a build would take, as csrc/toolchain.py looks for it."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    beside = Path(home) / "bin" / "nvcc"
    return str(beside) if beside.exists() else shutil.which("nvcc") or "nvcc"


def _release(text: str) -> str | None:
    found = re.search(r"release (\d+\.\d+)", text)
    return found[1] if found else None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _first(words: list[str]) -> str | None:
    return next(iter(_said(words).strip().splitlines()), None)


def _said(words: list[str]) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe()) + "\n")
