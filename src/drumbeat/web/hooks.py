"""Providers' calls: checked, stored as they came, answered; `responses.inbox` works on them after.

    POST /hooks/{provider}       a call: 200 once it is durable, also for the same call again
    GET, HEAD /hooks/{provider}  200: some providers ask whether we are there before they take the address

403 for a call that is forged or stale, 404 for a provider that is not served, 413 for more than 10 MB, 503
where it cannot be kept, or checked now, and 500 for a fault of ours: providers call again after these. What the
caller sees is never more than the status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from drumbeat.errors import DeliveryError
from drumbeat.responses.arrived import arrived_call
from drumbeat.responses.webhooks import Forged, Stale, Webhook, WebhookCall
from drumbeat.web.headers import security_headers
from drumbeat.web.site import Site
from drumbeat.web.verify import Verifier
from drumbeat.web.writer import Kept

log = logging.getLogger("drumbeat.web")

PREFIX = "/hooks/"

MAX_CALL = 10 * 2**20
"""Bytes of a call. SendGrid sends events in batches; the largest that a provider documents is a few MB."""

MOST_AT_ONCE = 64 * 2**20
"""Bytes of calls in memory at a time; a call beyond is answered with 503 and comes again."""

BODY_WITHIN_S = 30.0
"""A call's body must be here by then: whoever dribbles it in must not hold memory that others need."""

QUIET_S = 1.0
"""At most one line a provider and kind of fault in this span: forgers may be many."""


class _Refused(Exception):  # noqa: N818 - not an error of ours
    """Ends a call with a status."""

    def __init__(self, status: int) -> None:
        self.status = status


class Hooks:
    """Answers calls, and passes everything else on to `pages`.

    `webhooks`: those that are served; `unserved`: why others are not, by name.
    """

    def __init__(
        self,
        site: Site,
        pages: ASGIApp,
        webhooks: Mapping[str, Webhook],
        unserved: Mapping[str, str] | None = None,
    ) -> None:
        self._site, self._pages, self._unserved = site, pages, unserved or {}
        self._verifiers = {name: Verifier(webhook) for name, webhook in webhooks.items()}
        self._in_memory = 0
        self._told: dict[str, tuple[float, int]] = {}
        headers = {**security_headers(site.pages.style), "Content-Length": "0"}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    def close(self) -> None:
        """Let the threads go."""
        for verifier in self._verifiers.values():
            verifier.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._pages(scope, receive, send)
            return
        name = scope["path"][len(PREFIX) :]
        verifier = self._verifiers.get(name)
        if verifier is None:
            if name in self._unserved:
                self._tell(name, f"a call of {name} is not served: {self._unserved[name]}")
            await self._pages(scope, receive, send)
            return
        status = {"GET": 200, "HEAD": 200}.get(scope["method"], 405)
        if scope["method"] == "POST":
            try:
                status = await self._take(scope, receive, name, verifier)
            except _Refused as refused:
                status = refused.status
            except Exception:
                log.exception("a call of %s cannot be checked", name)
                status = 500
        headers = [*self._headers, (b"retry-after", b"5")] if status == 503 else self._headers
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, scope: Scope, receive: Receive, name: str, verifier: Verifier) -> int:
        """Take a call; return the status to answer with. Raises _Refused."""
        headers = {
            header.decode("latin-1"): value.decode("latin-1") for header, value in reversed(scope["headers"])
        }
        body = await self._body(headers.get("content-length", ""), receive)
        try:
            call = self._as_call(scope, headers, body)
            try:
                verified = await verifier.verify(call)
            except (Forged, Stale) as error:
                self._tell(name, f"refused a call of {name}: {error}")
                return 403
            except DeliveryError as error:
                self._tell(name, f"a call of {name} cannot be checked now: {error}")
                return 503
            if not verified.keep:
                return 200
            kept = await self._site.keep(arrived_call(name, verified.replay_key, call))
        finally:
            self._in_memory -= len(body)
        return 503 if kept is Kept.NOWHERE else 200

    async def _body(self, announced: str, receive: Receive) -> bytes:
        """Return the body, and count its bytes. Raises _Refused."""
        expected = int(announced) if announced.isascii() and announced.isdigit() else MAX_CALL
        if expected > MAX_CALL:
            raise _Refused(413)
        if self._in_memory + expected > MOST_AT_ONCE:
            raise _Refused(503)
        self._in_memory += expected
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await _read(receive)
        except TimeoutError:
            raise _Refused(408) from None
        finally:
            self._in_memory -= expected
        self._in_memory += len(body)
        return body

    def _as_call(self, scope: Scope, headers: Mapping[str, str], body: bytes) -> WebhookCall:
        query = scope["query_string"].decode("latin-1")
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        # As the caller wrote it: behind our own proxy the request names another host and scheme.
        url = f"{self._site.links.base_url}{path}" + (f"?{query}" if query else "")
        return WebhookCall(headers, body, self._site.clock.now(), url, scope["method"])

    def _tell(self, name: str, text: str) -> None:
        """Log one line, without anything of the call itself."""
        last, untold = self._told.get(name, (-QUIET_S, 0))
        now = monotonic()
        if now - last < QUIET_S:
            self._told[name] = (last, untold + 1)
            return
        self._told[name] = (now, 0)
        # A caller's own words, if there are any in it, must not look like lines of ours.
        log.warning("%s%s", " ".join(text.split())[:500], f" ({untold} more before)" if untold else "")


async def _read(receive: Receive) -> bytes:
    """Return a body. Raises _Refused once it is longer than MAX_CALL, or where the caller hung up."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Refused(400)
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > MAX_CALL:
            raise _Refused(413)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
