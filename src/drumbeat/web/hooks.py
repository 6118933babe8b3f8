"""Providers' calls: checked, stored as they came, answered; `responses.inbox` works on them after.

    POST /hooks/{provider}       a call: 200 once it is durable, also for the same call again
    GET, HEAD /hooks/{provider}  200: some providers ask whether we are there before they take the address

403 for a call that is forged or stale, 404 for a provider that is not served, 413 for more than 10 MB, 503
where it cannot be kept: providers call again after that. What the caller sees is never more than the status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response as Answer

from drumbeat.responses.arrived import arrived_call
from drumbeat.responses.webhooks import Forged, Stale, Webhook, WebhookCall
from drumbeat.web.headers import read_body
from drumbeat.web.site import Site
from drumbeat.web.writer import Kept

log = logging.getLogger("drumbeat.web")

MAX_CALL = 10 * 2**20
"""Bytes of a call. SendGrid sends events in batches; the largest that a provider documents is a few MB."""

MOST_AT_ONCE = 64 * 2**20
"""Bytes of calls in memory at a time; a call beyond is answered with 503 and comes again."""

BODY_WITHIN_S = 30.0
"""A call's body must be here by then: whoever dribbles it in must not hold memory that others need."""

VERIFIERS = 4
"""Signatures that are checked at once. In threads: an SNS certificate may have to be fetched first."""

QUIET_S = 1.0
"""At most one line a provider and kind of fault in this span: forgers may be many."""


class Hooks:
    """The handlers. `webhooks`: those that are served; `unserved`: why others are not, by name."""

    def __init__(
        self, site: Site, webhooks: Mapping[str, Webhook], unserved: Mapping[str, str] | None = None
    ) -> None:
        self._site, self._webhooks, self._unserved = site, webhooks, unserved or {}
        self._threads = ThreadPoolExecutor(VERIFIERS, "drumbeat-verify")
        self._in_memory = 0
        self._told: dict[str, tuple[float, int]] = {}

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def ping(self, request: Request) -> Answer:
        """Say that we are there."""
        self._webhook(request)
        return Answer(status_code=200)

    async def call(self, request: Request) -> Answer:
        """Take a call."""
        webhook = self._webhook(request)
        body = await self._body(request)
        try:
            call = self._as_call(request, body)
            try:
                verified = await asyncio.get_running_loop().run_in_executor(
                    self._threads, webhook.verify, call
                )
            except (Forged, Stale) as error:
                self._tell(webhook.name, f"refused a call of {webhook.name}: {error}")
                return Answer(status_code=403)
            if not verified.keep:
                return Answer(status_code=200)
            kept = await self._site.keep(arrived_call(webhook.name, verified.replay_key, call))
        finally:
            self._in_memory -= len(body)
        return Answer(status_code=503 if kept is Kept.NOWHERE else 200)

    def _webhook(self, request: Request) -> Webhook:
        name = request.path_params["provider"]
        webhook = self._webhooks.get(name)
        if webhook is None:
            if name in self._unserved:
                self._tell(name, f"a call of {name} is not served: {self._unserved[name]}")
            raise HTTPException(404)
        return webhook

    async def _body(self, request: Request) -> bytes:
        """Return the body, and count its bytes. Raises HTTPException 408, 413 or 503."""
        announced = request.headers.get("content-length", "")
        expected = int(announced) if announced.isascii() and announced.isdigit() else MAX_CALL
        if expected > MAX_CALL:
            raise HTTPException(413)
        if self._in_memory + expected > MOST_AT_ONCE:
            raise HTTPException(503, headers={"Retry-After": "5"})
        self._in_memory += expected
        try:
            body = await asyncio.wait_for(read_body(request, MAX_CALL), BODY_WITHIN_S)
        except TimeoutError:
            raise HTTPException(408) from None
        finally:
            self._in_memory -= expected
        self._in_memory += len(body)
        return body

    def _as_call(self, request: Request, body: bytes) -> WebhookCall:
        query = request.url.query
        # As the caller wrote it: behind our own proxy the request names another host and scheme.
        url = f"{self._site.links.base_url}{request.url.path}" + (f"?{query}" if query else "")
        # Of a header that is there twice the first one counts, in Starlette as here.
        headers = {name.lower(): value for name, value in reversed(request.headers.items())}
        return WebhookCall(headers, body, self._site.clock.now(), url, request.method)

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
