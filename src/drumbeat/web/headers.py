"""Headers that every answer carries, and the limit on what a request may bring."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 16 * 1024
"""A one-click POST has 26 bytes, a form with the same 200."""


def security_headers(style: str) -> dict[str, str]:
    """Return what every answer carries: nothing is embedded, framed, indexed, cached or told to others.

    `style`: the one style sheet that pages may have. `Referrer-Policy: no-referrer` keeps the token in our URL
    from the page a link leads to.
    """
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
        "Cache-Control": "no-store",
    }


class SecurityHeaders:
    """Puts them on the answers of an application."""

    def __init__(self, app: ASGIApp, style: str) -> None:
        self.app = app
        self.headers = security_headers(style)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with the headers put on each answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """Return the body. Raises HTTPException 413 once it is longer than `limit`, whatever it announced."""
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > limit:
            raise HTTPException(413)
        parts.append(part)
    return b"".join(parts)
