"""What keeps strangers out: the names that the server answers to, where posts come from, headers, limits of size."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Sent with every answer: scripts and styles come from this server alone, and no other page may embed it."""


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: The HTTP status, 4xx.
        reason: One line for the person who sent it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """Middleware that checks where a request is from, and sends `HEADERS` with every answer.

    Another site's page can make a browser send requests here. The header Host tells it apart if that site's name was
    made to point to this machine (DNS rebinding), Origin and Sec-Fetch-Site otherwise. A Host that is an address is
    always right, since rebinding needs a name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._names = {"localhost", socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = self._reason(scope["method"], Headers(scope=scope))
        app = self.app if reason is None else JSONResponse({"error": reason}, 403)
        await app(scope, receive, send_with_headers)

    def _reason(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if name not in self._names and not _is_address(name):
            return f"this server does not answer to the name {name[:80]!r}: use its address"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "requests from other sites are refused"
        site = headers.get("sec-fetch-site", "same-origin")
        if method not in ("GET", "HEAD") and site not in ("same-origin", "none"):
            return "requests from other sites are refused"
        return None


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False


async def read_body(request: Request, limit: int) -> bytes:
    """Return a request's body, read no further than to the limit.

    Raises:
        Refused: If it is larger (413) or empty (400).
    """
    too_large = Refused(413, f"the file is larger than {limit >> 20} MB: make it smaller first")
    said = request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > limit:
        raise too_large
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise too_large
    if not content:
        raise Refused(400, "the request has no content: send the file as its body")
    return bytes(content)
