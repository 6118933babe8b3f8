"""What the handlers of all pages share: the store, the links, the clock, the pages and the writer.

A module of further pages gives `routes(site) -> list[Route]`, and `make_app(..., routes=[module.routes])`
serves them before its own, so that they may also take an address over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute

from drumbeat.clock import Clock
from drumbeat.errors import InputError
from drumbeat.rendering.links import Links, Token
from drumbeat.responses.record import Response
from drumbeat.web.pages import Pages
from drumbeat.web.spill import Spill
from drumbeat.web.writer import Kept, Writer

PATIENCE_S = 2.0
"""A reader waits no longer than this for the database; then the hit is spilled."""


class Site:
    """One server's things. `folder`: the project's `.drumbeat`, for the spill file."""

    def __init__(self, engine: Engine, links: Links, clock: Clock, folder: Path, pages: Pages) -> None:
        self.engine, self.links, self.clock, self.pages = engine, links, clock, pages
        self.spill = Spill(folder / "spill")
        self.writer = Writer(engine, self.spill)

    def token(self, request: Request, kind: str) -> Token:
        """Return the path's token. Raises HTTPException 404 unless it was signed here and is of `kind`."""
        try:
            token = self.links.read(request.path_params["token"].removesuffix(".gif"))
        except InputError:
            raise HTTPException(404) from None
        if token.kind != kind:
            raise HTTPException(404)
        return token

    async def keep(self, hit: Response) -> Kept:
        """Wait until the hit is durable, in the store or, after PATIENCE_S, in the spill file."""
        stored = asyncio.wrap_future(self.writer.submit(hit))
        try:
            return await asyncio.wait_for(asyncio.shield(stored), PATIENCE_S)
        except TimeoutError:
            return await asyncio.to_thread(self.writer.spill, [hit])

    def page(self, request: Request, page: str, status: int = 200) -> HTMLResponse:
        """Answer with a page of words.yaml in the reader's language."""
        text = self.pages.render(page, request.headers.get("accept-language", ""))
        return HTMLResponse(text, status_code=status)


MoreRoutes = Callable[[Site], Iterable[BaseRoute]]
"""Makes the routes of further pages."""
