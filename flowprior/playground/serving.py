"""The page on a port of this machine, and nothing else: no analytics, no fonts or scripts of others."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError, pip_install
from flowprior.playground.gate import Gate

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio import Blocks

STYLE = Path(__file__).with_name("page.css")
FONTS = ("system-ui", "sans-serif")
MONOSPACE = ("ui-monospace", "monospace")
FILES = "GRADIO_TEMP_DIR"
"""Where gradio keeps the files that it serves."""
GRACE = 2
"""Seconds that open connections get at the end."""


def check_extra() -> None:
    """Refuse to go on without gradio, before anything that takes time.

    Raises:
        OptionError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise OptionError(f"demo: gradio is not installed; {pip_install('demo')}") from error


def application(page: Blocks, hosts: Sequence[str]) -> FastAPI:
    """Return the page as an ASGI application behind a :class:`~flowprior.playground.gate.Gate`.

    Args:
        page: The page.
        hosts: The address that the server listens on, as the user wrote it and as the system gives it.
    """
    import gradio
    from fastapi import FastAPI

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    theme = gradio.themes.Base(font=list(FONTS), font_mono=list(MONOSPACE))
    style = STYLE.read_text(encoding="utf-8")
    plain: dict[str, Any] = {"footer_links": [], "run_history": False, "ssr_mode": False, "pwa": False}
    app = gradio.mount_gradio_app(app, page, path="", theme=theme, css=style, **plain)

    app.add_middleware(Gate, hosts=hosts)
    return app


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens on ``port`` of ``host``; 0 takes a free one.

    Raises:
        OptionError: the port is taken, or the host is none of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError, UnicodeError) as error:
        raise OptionError(f"demo: no host '{host}' ({error}); choose another one (--host)") from error
    with found:
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen()
        except OSError as error:
            reason = error.strerror or error
            raise OptionError(
                f"demo: cannot listen on port {port} of {host} ({reason}); choose another (--port, --host)"
            ) from error
        yield found


def serve(build: Callable[[], Blocks], host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve a page until Ctrl-C.

    Args:
        build: gives the page.
        host: address to listen on.
        port: of it; 0 takes a free one.
        announce: is told the address, when the page can be opened.

    Raises:
        OptionError: gradio is not installed, or the port is taken.
    """
    check_extra()
    import uvicorn

    with listening(host, port) as found, temporary_files():
        app = application(build(), (host, found.getsockname()[0]))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE)
        # uvicorn ends in the handler that was there before: this one leaves the contexts, then the process.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        shown = f"[{host}]" if ":" in host else host
        try:
            announce(f"http://{shown}:{found.getsockname()[1]}/")
            uvicorn.Server(config).run(sockets=[found])
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def temporary_files() -> Iterator[None]:
    """A folder for the files that gradio serves, which goes with the server."""
    before = os.environ.get(FILES)
    with tempfile.TemporaryDirectory(prefix="flowprior-demo-") as folder:
        os.environ[FILES] = folder
        try:
            yield
        finally:
            os.environ.pop(FILES, None)
            os.environ |= {} if before is None else {FILES: before}
