"""The application: what each address does.

    GET  /o/{token}       a pixel; the mail was opened (a .gif at the end is welcome)
    GET  /c/{token}       302 to the signed target; a link was clicked
    GET  /u/{token}       a page with a button; changes nothing (scanners follow every link)
    POST /u/{token}       unsubscribes: a mail program's one click (RFC 8058) or the page's button
    GET  /health          whether the server and its database work

A hit is on disk before it is answered: in the database, or in the spill file while that is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Engine, select
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.responses import Response as Answer
from starlette.routing import Route
from starlette.types import ASGIApp

from drumbeat.clock import Clock
from drumbeat.errors import StoreError
from drumbeat.rendering.links import Links, Token
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.machines import judge
from drumbeat.responses.record import Response, hit_key
from drumbeat.store.engine import reading
from drumbeat.store.tables import responses
from drumbeat.web.headers import SecurityHeaders, read_body
from drumbeat.web.pages import Pages
from drumbeat.web.site import PATIENCE_S, MoreRoutes, Site
from drumbeat.web.writer import Kept

PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
"""A transparent GIF of one pixel."""

MAX_AGENT = 300
"""Characters of a User-Agent that are kept. Addresses of readers (IP) are not kept at all."""


class _Handlers(Site):
    """The handlers of the addresses above."""

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Run the writer as long as the server; at the end wait for what was submitted."""
        self.writer.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.writer.close)

    async def opened(self, request: Request) -> Answer:
        """Note an open and answer with the pixel."""
        token = self.token(request, "o")
        await self.keep(self._hit(request, token, Kind.OPENED))
        return Answer(PIXEL, media_type="image/gif")

    async def clicked(self, request: Request) -> Answer:
        """Note a click and lead on, but only to the target that we signed."""
        token = self.token(request, "c")
        # Signed targets are checked once more: a template's own `javascript:` link must not run from here.
        if token.url is None or urlsplit(token.url).scheme not in ("http", "https"):
            raise HTTPException(404)
        await self.keep(self._hit(request, token, Kind.CLICKED, url=token.url))
        return RedirectResponse(token.url, status_code=302)

    async def ask(self, request: Request) -> Answer:
        """Show the page with the button."""
        self.token(request, "u")
        return self.page(request, "unsubscribe")

    async def unsubscribe(self, request: Request) -> Answer:
        """Honour a POST, whoever sends it; 503 where it could not be kept durably."""
        token = self.token(request, "u")
        body = await read_body(request)
        hit = self._hit(request, token, Kind.UNSUBSCRIBED, one_click=b"List-Unsubscribe" in body)
        if await self.keep(hit) is Kept.NOWHERE:
            return self.page(request, "unavailable", 503)
        return self.page(request, "unsubscribed")

    async def health(self, _request: Request) -> Answer:
        """Tell load balancers and people; 503 while the database is away."""
        try:
            await asyncio.wait_for(asyncio.to_thread(self._ask_database), PATIENCE_S)
            fault = None
        except TimeoutError:
            fault = f"the database gave no answer within {PATIENCE_S:g} s"
        except StoreError as error:
            fault = str(error)
        waiting = await asyncio.to_thread(self.spill.waiting)
        content = {
            "status": "ok" if fault is None else "degraded",
            "version": _version(),
            "database": {"reachable": fault is None, "fault": fault},
            "responses_spilled": waiting,
        }
        return JSONResponse(content, status_code=200 if fault is None else 503)

    async def refuse(self, request: Request, error: Exception) -> Answer:
        """Turn a refusal into a page."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        page = {404: "not_found", 500: "unavailable"}.get(status, "refused")
        answer = self.page(request, page, status)
        if isinstance(error, HTTPException):
            answer.headers.update(error.headers or {})
        return answer

    def _hit(
        self,
        request: Request,
        token: Token,
        kind: Kind,
        *,
        url: str | None = None,
        one_click: bool | None = None,
    ) -> Response:
        now = self.clock.now()
        actor, rule = judge(kind, request.method, request.headers)
        if one_click is False and actor is Actor.UNKNOWN:
            actor, rule = Actor.HUMAN, "pressed_button"
        seen = {
            "rule": rule,
            "agent": request.headers.get("user-agent", "")[:MAX_AGENT],
            "one_click": one_click,
        }
        return Response(
            message_id=token.message_id,
            kind=kind,
            at=now,
            dedupe_key=hit_key(token.message_id, kind, now, url=url, actor=actor),
            actor=actor,
            url=url,
            raw={name: value for name, value in seen.items() if value not in ("", None)},
        )

    def _ask_database(self) -> None:
        with reading(self.engine) as connection:
            connection.execute(select(responses.c.id).limit(1)).first()


def make_app(
    engine: Engine,
    links: Links,
    clock: Clock,
    *,
    folder: Path,
    brand: str,
    language: str = "en",
    topics: Sequence[str] = (),
    routes: Sequence[MoreRoutes] = (),
) -> ASGIApp:
    """Return the ASGI application. `folder` (the project's `.drumbeat`) takes the spill file.

    `topics`: what readers consented to, in their words; the page to unsubscribe lists it. `routes`: those
    of further pages; where one of them has an address of the table above, it is asked instead.
    """
    pages = Pages(brand, language, topics)
    site = _Handlers(engine, links, clock, folder, pages)
    app = Starlette(
        routes=[
            *(route for more in routes for route in more(site)),
            Route("/o/{token}", site.opened, methods=["GET"]),
            Route("/c/{token}", site.clicked, methods=["GET"]),
            Route("/u/{token}", site.ask, methods=["GET"]),
            Route("/u/{token}", site.unsubscribe, methods=["POST"]),
            Route("/health", site.health, methods=["GET"]),
        ],
        exception_handlers={HTTPException: site.refuse, 500: site.refuse},
        lifespan=site.lifespan,
    )
    # Its redirect would trust the Host header, and a one-click POST must not meet a redirect at all.
    app.router.redirect_slashes = False
    # Around everything, so that the page of an unforeseen fault carries the headers too.
    return SecurityHeaders(app, pages.style)


def _version() -> str:
    try:
        return version("drumbeat")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
