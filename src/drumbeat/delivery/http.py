"""The one way to hand over through an HTTP provider: send, read the answer, and say exactly how it ended.

A provider is one file with four small methods: it says what to send (`call`), reads a success (`accepted`),
and may say more of a refusal (`refusal`) than the rules here do. It never owns the loop, a retry or a
time-out. The rules, for a provider whose calls are not idempotent:

    no connection, or none in time        certainly not sent        DEFERRED, the provider as a whole
    sent, no answer or a broken one       nobody knows              UNCERTAIN
    2xx                                   `accepted` reads it
    401, 402, 403                         our account, not the mail DeliveryError
    429                                   not now                   DEFERRED, the provider as a whole
    503                                   not now                   DEFERRED, the provider as a whole
    other 4xx                             `refusal` reads it        REFUSED
    other 5xx                             nobody knows              UNCERTAIN

An idempotent call (the provider documents an idempotency key, and `call` gives it) is made again where nobody
knows, with the same key, before the answer is UNCERTAIN.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar

from drumbeat.delivery import Answer, Begin, Done, Outcome, Parcel, Scope
from drumbeat.errors import DeliveryError

if TYPE_CHECKING:
    import requests

LONGEST_TEXT = 500
"""Characters of a provider's words that are kept."""

MORE_TRIES = 2
"""How often an idempotent call is made again where nobody knows how it ended."""

LONGEST_WAIT = timedelta(hours=6)


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
    """A provider's answer. `json` is None where the body is no JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON, or None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def text(self) -> str:
        """Return what the provider said, as one line: its status and words."""
        words = " ".join(self.body[: 4 * LONGEST_TEXT].decode("utf-8", "replace").split())
        return f"{self.status} {words}".strip()[:LONGEST_TEXT]


class HttpBackend:
    """Base of the providers. Subclasses set the class variables and fill in the methods below.

    `timeout`: seconds to connect and to wait for each answer. `sleep` is for tests.
    """

    name: ClassVar[str]
    batch_size: ClassVar[int] = 1
    """The most parcels in one call, where the provider has a batch call."""
    eight_bit: ClassVar[bool] = True

    def __init__(
        self, base_url: str, *, timeout: float = 30.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._sleep = sleep
        self._session: requests.Session | None = None

    @abstractmethod
    def call(self, parcels: Sequence[Any]) -> Call:
        """Return the request that hands these parcels over, at most `batch_size` of them."""

    @abstractmethod
    def accepted(self, reply: Reply, parcels: Sequence[Any]) -> Sequence[Answer]:
        """Return how a 2xx ended for each parcel, in their order: some providers refuse inside it."""

    def refusal(self, reply: Reply, parcels: Sequence[Any]) -> Answer | Sequence[Answer] | None:
        """Return what a 4xx or 5xx means, for all parcels or one for each; None: the rules of this module.

        For what the provider documents more exactly than HTTP does: a dead address, a request that may be
        repeated, an account that is used up (raise DeliveryError).
        """
        del reply, parcels
        return None

    def batches(self, parcels: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Give the parcels in portions that one call takes. Overridden where not all fit into one call."""
        for start in range(0, len(parcels), self.batch_size):
            yield parcels[start : start + self.batch_size]

    def open(self) -> None:
        """Make the session; nothing is sent."""
        if self._session is None:
            import requests

            self._session = requests.Session()

    def close(self) -> None:
        """Close the session; never raises."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def hand_over(self, parcels: Sequence[Parcel], begin: Begin, done: Done) -> None:
        """Hand parcels over, a batch a call; see the rules at the top of this module."""
        self.open()
        for batch in self.batches(parcels):
            going = []
            for parcel in batch:
                if begin(parcel):
                    going.append(parcel)
                else:
                    done(parcel, Answer(Outcome.WITHDRAWN, "withdrawn before it was sent"))
            if going:
                for parcel, answer in zip(going, self._answers(going), strict=True):
                    done(parcel, answer)

    def _answers(self, parcels: Sequence[Any]) -> Sequence[Answer]:
        call = self.call(parcels)
        for tried in range(MORE_TRIES + 1):
            answers = self._once(call, parcels)
            unknown = all(answer.outcome is Outcome.UNCERTAIN for answer in answers)
            if not unknown or not call.idempotent or tried == MORE_TRIES:
                break
            self._sleep(0.5 * 4**tried)
        return answers

    def _once(self, call: Call, parcels: Sequence[Any]) -> Sequence[Answer]:
        import requests

        assert self._session is not None  # noqa: S101 - hand_over opened it
        try:
            response = self._session.request(
                call.method,
                f"{self.base_url}{call.path}",
                json=call.json,
                data=call.body if call.body is not None else call.data,
                files=call.files,
                headers=dict(call.headers),
                auth=call.auth,
                timeout=self.timeout,
                # A redirect would send people's data and our key to another host.
                allow_redirects=False,
            )
        except requests.ConnectionError as error:
            if _never_connected(error):
                away = Answer(
                    Outcome.DEFERRED, f"cannot reach {self.base_url}: {_words(error)}", scope=Scope.SERVER
                )
                return [away] * len(parcels)
            return [Answer(Outcome.UNCERTAIN, f"no answer from {self.base_url}: {_words(error)}")] * len(
                parcels
            )
        except requests.RequestException as error:
            return [Answer(Outcome.UNCERTAIN, f"no answer from {self.base_url}: {_words(error)}")] * len(
                parcels
            )
        reply = Reply(response.status_code, response.headers, response.content)
        if reply.status // 100 == 2:
            return self._read(reply, parcels)
        found = self.refusal(reply, parcels)
        if found is None:
            found = self._by_status(reply)
        return [found] * len(parcels) if isinstance(found, Answer) else found

    def _read(self, reply: Reply, parcels: Sequence[Any]) -> Sequence[Answer]:
        """Read a 2xx; what cannot be read was taken, by the status, but nobody can say which."""
        try:
            answers = self.accepted(reply, parcels)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            answers = []
            words = f"an answer that cannot be read ({error!r}): {reply.text}"[:LONGEST_TEXT]
        else:
            words = f"an answer for {len(answers)} of {len(parcels)} messages: {reply.text}"[:LONGEST_TEXT]
        if len(answers) != len(parcels):
            return [Answer(Outcome.UNCERTAIN, words, code=reply.status)] * len(parcels)
        return answers

    def _by_status(self, reply: Reply) -> Answer:
        if reply.status in (401, 402, 403):
            raise DeliveryError(
                f"{self.name} refuses our account: {reply.text}; check the key under delivery.{self.name}"
                " in project.yaml and the account's state"
            )
        if reply.status in (429, 503):
            return Answer(
                Outcome.DEFERRED,
                reply.text,
                code=reply.status,
                retry_after=retry_after(reply.headers),
                scope=Scope.SERVER,
            )
        if reply.status // 100 == 5:
            return Answer(Outcome.UNCERTAIN, reply.text, code=reply.status)
        return Answer(Outcome.REFUSED, reply.text, code=reply.status)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """Return the wait that a Retry-After header asks for (RFC 9110, 10.2.3), at most six hours; None without.

    `now`: for a header that gives a date; the answer's own Date header where it is left out.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(value)
        base = now or parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    if until.tzinfo is None or base.tzinfo is None:
        until, base = until.replace(tzinfo=until.tzinfo or UTC), base.replace(tzinfo=base.tzinfo or UTC)
    return min(max(until - base, timedelta()), LONGEST_WAIT)


def _never_connected(error: Exception) -> bool:
    """Say whether the request cannot have left: refused, unknown host, no connection in time, bad certificate."""
    import requests
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, SSLError

    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.SSLError):
        return True
    inner = error.args[0] if error.args else None
    if isinstance(inner, MaxRetryError):
        inner = inner.reason
    return isinstance(inner, NewConnectionError | ConnectTimeoutError | SSLError)


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
