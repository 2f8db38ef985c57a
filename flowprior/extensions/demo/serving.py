"""The page on a port of this machine, and nothing else: no analytics, no fonts or scripts of others.

A gate says which requests are served, and what the answers allow a browser to do. A page that stands in some
other tab of the browser can send requests to this machine, and a foreign name that resolves to it lets that
page read the answers (DNS rebinding). So a request names this server as its host, comes from no other page,
and asks for nothing but what the page itself needs.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flowprior.errors import OptionError, pip_install

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio import Blocks
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STYLE = Path(__file__).with_name("page.css")
FONTS = ("system-ui", "sans-serif")
MONOSPACE = ("ui-monospace", "monospace")
FILES = "GRADIO_TEMP_DIR"
"""Where gradio keeps the files that it serves."""
GRACE = 2
"""Seconds that open connections get at the end."""
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'"
)
"""The policy for the browser: it may fetch what this server gives, and nothing from elsewhere."""
POSTS = ("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset")
"""The routes that the page sends to; gradio also has some for uploads, recordings and programs."""
HIDDEN = ("/openapi.json", "/gradio_api/openapi.json")
ADVICE = "open the address that flowprior demo printed"
MOST_BYTES = 1 << 20
"""The largest body of a request, in bytes."""


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
    """Return the page as an ASGI application behind a :class:`~flowprior.extensions.demo.serving.Gate`.

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


class Gate:
    """ASGI middleware that refuses what the page does not ask for and sets the policy of every answer.

    Args:
        app: The application behind the gate.
        hosts: The address that the server listens on, as the user wrote it and as the system gives it.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app = app
        self.names = {host.lower() for host in hosts}
        self.any_address = any(_is(host, "is_unspecified") for host in hosts)
        if self.any_address:
            own = socket.gethostname().lower()
            self.names |= {"localhost", own, f"{own}.local"}
        elif any(_is(host, "is_loopback") for host in hosts):
            self.names |= {"localhost", "127.0.0.1", "::1"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message["headers"], policy]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, answer)
            return
        status, why = refusal
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await answer({"type": "http.response.start", "status": status, "headers": headers})
        await answer({"type": "http.response.body", "body": why.encode()})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason of a refusal; None for a request that is served."""
        headers: dict[bytes, str] = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if not self._serves(host):
            return 403, f"The page is not served under this host name; {ADVICE}."
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, f"The request comes from another page; {ADVICE}."
        path = scope["path"].rstrip("/")
        if path in HIDDEN or (scope["method"] not in ("GET", "HEAD") and path not in POSTS):
            return 404, "The page has no such route."
        length = headers.get(b"content-length", "0")
        plain = length.isdecimal() and len(length) < 10 and b"transfer-encoding" not in headers
        if not plain or int(length) > MOST_BYTES:
            return 413, f"The body of a request has a length of at most {MOST_BYTES:,} bytes."
        return None

    def _serves(self, header: str) -> bool:
        """Check whether the header ``Host`` names this server; its port may be that of a tunnel."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        return name in self.names or (self.any_address and _is_address(name))


def _is(host: str, kind: str) -> bool:
    """Check whether ``host`` is an IP address of this kind, such as ``is_loopback``."""
    return _is_address(host) and getattr(ipaddress.ip_address(host), kind)


def _is_address(name: str) -> bool:
    """Check whether ``name`` is an IP address, which no foreign name server can point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
