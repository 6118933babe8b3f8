"""Fixtures: a mail, and servers that last as long as the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from servers.smtp import Certificate, RunningServer, make_certificate, smtp_server

from drumbeat.delivery import Mail
from drumbeat.delivery.smtp import SmtpBackend
from drumbeat.delivery.smtp_connect import SmtpServer

Serve = Callable[..., RunningServer]
Connect = Callable[..., SmtpBackend]


def _mail(to: str = "reader@example.com", body: str = "Hello\r\n", key: str = "k1") -> Mail:
    """A small mail."""
    head = f"From: shop@example.com\r\nTo: {to}\r\nSubject: Hi\r\nMessage-ID: <{key}@example.com>\r\n\r\n"
    return Mail(key, "shop@example.com", to, (head + body).encode())


@pytest.fixture
def mail() -> Mail:
    """A small mail."""
    return _mail()


@pytest.fixture
def make_mail() -> Callable[..., Mail]:
    """Make small mails: `make_mail(to, body, key)`."""
    return _mail


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers: `serve("--smtputf8", script={...})`."""
    with ExitStack() as stack:

        def start(*options: str, script: dict[str, Any] | None = None) -> RunningServer:
            return stack.enter_context(smtp_server(tmp_path / "mails.jsonl", *options, script=script))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make backends that are closed after the test: `connect(server, timeout=1)`."""
    backends: list[SmtpBackend] = []

    def make(server: RunningServer, **settings: Any) -> SmtpBackend:
        backends.append(SmtpBackend(SmtpServer("127.0.0.1", server.port, **{"timeout": 5, **settings})))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1 with its CA."""
    return make_certificate(tmp_path_factory.mktemp("tls"))
