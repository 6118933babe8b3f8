"""All pages for readers: what `make_app(routes=...)` serves besides opens, clicks and health."""

from __future__ import annotations

from drumbeat.web import preferences, signup, unsubscribe
from drumbeat.web.desk import House
from drumbeat.web.site import MoreRoutes


def reader_pages(house: House) -> list[MoreRoutes]:
    """Return the routes of the pages to unsubscribe, to choose, to subscribe and to confirm."""
    return [unsubscribe.routes(house), preferences.routes(house), signup.routes(house)]
