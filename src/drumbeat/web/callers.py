"""Who calls: the address behind proxies that we trust, and behind no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from drumbeat.responses.networks import Networks


class Callers:
    """Finds the address of whoever made a request. `proxies`: networks of our own reverse proxies.

    Anybody can write anything into X-Forwarded-For; only what a trusted proxy added to its end is believed.
    Raises UsageError for a proxy that is no network.
    """

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        self._proxies = Networks(proxies)

    def address(self, client: Sequence[object] | None, headers: Mapping[str, str]) -> str:
        """Return the caller's address, '' where it is not known. `client`: host and port of the connection."""
        peer = str(client[0]) if client else ""
        if not self._proxies or peer not in self._proxies:
            return peer
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            address = _bare(hop)
            if not address:
                break
            peer = address
            if peer not in self._proxies:
                break
        return peer


def _bare(hop: str) -> str:
    """Return the address of a hop without brackets and port, as some proxies write them."""
    text = hop.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
