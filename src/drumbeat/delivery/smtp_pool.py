"""What the connections of one hand-over share: the mails that wait, and what is known of each server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from drumbeat.delivery import Answer, Begin, Done, Mail, Outcome, Scope
from drumbeat.delivery.smtp_connect import SmtpServer, connect
from drumbeat.delivery.smtp_session import Session
from drumbeat.errors import DeliveryError

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
TROUBLES_IN_A_ROW = 2
"""So many mails may learn that the server takes nothing now; then the others are spared."""


@dataclass(slots=True, eq=False)
class Job:
    """A mail of this hand-over. `renewed`: it went over to a new connection once already."""

    mail: Mail
    renewed: bool = False


class Stopped(Exception):  # noqa: N818 - an event
    """The hand-over ends, because of an error on another connection."""


class Work:
    """The mails that wait, and the caller's `begin` and `done`, one call at a time."""

    def __init__(self, mails: Sequence[Mail], begin: Begin, done: Done) -> None:
        self._waiting = deque(Job(mail) for mail in mails)
        self._begin, self._done = begin, done
        self._one_at_a_time = threading.Lock()
        self.error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> Job | None:
        """Return the next mail; None where there is none, or the hand-over ends."""
        if self.error is not None:
            return None
        try:
            return self._waiting.popleft()
        except IndexError:  # another connection took the last one
            return None

    def give_back(self, job: Job) -> None:
        """Put a mail back that was not begun; it is the next one."""
        self._waiting.appendleft(job)

    def begin(self, job: Job) -> bool:
        """Ask the caller for the mail's point of no return. Raises Stopped, also for what the caller raises."""
        with self._one_at_a_time:
            if self.error is not None:
                raise Stopped
            try:
                return self._begin(job.mail)
            except BaseException as error:
                self.stop(error)
                raise Stopped from error

    def done(self, job: Job, answer: Answer) -> None:
        """Tell the caller how the mail ended. Raises Stopped for what the caller raises."""
        with self._one_at_a_time:
            try:
                self._done(job.mail, answer)
            except BaseException as error:
                self.stop(error)
                raise Stopped from error

    def stop(self, error: BaseException) -> None:
        """Let every connection end after the mail that it is at; the first error counts."""
        if self.error is None:
            self.error = error


@dataclass(eq=False)
class PoolServer:
    """What this process knows of one server. Times are in seconds of a clock that only runs forward.

    `allowed`: connections that may be used now; `budget`: mails that it may still be given, None for any number.
    `idle`: open connections that nobody uses. `eight_bit`: what the server said last; None before the first
    connection. `proven`: it has taken a mail of ours. Until `not_before` it is left out, or, where it is only
    `crowded`, no further connection is made; `fault` says why.
    """

    server: SmtpServer
    allowed: int
    budget: int | None = None
    idle: list[Session] = field(default_factory=list)
    eight_bit: bool | None = None
    proven: bool = False
    fault: str | None = None
    not_before: float = 0.0
    crowded: bool = False
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _failures: int = 0
    _troubles: int = 0

    @property
    def name(self) -> str:
        """Return `host:port`."""
        return str(self.server)

    def usable(self, now: float) -> int:
        """Return how many connections may be used now; 0 while it is left out, or may take no more mails.

        To be asked while no connection is in use.
        """
        if self.budget == 0:
            return 0
        if now >= self.not_before:
            return self.allowed
        return min(self.allowed, len(self.idle)) if self.crowded else 0

    def take(self, work: Work) -> Job | None:
        """Return the next mail that this server may be given; None where there is none."""
        with self._counting:
            if self.budget == 0 or (job := work.take()) is None:
                return None
            if self.budget is not None:
                self.budget -= 1
        return job

    def give_back(self, work: Work, job: Job) -> None:
        """Put a mail back that this server was not given after all."""
        with self._counting:
            if self.budget is not None:
                self.budget += 1
        work.give_back(job)

    def connection(self) -> Session:
        """Return an open connection: an idle one, or a new one. Raises DeliveryError."""
        try:
            return self.idle.pop()
        except IndexError:  # none idle, or another thread was quicker
            session = connect(self.server)
        self.eight_bit = session.offers.eight_bit
        return session

    def put_back(self, session: Session) -> None:
        """Keep a connection for later."""
        session.new = False
        self.idle.append(session)

    def close_idle(self, keep: int = 0) -> None:
        """Close idle connections but `keep` of them; never raises."""
        while len(self.idle) > keep:
            self.idle.pop().quit()

    def failed(self, error: DeliveryError, now: float) -> None:
        """Leave the server out for a while, each time for longer, or for as long as it asked.

        An error of connecting leaves out further connections only: it may have had enough of those. Where no
        other is open that is the same.
        """
        pause = min(FIRST_PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
        if isinstance(error, UnusableServerError):
            self.crowded = False
            pause = error.wait.total_seconds() if error.wait else pause
        else:
            self.crowded = self.crowded or now >= self.not_before
        self._failures, self._troubles = min(self._failures + 1, 16), 0
        self.fault, self.not_before = str(error), now + pause

    def learn(self, answer: Answer) -> None:
        """Note how a mail ended. Raises UnusableServerError where the server has had enough of us for now."""
        if answer.outcome is Outcome.ACCEPTED:
            self.proven, self._failures, self._troubles = True, 0, 0
        elif answer.outcome is Outcome.DEFERRED and answer.scope is Scope.SERVER:
            self._troubles += 1
            if self._troubles >= TROUBLES_IN_A_ROW:
                raise UnusableServerError(
                    f"the mail server {self.name} does not want us now: {answer.text}; try again later",
                    answer.retry_after,
                )


class UnusableServerError(DeliveryError):
    """A server takes our mails not now, or not at all; another may. `wait`: how long it asked us to."""

    def __init__(self, text: str, wait: timedelta | None = None) -> None:
        super().__init__(text)
        self.wait = wait
