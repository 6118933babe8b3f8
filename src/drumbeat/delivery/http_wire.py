"""One HTTP call to a provider: what it was answered, or that it certainly did not leave, or that nobody knows.

What decides is the body: `_Watched` notes when its first byte is asked for, which is after the connection,
its TLS and the request's head. A provider cannot act on a head alone, so whatever fails before is unsent,
whichever of the many errors of a network it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

LONGEST_TEXT = 500
"""Characters of a provider's words that are kept."""

CONNECT_WITHIN = 10.0
"""Seconds to connect, where the time-out for an answer is longer."""

IDLE = 4.0
"""Seconds after which an unused connection is not used again: servers close theirs from 5 s on, and a call that
crosses such a close on the wire is one whose end nobody knows."""


@dataclass(frozen=True)
class Call:
    """One request to a provider. `json`, `data` (with `files`) or `body` is its content.

    `path` is put behind the provider's base URL. `idempotent`: the provider documents that the same call
    made twice (its key is in it) has one effect.
    """

    path: str
    json: Any = None
    data: Any = None
    files: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: tuple[str, str] | None = None
    idempotent: bool = False
    method: str = "POST"


@dataclass(frozen=True)
class Reply:
    """A provider's answer. `json` is None where the body is no JSON. `headers`: in any case of letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON, or None."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def text(self) -> str:
        """Return what the provider said, as one line: its status and words."""
        words = " ".join(self.body[: 4 * LONGEST_TEXT].decode("utf-8", "replace").split())
        return f"{self.status} {words}".strip()[:LONGEST_TEXT]


class Unsent(Exception):  # noqa: N818 - an end of a call, not a fault of ours
    """The call certainly did not reach the provider as a whole."""


class Unanswered(Exception):  # noqa: N818 - an end of a call, not a fault of ours
    """The call's content left, and no whole answer came."""


class _Watched(BytesIO):
    """A body that knows whether anything of it was asked for."""

    begun = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        return super().read(size)


class Wire:
    """Connections to one provider, kept between calls; may be used from several threads at once."""

    def __init__(self, connections: int, timeout: float) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self.timeout = timeout
        self._session = requests.Session()
        # Without this a ~/.netrc entry for the host would take the place of our Authorization header.
        self._session.auth = _as_it_is
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=connections))
        self._used = time.monotonic()

    def refresh(self) -> None:
        """Let go of connections that were idle for too long. Not while calls are under way."""
        if time.monotonic() - self._used > IDLE:
            self._session.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, base_url: str, call: Call) -> Reply:
        """Make one call and return its answer, whatever it says. Raises Unsent or Unanswered with one line."""
        import requests
        from urllib3.exceptions import HTTPError

        body = None
        try:
            request = self._session.prepare_request(
                requests.Request(
                    call.method,
                    f"{base_url}{call.path}",
                    json=call.json,
                    data=call.body if call.body is not None else call.data,
                    files=call.files,
                    headers={"User-Agent": "Drumbeat", **call.headers},
                    auth=call.auth,
                )
            )
            content = request.body or b""
            body = _Watched(content.encode() if isinstance(content, str) else content)
            request.body = body  # type: ignore[assignment] # a file object, as urllib3 takes it
            settings = self._session.merge_environment_settings(request.url, {}, None, None, None)
            response = self._session.send(
                request,
                timeout=(min(CONNECT_WITHIN, self.timeout), self.timeout),
                # A redirect would send people's data and our key to another host.
                allow_redirects=False,
                **settings,
            )
        except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
            if body is None or not body.begun:
                raise Unsent(f"cannot reach {base_url}: {_words(error)}") from error
            raise Unanswered(f"no answer from {base_url}: {_words(error)}") from error
        finally:
            self._used = time.monotonic()
        return Reply(response.status_code, response.headers, response.content)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _words(error: BaseException) -> str:
    """Return the innermost error's words as one line, without addresses of objects."""
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "reason", None) or inner.__context__ or inner.__cause__
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    strerror = getattr(inner, "strerror", None)
    return " ".join(str(strerror or inner).split())[:200] or type(inner).__name__
