"""``flowprior demo`` in a process of its own: where it says it is, it is, until it is told to end."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.slow

PATIENCE = 240.0
"""Seconds, for machines that are busy with other tests."""


@pytest.fixture
def process(label_run: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    pytest.importorskip("gradio", reason="the test extra is not installed")
    command = [sys.executable, "-m", "flowprior", "demo", str(label_run), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as found:
        yield found
        found.kill()


def test_the_command_serves_the_page_on_loopback_until_it_is_told_to_end(
    process: subprocess.Popen[str],
) -> None:
    before = set(Path(tempfile.gettempdir()).glob("flowprior-demo-*"))
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    line = process.stdout.readline() if ready else ""
    found = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert found, f"no address in {line!r}"
    # Not through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(found[0], timeout=PATIENCE) as answer:
        page = answer.read().decode("utf-8")
    assert "Content-Security-Policy" in answer.headers
    assert "bright" in page, "the name of a class"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", urlsplit(found[0]).port), timeout=5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + signal.SIGTERM, "")
    assert set(Path(tempfile.gettempdir()).glob("flowprior-demo-*")) <= before, "its pictures are gone"
