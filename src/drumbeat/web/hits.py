"""The picture and the links of mails: what is asked for thousands of times a second, answered without a framework.

    GET  /o/{token}   a pixel; the mail was opened (a .gif at the end is welcome)
    GET  /c/{token}   302 to the signed target; a link was clicked. 204 for the link that no reader sees

Whatever else is asked for, a token that was not signed here among it, goes on to the pages. Measured: a hit
costs 90 µs here and 240 by way of Starlette's router, request and response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from drumbeat.errors import InputError
from drumbeat.rendering.links import Token
from drumbeat.responses.evidence import HIDDEN
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, hit_key
from drumbeat.web.headers import security_headers
from drumbeat.web.site import Site

PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
"""A transparent GIF of one pixel."""

MAX_AGENT = 300
"""Characters of a User-Agent that are kept. Addresses of readers (IP) are not kept at all."""

_PURPOSES = {"/o/": "o", "/c/": "ch"}


class Hits:
    """Answers hits on mails, and passes everything else on to `pages`."""

    def __init__(self, site: Site, pages: ASGIApp) -> None:
        self._site, self._pages = site, pages
        headers = security_headers(site.pages.style)
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        pixel = [(b"content-type", b"image/gif"), (b"content-length", str(len(PIXEL)).encode())]
        self._pixel = {"type": "http.response.start", "status": 200, "headers": [*pixel, *self._headers]}
        self._nothing = {"type": "http.response.start", "status": 204, "headers": self._headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hit."""
        token = self._token(scope)
        if token is None:
            await self._pages(scope, receive, send)
            return
        if token.kind == "o":
            await self._keep(scope, token, Kind.OPENED)
            await send(self._pixel)
            await send({"type": "http.response.body", "body": PIXEL})
            return
        await self._keep(scope, token, Kind.CLICKED)
        await send(self._nothing if token.url is None else self._onward(token.url))
        await send({"type": "http.response.body", "body": b""})

    def _token(self, scope: Scope) -> Token | None:
        """Return the token of a hit; None for whatever is none."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        path: str = scope["path"]
        purpose = _PURPOSES.get(path[:3])
        if purpose is None:
            return None
        try:
            token = self._site.links.read(path[3:].removesuffix(".gif"))
        except InputError:
            return None
        if token.kind not in purpose:
            return None
        # Signed targets are checked once more: a template's own `javascript:` link must not run from here.
        if token.kind == "c" and not (token.url or "").lower().startswith(("http://", "https://")):
            return None
        return token

    async def _keep(self, scope: Scope, token: Token, kind: Kind) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        site, now = self._site, self._site.clock.now()
        if token.kind == "h":
            actor, rule = Actor.MACHINE, HIDDEN
        else:
            ip = site.callers.address(scope.get("client"), headers)
            actor, rule = site.machines.judge(kind, scope["method"], headers, ip)
        await site.keep(
            Response(
                token.message_id,
                kind,
                now,
                hit_key(token.message_id, kind, now, url=token.url, actor=actor),
                actor,
                token.url,
                _seen(rule, headers),
            )
        )

    def _onward(self, url: str) -> dict[str, Any]:
        # What cannot stand in an address is written in per cent; what is so already stays.
        location = quote(url, safe=":/%#?=@[]!$&'()*+,;").encode("ascii")
        head = [(b"location", location), (b"content-length", b"0"), *self._headers]
        return {"type": "http.response.start", "status": 302, "headers": head}


def _seen(rule: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what is kept of a request in `raw`."""
    found = {"rule": rule, "agent": headers.get("user-agent", "")[:MAX_AGENT]}
    return {name: value for name, value in found.items() if value}
