"""The real mails, and a way to read one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from drumbeat.responses.bounces import read_mail
from drumbeat.responses.webhooks import Event

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared" / "data" / "bounces"
"""229 real mails with another project's verdicts; it stands beside the repository, not in it."""


@pytest.fixture(scope="session")
def here() -> Path:
    """The folder of these tests."""
    return HERE


@pytest.fixture(scope="session")
def shared() -> Path:
    """The whole set, or skip."""
    if not (SHARED / "expected.json").is_file():
        pytest.skip(f"no set of real bounces at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def real_mails() -> list[bytes]:
    """The real mails that come with the repository."""
    return [path.read_bytes() for path in sorted((HERE / "messages").glob("*.eml"))]


@pytest.fixture
def read(now: datetime) -> Callable[[str | bytes], Sequence[Event]]:
    """Read a mail written as text: `read("From: ...\\n\\nbody")`."""

    def read_one(mail: str | bytes) -> Sequence[Event]:
        return read_mail(mail.encode() if isinstance(mail, str) else mail, now)

    return read_one
