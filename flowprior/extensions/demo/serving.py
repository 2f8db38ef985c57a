"""The server of the demo page on a port of this machine, without analytics, foreign fonts or scripts.

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
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import gradio
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowprior.cli.commands import print_rich
from flowprior.errors import OptionError

STYLE = Path(__file__).with_name("page.css")
"""The style sheet of the page."""
GRACE = 2
"""The seconds that open connections get before the server stops."""
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'"
)
"""The policy for the browser: it may fetch what this server gives, and nothing from elsewhere."""
POSTS = ("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset")
"""The routes that the page sends to; gradio also has some for uploads, recordings and programs."""
HIDDEN = ("/openapi.json", "/gradio_api/openapi.json")
"""The routes of gradio that are not served."""
ADVICE = "open the address that flowprior demo printed"
MOST_BYTES = 1 << 20
"""The largest body of a request, in bytes."""


def application(page: gradio.Blocks, hosts: Sequence[str]) -> FastAPI:
    """Return the page as an ASGI application behind a :class:`~flowprior.extensions.demo.serving.Gate`.

    Args:
        page: The page.
        hosts: The address that the server listens on, as the user wrote it and as the system gives it.
    """
    app = gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="",
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=STYLE.read_text(encoding="utf-8"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
    )
    app.add_middleware(Gate, hosts=hosts)
    return app


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``port`` of ``host``; port 0 takes a free one.

    Raises:
        OptionError: the port is taken, or the host is none of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise OptionError(f"demo: no host '{host}' ({error}); choose another one (--host)") from error
    try:
        return socket.create_server(
            address, family=family, dualstack_ipv6=family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        )
    except OSError as error:
        raise OptionError(
            f"demo: cannot listen on port {port} of {host} ({os.strerror(error.errno or 0)}); choose another "
            "(--port, --host)"
        ) from error


def serve(build: Callable[[], gradio.Blocks], host: str, port: int) -> None:
    """Serve a page until Ctrl-C, and print its address once it can be opened.

    The files that gradio serves lie in a folder that goes with the server.

    Args:
        build: gives the page.
        host: address to listen on.
        port: the port of the host; 0 takes a free one.

    Raises:
        OptionError: the port is taken, or the host is none of this machine.
    """
    with listening(host, port) as found, tempfile.TemporaryDirectory(prefix="flowprior-demo-") as files:
        os.environ["GRADIO_TEMP_DIR"] = files
        app = application(build(), (host, found.getsockname()[0]))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE))
        # uvicorn ends in the handler that was there before: this one leaves the contexts, then the process.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        shown = f"[{host}]" if ":" in host else host
        print_rich(f"the page is at http://{shown}:{found.getsockname()[1]}/; Ctrl-C ends it")
        sys.stdout.flush()
        server.run(sockets=[found])


class Gate:
    """The ASGI middleware that refuses foreign requests and sets the security policy of every answer.

    Args:
        app: The application behind the gate.
        hosts: The address that the server listens on, as the user wrote it and as the system gives it.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app = app
        self.names = {host.lower() for host in hosts}
        addresses = [address for host in hosts if (address := _address(host))]
        self.any_address = any(address.is_unspecified for address in addresses)
        if self.any_address:
            own = socket.gethostname().lower()
            self.names |= {"localhost", own, f"{own}.local"}
        elif any(address.is_loopback for address in addresses):
            self.names |= {"localhost", "127.0.0.1", "::1"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["content-security-policy"] = POLICY
            await send(message)

        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, answer)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """Return the answer to a request that is refused; None for one that is served."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._serves(host):
            return _refused(403, f"The page is not served under this host name; {ADVICE}.")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return _refused(403, f"The request comes from another page; {ADVICE}.")
        path = scope["path"].rstrip("/")
        if path in HIDDEN or (scope["method"] not in ("GET", "HEAD") and path not in POSTS):
            return _refused(404, "The page has no such route.")
        length = headers.get("content-length", "0")
        plain = length.isdecimal() and len(length) < 10 and "transfer-encoding" not in headers
        if not plain or int(length) > MOST_BYTES:
            return _refused(413, f"The body of a request has a length of at most {MOST_BYTES:,} bytes.")
        return None

    def _serves(self, header: str) -> bool:
        """Check whether the header ``Host`` names this server; its port may be that of a tunnel."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        return name in self.names or (self.any_address and _address(name) is not None)


def _refused(status: int, why: str) -> PlainTextResponse:
    return PlainTextResponse(why, status, {"connection": "close"})


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return ``name`` as an IP address, which no name server can redirect; None if it is no address."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
