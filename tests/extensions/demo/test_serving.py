"""The server: where it listens, what it forbids, and one line for what a user gets wrong."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import OptionError, pip_install
from flowprior.extensions.demo.answer import fields_of
from flowprior.extensions.demo.command import check_extra
from flowprior.flow import Flow
from flowprior.training import train
from tests.cli.conftest import Call
from tests.extensions.demo.conftest import TRAINING


@pytest.fixture(scope="module")
def serving() -> Any:
    """The module, which imports gradio."""
    pytest.importorskip("gradio", reason="no gradio: pip install gradio")
    check_extra()
    from flowprior.extensions.demo import serving

    return serving


def test_it_listens_on_the_address_that_is_asked_alone(serving: Any) -> None:
    with serving.listening("127.0.0.1", 0) as found:
        address, port = found.getsockname()
        assert address == "127.0.0.1"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=5)
        refused = rf"cannot listen on port {port} of 127.0.0.1 \(Address already in use\); .*--port"
        with pytest.raises(OptionError, match=refused):
            serving.listening("127.0.0.1", port)


def test_a_host_that_is_none_says_so(serving: Any) -> None:
    with pytest.raises(OptionError, match="no host 'no such host'"):
        serving.listening("no such host", 0)


def test_without_the_extra_one_line_says_how_to_install_it(
    call: Call, label_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    answer = call("demo", label_run)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line == f"flowprior: error: demo: gradio is not installed; {pip_install('demo')}"


def test_mistakes_are_one_line_before_anything_is_served(
    call: Call, label_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowprior.extensions.demo.command.check_extra", lambda: None)
    rows = (torch.rand(32, 7), torch.arange(32) % 2)
    train(rows, prior="gaussian", coupling="condot", model="mlp:width=8", out=tmp_path / "rows", **TRAINING)
    embedded = (torch.rand(32, 2), torch.rand(32, 3))
    train(embedded, prior="gaussian", coupling="condot", model="mlp:width=8", out=tmp_path / "e", **TRAINING)
    for arguments, problem in {
        (str(tmp_path / "absent"),): "no run",
        (str(tmp_path / "rows"),): "picture: expected images",
        (str(tmp_path / "e"),): "does not say which encoder made its embeddings",
        (str(label_run), "--encoder", "no-such"): "unknown encoder 'no-such'",
        (str(label_run), "--port", "70000"): "invalid value for '--port'",
    }.items():
        answer = call("demo", *arguments)
        assert answer.code == 2
        (line,) = answer.err.splitlines()
        assert problem in line


@pytest.fixture(scope="module")
def page(serving: Any, label_flow: Flow) -> Any:
    from flowprior.extensions.demo.page import build_page

    return build_page(label_flow, "runs/mine", fields_of(label_flow))


@pytest.fixture(scope="module")
def serve(serving: Any, page: Any) -> Callable[..., Any]:
    """A client of the page as it is served on a host, whose requests name ``address``."""
    from fastapi.testclient import TestClient

    def client(host: str = "127.0.0.1", address: str = "127.0.0.1:7860") -> TestClient:
        return TestClient(serving.application(page, [host]), base_url=f"http://{address}")

    return client


def test_every_answer_forbids_requests_to_elsewhere(serve: Callable[..., Any]) -> None:
    page = serve().get("/")
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "http:" not in policy
    assert "https:" not in policy
    assert "*" not in policy
    assert "runs/mine" in page.text
    assert serve().get("/no-such-page").headers["Content-Security-Policy"] == policy


def test_uploads_and_large_bodies_are_refused(serve: Callable[..., Any], serving: Any) -> None:
    client, join = serve(), "/gradio_api/queue/join"
    assert client.post("/gradio_api/upload", files={"files": b"x"}).status_code == 404
    assert client.post(join, content=b"x" * (serving.MOST_BYTES + 1)).status_code == 413
    assert client.post(join, content=iter([b"{}"])).status_code == 413, "a body without a length"
    assert client.post(join, json={}).status_code == 422, "the page's own route answers"


def test_the_description_of_the_interface_is_not_served(serve: Callable[..., Any]) -> None:
    for path in ("/openapi.json", "/gradio_api/openapi.json", "/gradio_api/openapi.json/", "/docs"):
        assert serve().get(path).status_code == 404


@pytest.mark.parametrize(
    ("host", "address", "served"),
    [
        ("127.0.0.1", "localhost:7860", True),
        ("127.0.0.1", "[::1]:7860", True),
        ("127.0.0.1", "elsewhere.example:7860", False),
        ("127.0.0.1", "192.168.1.5:7860", False),
        ("192.168.1.5", "192.168.1.5", True),
        ("192.168.1.5", "localhost", False),
        ("0.0.0.0", "192.168.1.5:7860", True),
        ("0.0.0.0", f"{socket.gethostname()}:7860", True),
        ("::", "elsewhere.example", False),
    ],
)
def test_a_request_names_the_address_that_the_page_listens_on(
    serve: Callable[..., Any], host: str, address: str, served: bool
) -> None:
    answer = serve(host, address).get("/robots.txt")
    assert answer.status_code == (200 if served else 403)


def test_a_request_of_another_page_is_refused(serve: Callable[..., Any]) -> None:
    def status(origin: str) -> int:
        return serve().post("/gradio_api/queue/join", json={}, headers={"Origin": origin}).status_code

    assert status("http://127.0.0.1:7860") == 422
    for origin in ("http://elsewhere.example", "http://127.0.0.1:8000", "null"):
        assert status(origin) == 403


@pytest.mark.parametrize(
    ("name", "value"),
    [("nfe", 101), ("nfe", -1), ("temperature", -0.1), ("n", 0), ("n", 17), ("seed", 2**31)],
)
def test_numbers_out_of_range_are_refused(page: Any, name: str, value: float) -> None:
    """By gradio, which every request passes, whatever the browser sent."""
    import gradio

    (field,) = (block for block in page.blocks.values() if block.elem_id == name)
    with pytest.raises(gradio.Error, match=r"(less|greater) than (min|max)imum value"):
        field.preprocess(value)
