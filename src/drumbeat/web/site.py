"""What the handlers of all pages share: the store, the links, the clock, the pages and the writer.

A module of further pages gives `routes(site) -> list[Route]`, and `make_app(..., routes=[module.routes])`
serves them before its own, so that they may also take an address over.
"""

from __future__ import annotations

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
from drumbeat.responses.machines import Machines, shipped
from drumbeat.web.callers import Callers
from drumbeat.web.pages import Pages
from drumbeat.web.spill import Item, Spill
from drumbeat.web.writer import PATIENCE_S as PATIENCE_S
from drumbeat.web.writer import Kept, Writer


class Site:
    """One server's things. `folder`: the project's `.drumbeat`, for the spill file."""

    def __init__(
        self,
        engine: Engine,
        links: Links,
        clock: Clock,
        folder: Path,
        pages: Pages,
        *,
        machines: Machines | None = None,
        callers: Callers | None = None,
    ) -> None:
        self.engine, self.links, self.clock, self.pages = engine, links, clock, pages
        self.machines = machines or shipped()
        self.callers = callers or Callers()
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

    async def keep(self, item: Item) -> Kept:
        """Wait until the item is durable, in the store or, after PATIENCE_S, in the spill file."""
        return await self.writer.keep(item)

    def page(self, request: Request, page: str, status: int = 200) -> HTMLResponse:
        """Answer with a page of words.yaml in the reader's language."""
        text = self.pages.render(page, request.headers.get("accept-language", ""))
        return HTMLResponse(text, status_code=status)

    def caller(self, request: Request) -> str:
        """Return the address of whoever asks, behind our own proxies; '' where it is not known."""
        return self.callers.address(request.scope.get("client"), request.headers)


MoreRoutes = Callable[[Site], Iterable[BaseRoute]]
"""Makes the routes of further pages."""
