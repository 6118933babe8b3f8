"""The application: what each address does.

    GET  /o/{token}         a pixel; the mail was opened (a .gif at the end is welcome)
    GET  /c/{token}         302 to the signed target; a link was clicked
    POST /hooks/{provider}  a provider's webhook (web/hooks.py)
    GET  /health            whether the server and its database work

The pages for readers (unsubscribe, preferences, subscribe) are routes given to `make_app`: web/readers.py. A
hit or a call is on disk before it is answered: in the database, or in the spill file while that is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlalchemy import Engine, select
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response as Answer
from starlette.routing import Route
from starlette.types import ASGIApp

from drumbeat.clock import Clock
from drumbeat.errors import StoreError
from drumbeat.rendering.links import Links
from drumbeat.responses.machines import Machines
from drumbeat.responses.webhooks import Webhook
from drumbeat.store.engine import reading
from drumbeat.store.tables import responses
from drumbeat.web.background import Background
from drumbeat.web.callers import Callers
from drumbeat.web.headers import SecurityHeaders
from drumbeat.web.hits import Hits
from drumbeat.web.hooks import Hooks
from drumbeat.web.pages import Pages
from drumbeat.web.site import PATIENCE_S, MoreRoutes, Site


class _Handlers:
    """The handlers of the pages above."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def not_found(self, _request: Request) -> Answer:
        """Refuse: what was signed here is answered before (web/hits.py)."""
        raise HTTPException(404)

    async def health(self, _request: Request) -> Answer:
        """Tell load balancers and people; 503 while the database is away."""
        try:
            await asyncio.wait_for(asyncio.to_thread(self._ask_database), PATIENCE_S)
            fault = None
        except TimeoutError:
            fault = f"the database gave no answer within {PATIENCE_S:g} s"
        except StoreError as error:
            fault = str(error)
        waiting = await asyncio.to_thread(self._site.spill.waiting)
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
        page = {404: "not_found", 500: "unavailable", 503: "unavailable"}.get(status, "refused")
        answer = self._site.page(request, page, status)
        if isinstance(error, HTTPException):
            answer.headers.update(error.headers or {})
        return answer

    def _ask_database(self) -> None:
        with reading(self._site.engine) as connection:
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
    webhooks: Mapping[str, Webhook] | None = None,
    unserved: Mapping[str, str] | None = None,
    machines: Machines | None = None,
    proxies: Sequence[str] = (),
    background: Background | None = None,
) -> ASGIApp:
    """Return the ASGI application. `folder` (the project's `.drumbeat`) takes the spill file.

    `topics`: what readers consented to, in their words; the page to unsubscribe lists it. `routes`: those
    of the pages for readers; one with an address of the table above is asked instead. `webhooks`:
    by the provider's name; `unserved`: why others are not served. `machines`: how readers are told from
    machines; default: by the rules that come with Drumbeat. `proxies`: networks of our own reverse proxies,
    whose X-Forwarded-For is believed. `background`: runs as long as the server.
    """
    pages = Pages(brand, language, topics)
    site = Site(engine, links, clock, folder, pages, machines=machines, callers=Callers(proxies))
    own = _Handlers(site)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        """Run the writer as long as the server; at the end wait for what was given to it."""
        site.writer.start()
        if background is not None:
            background.start()
        try:
            yield
        finally:
            hooks.close()
            await site.writer.close()
            if background is not None:
                await asyncio.to_thread(background.close)

    app = Starlette(
        routes=[
            *(route for more in routes for route in more(site)),
            Route("/o/{token}", own.not_found, methods=["GET"]),
            Route("/c/{token}", own.not_found, methods=["GET"]),
            Route("/health", own.health, methods=["GET"]),
        ],
        exception_handlers={HTTPException: own.refuse, 500: own.refuse},
        lifespan=lifespan,
    )
    # Its redirect would trust the Host header, and a one-click POST must not meet a redirect at all.
    app.router.redirect_slashes = False
    # Around everything, so that the page of an unforeseen fault carries the headers too.
    hooks = Hooks(site, SecurityHeaders(app, pages.style), webhooks or {}, unserved)
    return Hits(site, hooks)


@cache
def _version() -> str:
    try:
        return version("drumbeat")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
