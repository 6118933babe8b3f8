"""The one way to hand over through an HTTP provider: send, read the answer, and say exactly how it ended.

A provider is one file with four small methods: it says what to send (`call`), reads a success (`accepted`),
and may say more of a refusal (`refusal`) than the rules here do. It never owns the loop, a retry or a
time-out. The rules, for a provider whose calls are not idempotent:

    content did not begin to leave        certainly not sent        again, then DEFERRED, the whole provider
    sent, no answer or a broken one       nobody knows              UNCERTAIN
    2xx                                   `accepted` reads it
    3xx, 404, 405                         not the provider's API    DeliveryError
    401, 402, 403                         our account, not the mail DeliveryError
    408, 425, 429, 503                    not now                   DEFERRED, the whole provider
    other 4xx                             `refusal` reads it        REFUSED
    other 5xx                             nobody knows              UNCERTAIN

An idempotent call (the provider documents an idempotency key, and `call` gives it) is made again where nobody
knows, with the same key, before the answer is UNCERTAIN. Up to `connections` calls are under way at once; a
connection gets its next call when the answers of its last one are recorded. After an answer that holds for
the whole provider, or several ends in a row that nobody knows, no further call is made: the rest of the
parcels is DEFERRED too.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

from pydantic import Field

from drumbeat.delivery import Answer, Begin, Done, Outcome, Parcel, Scope
from drumbeat.delivery.http_wire import LONGEST_TEXT, Call, Reply, Unanswered, Unsent, Wire
from drumbeat.errors import DeliveryError
from drumbeat.settings import Duration, Model, needed_secret

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["BaseUrl", "Call", "HttpBackend", "HttpSettings", "Reply", "api_key", "mailbox", "retry_after"]

MORE_TRIES = 2
"""How often a call is made again where it certainly did not leave, or is idempotent and nobody knows."""

UNKNOWN_IN_A_ROW = 3
"""After so many calls whose end nobody knows the rest of the parcels is DEFERRED rather than made uncertain too."""

LONGEST_WAIT = timedelta(hours=6)

BaseUrl = Annotated[
    str, Field(pattern=r"^(https://[^\s/?#]+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?)(/[^\s?#]*)?$")
]
"""Where a provider's API is. Without TLS on this machine alone: calls carry keys and people's data."""


class HttpSettings(Model):
    """What every HTTP provider's settings share. Subclasses give `base_url` its value, or work it out."""

    base_url: BaseUrl | None = Field(
        None, description="Where the API is, if not at the provider's usual place"
    )
    timeout: Duration = Field(
        default="30s", validate_default=True, description="How long to wait for an answer"
    )
    connections: int = Field(4, ge=1, le=64, description="How many calls may be under way at once")


_End: TypeAlias = "tuple[Sequence[Answer], DeliveryError | None]"
"""How one call ended for each of its parcels, and why every further one would fail."""


class _Calls:
    """The calls under way in one hand-over. `pause`: the answer for all that has not begun, once there is one."""

    def __init__(self, done: Done) -> None:
        self.done = done
        self.running: dict[Future[_End], Sequence[Any]] = {}
        self.failure: DeliveryError | None = None
        self.pause: Answer | None = None
        self.unknown = 0

    def settle(self, *, at_most: int) -> None:
        """Wait until at most so many calls are under way; tell how the others ended."""
        from concurrent.futures import FIRST_COMPLETED, wait

        while len(self.running) > at_most:
            for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                answers, failed = future.result()
                self.failure = self.failure or failed
                for parcel, answer in zip(self.running.pop(future), answers, strict=True):
                    self.done(parcel, answer)
                self._learn(answers)

    def _learn(self, answers: Sequence[Answer]) -> None:
        last = answers[-1]
        self.unknown = self.unknown + 1 if last.outcome is Outcome.UNCERTAIN else 0
        waiting = last.outcome is Outcome.DEFERRED and last.scope is Scope.SERVER
        if waiting or self.unknown == UNKNOWN_IN_A_ROW:
            text = f"not tried after: {last.text}"[:LONGEST_TEXT]
            self.pause = replace(last, outcome=Outcome.DEFERRED, text=text, scope=Scope.SERVER)


class HttpBackend:
    """Base of the providers. Subclasses set the class variables and fill in the methods below.

    `timeout`: seconds to wait for each answer. `connections`: how many calls at once; `call`, `accepted` and
    `refusal` are then called from several threads. `sleep` is for tests.
    """

    name: str
    batch_size: ClassVar[int] = 1
    """The most parcels in one call, where the provider has a batch call."""
    eight_bit: ClassVar[bool] = True

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 30.0,
        connections: int = 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.connections = connections
        self._sleep = sleep
        self._wire: Wire | None = None

    @abstractmethod
    def call(self, parcels: Sequence[Any]) -> Call:
        """Return the request that hands these parcels over, at most `batch_size` of them."""

    @abstractmethod
    def accepted(self, reply: Reply, parcels: Sequence[Any]) -> Sequence[Answer]:
        """Return how a 2xx ended for each parcel, in their order: some providers refuse inside it."""

    def refusal(self, reply: Reply, parcels: Sequence[Any]) -> Answer | Sequence[Answer] | None:
        """Return what a 4xx or 5xx means, for all parcels or one for each; None: the rules of this module.

        For what the provider documents more exactly than HTTP does: a dead address, a request that may be
        repeated, an account that is used up (raise DeliveryError; none of the parcels was sent then).
        """
        del reply, parcels
        return None

    def batches(self, parcels: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Give the parcels in portions that one call takes. Overridden where not all fit into one call."""
        for start in range(0, len(parcels), self.batch_size):
            yield parcels[start : start + self.batch_size]

    def open(self) -> None:
        """Get ready; nothing is sent."""
        if self._wire is None:
            self._wire = Wire(self.connections, self.timeout)

    def close(self) -> None:
        """Close the connections; never raises."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def hand_over(self, parcels: Sequence[Parcel], begin: Begin, done: Done) -> None:
        """Hand parcels over, a batch a call; see the rules at the top of this module.

        `begin` and `done` are called from the caller's thread alone. Raises DeliveryError where the provider
        refuses the account or is not one; what was begun by then is done.
        """
        from concurrent.futures import ThreadPoolExecutor

        self.open()
        assert self._wire is not None  # noqa: S101 - just opened
        self._wire.refresh()
        calls = _Calls(done)
        with ThreadPoolExecutor(self.connections) as pool:
            for batch in self.batches(parcels):
                if calls.failure:
                    break
                if calls.pause:
                    for parcel in batch:
                        done(parcel, calls.pause)
                    continue
                going = []
                for parcel in batch:
                    if begin(parcel):
                        going.append(parcel)
                    else:
                        done(parcel, Answer(Outcome.WITHDRAWN, "withdrawn before it was sent"))
                if going:
                    calls.running[pool.submit(self._answers, going)] = going
                calls.settle(at_most=self.connections - 1)
            calls.settle(at_most=0)
        if calls.failure:
            raise calls.failure

    def _answers(self, parcels: Sequence[Any]) -> _End:
        """Hand one batch over; return how it ended and, where all else would fail too, why."""
        try:
            call = self.call(parcels)
            reply = self._reply(call)
            if isinstance(reply, Answer):
                return [reply] * len(parcels), None
            if reply.status // 100 == 2:
                return self._read(reply, parcels), None
            found = self.refusal(reply, parcels)
            if found is None:
                found = self._by_status(reply)
        except DeliveryError as error:
            unsent = Answer(Outcome.DEFERRED, str(error)[:LONGEST_TEXT], scope=Scope.SERVER)
            return [unsent] * len(parcels), error
        return [found] * len(parcels) if isinstance(found, Answer) else found, None

    def _reply(self, call: Call) -> Reply | Answer:
        """Make the call, again where that is safe and may help; an Answer where there is no reply."""
        assert self._wire is not None  # noqa: S101 - hand_over opened it
        # Once a try ended so that nobody knows, no later try but a success says how the call ended.
        unknown = ""
        for tried in range(MORE_TRIES + 1):
            last = tried == MORE_TRIES
            try:
                reply = self._wire.send(self.base_url, call)
            except Unsent as error:
                if last and unknown:
                    return Answer(Outcome.UNCERTAIN, unknown)
                if last:
                    return Answer(Outcome.DEFERRED, str(error), scope=Scope.SERVER)
            except Unanswered as error:
                unknown = str(error)
                if last or not call.idempotent:
                    return Answer(Outcome.UNCERTAIN, unknown)
            else:
                if last or not call.idempotent or reply.status // 100 != 5 or reply.status == 503:
                    break
                unknown = reply.text
            self._sleep(0.5 * 4**tried)
        if unknown and reply.status // 100 != 2:
            return Answer(Outcome.UNCERTAIN, f"{unknown}; again: {reply.text}"[:LONGEST_TEXT], reply.status)
        return reply

    def _read(self, reply: Reply, parcels: Sequence[Any]) -> Sequence[Answer]:
        """Read a 2xx; what cannot be read was taken, by the status, but nobody can say which."""
        try:
            answers = self.accepted(reply, parcels)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, DeliveryError) as error:
            answers = []
            words = f"an answer that cannot be read ({error!r}): {reply.text}"[:LONGEST_TEXT]
        else:
            words = f"an answer for {len(answers)} of {len(parcels)} messages: {reply.text}"[:LONGEST_TEXT]
        if len(answers) != len(parcels):
            return [Answer(Outcome.UNCERTAIN, words, code=reply.status)] * len(parcels)
        return answers

    def _by_status(self, reply: Reply) -> Answer:
        status = reply.status
        if status in (401, 402, 403):
            raise DeliveryError(
                f"{self.name} refuses our account: {reply.text}; check the key under delivery.{self.name}"
                " in project.yaml and the account's state"
            )
        if status // 100 == 3 or status in (404, 405):
            place = reply.headers.get("Location", "")
            raise DeliveryError(
                f"{self.base_url} is not the API of {self.name}: {reply.text} {place}".rstrip()
                + f"; check delivery.{self.name} in project.yaml"
            )
        if status in (408, 425, 429, 503):
            wait_for = retry_after(reply.headers)
            return Answer(Outcome.DEFERRED, reply.text, status, None, wait_for, Scope.SERVER)
        return Answer(Outcome.UNCERTAIN if status // 100 != 4 else Outcome.REFUSED, reply.text, status)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """Return the wait that a Retry-After header asks for (RFC 9110, 10.2.3), at most six hours; None without.

    `now`: for a header that gives a date; the answer's own Date header where it is left out.
    """
    from email.utils import parsedate_to_datetime

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


def api_key(variable: str, setting: str) -> str:
    """Return a key from an environment variable. Raises DeliveryError where it is missing or no key at all."""
    key = needed_secret(variable, setting)
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise DeliveryError(
            f"the environment variable {variable} ({setting} in project.yaml) has spaces, line ends or letters"
            " beyond ASCII, as no key has; set it to the key alone"
        )
    return key


def mailbox(name: str | None, address: str) -> str:
    """Return `"Name" <address>` as mail writes it (RFC 5322), for providers that take one string."""
    if not name:
        return address
    escaped = "".join(c for c in name if c.isprintable()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'
