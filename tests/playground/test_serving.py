"""The server: where it listens, what it forbids, and one line for what a user gets wrong."""

from __future__ import annotations

import builtins
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.flow import Flow
from flowprior.playground.serving import check_extra, listening
from flowprior.training import train
from tests.cli.conftest import Call
from tests.playground.conftest import TRAINING


def test_it_listens_on_the_address_that_is_asked_alone() -> None:
    with listening("127.0.0.1", 0) as found:
        address, port = found.getsockname()
        assert address == "127.0.0.1"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_port_that_is_taken_says_so() -> None:
    with listening("127.0.0.1", 0) as found:
        port = found.getsockname()[1]
        with (
            pytest.raises(OptionError, match=rf"cannot listen on port {port} of 127.0.0.1 .*--port"),
            listening("127.0.0.1", port),
        ):
            pass


def test_a_host_that_is_none_says_so() -> None:
    with pytest.raises(OptionError, match="no host 'no such host'"), listening("no such host", 0):
        pass


@pytest.fixture
def without_gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "gradio":
            raise ImportError("No module named 'gradio'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.usefixtures("without_gradio")
def test_without_the_extra_one_line_says_how_to_install_it(call: Call, label_run: Path) -> None:
    answer = call("demo", label_run)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line == "flowprior: error: demo: gradio is not installed; pip install 'flowprior[demo]'"
    with pytest.raises(OptionError, match="gradio is not installed"):
        check_extra()


def test_mistakes_are_one_line_before_anything_is_served(
    call: Call, label_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowprior.playground.check_extra", lambda: None)
    rows = (torch.rand(32, 7), torch.arange(32) % 2)
    train(rows, prior="gaussian", coupling="condot", model="mlp:width=8", out=tmp_path / "rows", **TRAINING)
    embedded = (torch.rand(32, 2), torch.rand(32, 3))
    train(embedded, prior="gaussian", coupling="condot", model="mlp:width=8", out=tmp_path / "e", **TRAINING)
    for arguments, problem in {
        (str(tmp_path / "absent"),): "no run",
        (str(tmp_path / "rows"),): "picture: expected images",
        (str(tmp_path / "e"),): "does not say which encoder made its embeddings",
        (str(label_run), "--encoder", "no-such"): "unknown encoder 'no-such'",
        (str(label_run), "--port", "70000"): "--port='70000' is not possible",
    }.items():
        answer = call("demo", *arguments)
        assert answer.code == 2
        (line,) = answer.err.splitlines()
        assert problem in line


def test_every_answer_forbids_requests_to_elsewhere(label_flow: Flow) -> None:
    pytest.importorskip("gradio", reason="no gradio: pip install 'flowprior[demo]'")
    from fastapi.testclient import TestClient

    from flowprior.playground import fields_of
    from flowprior.playground.page import build_page
    from flowprior.playground.serving import application

    check_extra()
    client = TestClient(application(build_page(label_flow, "runs/mine", fields_of(label_flow))))
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "http:" not in policy
    assert "https:" not in policy
    assert "*" not in policy
    assert "runs/mine" in page.text
    assert client.get("/no-such-page").headers["Content-Security-Policy"] == policy
