"""Fixtures: a mail, servers that last as long as the test, and a caller that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from servers.smtp import Certificate, RunningServer, make_certificate, smtp_server

from drumbeat.delivery import Answer, Mail
from drumbeat.delivery.smtp import SmtpBackend
from drumbeat.delivery.smtp_connect import SmtpServer

Serve = Callable[..., RunningServer]
Connect = Callable[..., SmtpBackend]


def _mail(
    to: str = "reader@example.com",
    body: str = "Hello\r\n",
    key: str = "k1",
    sender: str = "shop@example.com",
    **more: Any,
) -> Mail:
    """A small mail."""
    head = f"From: shop@example.com\r\nTo: {to}\r\nSubject: Hi\r\nMessage-ID: <{key}@example.com>\r\n\r\n"
    return Mail(key, sender, to, (head + body).encode(), **more)


class Caller:
    """What the send loop is to a backend: says yes in `begin` but to the keys in `withdraw`, and remembers."""

    def __init__(self, withdraw: Sequence[str] = ()) -> None:
        self.withdraw = withdraw
        self.events: list[tuple[str, str]] = []
        self.answers: dict[str, Answer] = {}

    def begin(self, mail: Mail) -> bool:
        """Remember that the content of `mail` is about to go out."""
        self.events.append(("begin", mail.key))
        return mail.key not in self.withdraw

    def done(self, mail: Mail, answer: Answer) -> None:
        """Remember how it ended; once for each mail."""
        assert mail.key not in self.answers, f"{mail.key} ended twice"
        self.events.append(("done", mail.key))
        self.answers[mail.key] = answer

    def hand(self, backend: Any, *mails: Mail) -> list[Answer]:
        """Hand mails over and return how they ended, in their order."""
        backend.hand_over(mails, self.begin, self.done)
        return [self.answers[mail.key] for mail in mails]

    @property
    def begun(self) -> list[str]:
        """Return the keys of the mails whose content was about to go out, in that order."""
        return [key for event, key in self.events if event == "begin"]

    def in_order(self) -> bool:
        """Say whether, on one connection, each mail that was begun ended before the next was begun."""
        open_key = None
        for event, key in self.events:
            if event == "begin":
                if open_key is not None:
                    return False
                open_key = key
            elif key == open_key:
                open_key = None
        return open_key is None


@pytest.fixture
def caller() -> Caller:
    """A caller that agrees to everything."""
    return Caller()


@pytest.fixture
def make_caller() -> type[Caller]:
    """Make callers: `make_caller(withdraw=["k1"])`."""
    return Caller


@pytest.fixture
def mail() -> Mail:
    """A small mail."""
    return _mail()


@pytest.fixture
def make_mail() -> Callable[..., Mail]:
    """Make small mails: `make_mail(to, body, key)`."""
    return _mail


@pytest.fixture
def make_mails() -> Callable[[int], list[Mail]]:
    """Make `count` small mails to r0@, r1@, …, whose keys are the numbers."""
    return lambda count: [_mail(f"r{n}@example.com", key=str(n)) for n in range(count)]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers: `serve("--smtputf8", script={...}, log="b.jsonl")`."""
    with ExitStack() as stack:

        def start(
            *options: str, script: dict[str, Any] | None = None, log: str = "mails.jsonl"
        ) -> RunningServer:
            return stack.enter_context(smtp_server(tmp_path / log, *options, script=script))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make backends that are closed after the test: `connect(server, timeout=1)`; `now` is the backend's clock."""
    backends: list[SmtpBackend] = []

    def make(*servers: RunningServer, now: Callable[[], float] | None = None, **settings: Any) -> SmtpBackend:
        places = [
            SmtpServer("127.0.0.1", server.port, **{"timeout": 5, "content_timeout": 5, **settings})
            for server in servers
        ]
        backends.append(SmtpBackend(*places, **({"now": now} if now else {})))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1 with its CA."""
    return make_certificate(tmp_path_factory.mktemp("tls"))
