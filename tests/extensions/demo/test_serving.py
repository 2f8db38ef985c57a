"""The server: where it listens, what it forbids, and one line for what a user gets wrong."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import pip_install
from flowprior.extensions.demo.answer import fields_of
from flowprior.extensions.demo.command import check_extra
from flowprior.flow import Flow
from flowprior.training import train
from tests.cli.conftest import Call
from tests.extensions.conftest import refused
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
        with refused(rf"cannot listen on port {port} of 127.0.0.1 \(Address already in use\); .*--port"):
            serving.listening("127.0.0.1", port)
    with refused("no host 'no such host'"):
        serving.listening("no such host", 0)


@pytest.mark.usefixtures("serving")
def test_the_command_serves_until_it_is_told_to_end(
    call: Call, label_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of gradio go with the server; only the loop of uvicorn is left out."""
    import uvicorn

    folders, before = [], signal.getsignal(signal.SIGTERM)

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        folders.append(Path(os.environ["GRADIO_TEMP_DIR"]))
        assert folders[0].is_dir()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(uvicorn.Server, "run", run)
    answer = call("demo", label_run, "--port", "0", "--device", "cpu")
    signal.signal(signal.SIGTERM, before)
    assert answer.code == 128 + signal.SIGTERM, answer.err
    assert re.search(r"http://127\.0\.0\.1:\d+/", answer.out)
    assert not folders[0].exists()


def test_without_the_extra_one_line_says_how_to_install_it(
    call: Call, label_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    answer = call("demo", label_run)
    expected = f"flowprior: error: demo: gradio is not installed; {pip_install('demo')}\n"
    assert (answer.code, answer.err) == (2, expected)


@pytest.mark.parametrize(
    ("rows", "words", "problem"),
    [
        (None, ["absent"], "no run"),
        ((torch.rand(32, 7), torch.arange(32) % 2), ["run"], "picture: expected images"),
        ((torch.rand(32, 2), torch.rand(32, 3)), ["run"], "does not say which encoder made its embeddings"),
        ((torch.rand(32, 2), torch.rand(32, 3)), ["run", "--encoder", "no"], "unknown encoder 'no'"),
        (None, ["absent", "--port", "70000"], "expected a value less than or equal to 65535"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_served(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Any, words: list[str], problem: str
) -> None:
    monkeypatch.setattr("flowprior.extensions.demo.command.check_extra", lambda: None)
    monkeypatch.chdir(tmp_path)
    if rows is not None:
        train(rows, prior="gaussian", coupling="condot", model="mlp:width=8", out="run", **TRAINING)
    answer = call("demo", *words)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert problem in answer.err


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


def test_every_answer_forbids_requests_to_elsewhere(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, lambda *_: pytest.fail("the server asked another machine"))
    page, missing = serve().get("/"), serve().get("/no-such-page")
    policy = page.headers["Content-Security-Policy"]
    assert page.status_code == 200
    assert not re.search(r"https?:|\*", policy)
    assert "runs/mine" in page.text
    assert missing.headers["Content-Security-Policy"] == policy


JOIN, OWN = "/gradio_api/queue/join", {"Origin": "http://127.0.0.1:7860"}


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/gradio_api/upload", {"files": {"files": b"x"}}, 404),
        ("POST", JOIN, {"content": b"x" * ((1 << 20) + 1)}, 413),
        ("POST", JOIN, {"content": iter([b"{}"])}, 413),
        ("POST", JOIN, {"json": {}}, 422),
        ("POST", JOIN, {"json": {}, "headers": OWN}, 422),
        ("POST", JOIN, {"json": {}, "headers": {"Origin": "http://elsewhere.example"}}, 403),
        ("POST", JOIN, {"json": {}, "headers": {"Origin": "http://127.0.0.1:8000"}}, 403),
        ("POST", JOIN, {"json": {}, "headers": {"Origin": "null"}}, 403),
        *(("GET", f"{place}", {}, 404) for place in ("/openapi.json", "/gradio_api/openapi.json/", "/docs")),
    ],
)
def test_uploads_large_bodies_descriptions_and_other_pages_are_refused(
    serve: Callable[..., Any], method: str, path: str, options: dict[str, Any], status: int
) -> None:
    """The page's own route answers 422 to what is no request of the page."""
    assert serve().request(method, path, **options).status_code == status


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
