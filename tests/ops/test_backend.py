"""Which backend runs and why: the choice, the misfits, and that a fallback is said once and not at import."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from flowprior import __version__
from flowprior.errors import BackendError, FlowpriorError, OptionError
from flowprior.ops.backend import Backend, announce_fallback, backend, native_devices

module = import_module("flowprior.ops.backend")
BUILT = {
    "variant": "cpu",
    "reason": "built for the CPU",
    "requested": "auto",
    "flowprior": "0.1.0",
    "torch": "2.13.0",
    "instruction_sets": ["baseline", "avx2"],
}
NOT_BUILT = {**BUILT, "variant": None, "reason": "no C++ compiler was found"}


class Machine:
    """An installed flowprior 0.1.0 with torch 2.13, whose extension and record a test may change."""

    def __init__(self) -> None:
        self.there = True
        self.record: dict[str, Any] = BUILT
        self.capabilities: dict[str, Any] = {"instruction_set": "avx2", "devices": ("cpu",)}
        self.error: Exception | None = None
        self.loads = 0

    def load(self, name: str) -> SimpleNamespace:
        self.loads += 1
        if isinstance(self.error, ImportError):
            raise self.error
        return SimpleNamespace(capabilities=self.answer)

    def answer(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        return self.capabilities


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine()
    monkeypatch.setattr(module, "_record", lambda: made.record)
    monkeypatch.setattr(module, "find_spec", lambda name: object() if made.there else None)
    monkeypatch.setattr(module, "import_module", made.load)
    monkeypatch.setattr(module, "package_version", lambda: "0.1.0")
    monkeypatch.setattr(module.torch, "__version__", "2.13.0+cpu")
    monkeypatch.delenv("FLOWPRIOR_OPS", raising=False)
    for cached in (backend, announce_fallback):
        cached.cache_clear()
    yield made
    for cached in (backend, announce_fallback):
        cached.cache_clear()


def test_this_process_says_what_runs_and_why() -> None:
    running = backend()
    assert running.name in ("native", "torch")
    assert str(running) == f"{running.name} ({running.reason})"
    assert ("cpu" in native_devices()) == (running.name == "native")
    if running.name == "native":
        assert running.instruction_set in running.build["instruction_sets"]
        assert running.build["flowprior"] == __version__
        assert torch.ops.flowprior.gmm_sample is not None


def test_an_extension_that_fits_is_loaded_once(machine: Machine) -> None:
    machine.capabilities["devices"] = ("cpu", "cuda")
    assert backend() == Backend("native", "built for the CPU", frozenset({"cpu", "cuda"}), "avx2")
    assert backend().build == BUILT
    assert native_devices() == {"cpu", "cuda"}
    assert machine.loads == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (NOT_BUILT, "the native extension was not built: no C++ compiler was found"),
        ({}, "the native extension was not built; install flowprior again"),
        (BUILT, "the native extension was built for another Python; install flowprior again"),
    ],
)
def test_no_extension(machine: Machine, record: dict[str, Any], reason: str) -> None:
    machine.there, machine.record = False, record
    assert backend().name == "torch"
    assert backend().reason.startswith(reason)
    assert native_devices() == frozenset()


def test_torch_too_old_for_the_stable_abi(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.torch, "__version__", "2.9.1+cu128")
    assert backend().reason == (
        "the native extension was built against torch 2.13.0 and needs 2.10 or newer, found torch 2.9.1+cu128"
    )
    assert machine.loads == 0, "its symbols are missing: it is not even tried"


def test_a_cuda_extension_beside_a_torch_without_cuda(machine: Machine) -> None:
    machine.record = {**BUILT, "variant": "cuda", "torch": "2.13.0+cu130", "cuda": "13.0"}
    machine.error = ImportError("libtorch_cuda.so: cannot open shared object file")
    assert backend().reason == (
        "the native extension was built against torch 2.13.0+cu130 and CUDA 13.0, found torch 2.13.0+cpu: "
        "libtorch_cuda.so: cannot open shared object file"
    )


def test_an_extension_of_another_flowprior(machine: Machine) -> None:
    reason = "the native extension was built for flowprior 0.0.9, found 0.1.0; install flowprior again"
    machine.record = {**BUILT, "flowprior": "0.0.9"}
    assert backend().reason == reason
    assert machine.loads == 0
    machine.record = {}
    backend.cache_clear()
    assert backend().name == "torch", "a module without a record is of nobody knows which build"


def test_torch_on_request(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWPRIOR_OPS", "torch")
    assert backend() == Backend("torch", "FLOWPRIOR_OPS=torch", asked=True)
    assert machine.loads == 0


def test_native_on_request_or_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWPRIOR_OPS", "native")
    assert backend().name == "native"
    backend.cache_clear()
    machine.there, machine.record = False, NOT_BUILT
    with pytest.raises(BackendError, match=r"FLOWPRIOR_OPS=native, but .* not built: no C\+\+ compiler"):
        backend()
    assert issubclass(BackendError, FlowpriorError)


def test_impossible_values(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.error = RuntimeError("FLOWPRIOR_CPU_ISA: expected baseline, avx2, got 'sse9'")
    with pytest.raises(OptionError, match="FLOWPRIOR_CPU_ISA: expected baseline, avx2, got 'sse9'"):
        backend()
    monkeypatch.setenv("FLOWPRIOR_OPS", "c++")
    with pytest.raises(OptionError, match=r"FLOWPRIOR_OPS: expected one of auto, native, torch, got 'c\+\+'"):
        backend()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "flowprior"]


def test_a_fallback_is_said_once(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.there, machine.record = False, NOT_BUILT
    for _ in range(3):
        announce_fallback("cpu")
    (line,) = said(caplog)
    assert line == (
        "operators on cpu run in pure torch, which is slower: the native extension was not built: "
        "no C++ compiler was found; FLOWPRIOR_OPS=torch silences this"
    )
    assert caplog.records[0].levelno == logging.WARNING


def test_a_device_that_was_not_built_for_is_a_fallback_too(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.record = {**BUILT, "reason": "built for the CPU; not for CUDA: no nvcc in /usr/local/cuda"}
    announce_fallback("cpu")
    assert said(caplog) == []
    announce_fallback("cuda")
    assert "operators on cuda run in pure torch" in said(caplog)[0]
    assert "not for CUDA: no nvcc" in said(caplog)[0]


@pytest.mark.parametrize("how", ["run time", "build time"])
def test_what_was_asked_for_is_no_news(
    how: str, machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "run time":
        monkeypatch.setenv("FLOWPRIOR_OPS", "torch")
    else:
        machine.there, machine.record = False, {**NOT_BUILT, "requested": "none"}
    announce_fallback("cpu")
    assert said(caplog) == []


def test_importing_flowprior_loads_and_says_nothing() -> None:
    """In a process where the extension is missing: a finder in front hides it."""
    code = (
        "import sys; sys.modules['flowprior._C'] = None\n"
        "import flowprior, flowprior.ops\n"
        "sys.stdout.write(flowprior.ops.backend().name)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "FLOWPRIOR_OPS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "torch", "")
