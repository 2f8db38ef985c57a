"""The gate of the page: which requests it serves, and what its answers allow a browser to do.

A page that stands in some other tab of the browser can send requests to this machine, and a foreign name that
resolves to it lets that page read the answers (DNS rebinding). So a request names this server as its host,
comes from no other page, and asks for nothing but what the page itself needs.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
