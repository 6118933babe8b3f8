"""The audit log: who of us did what to whose data. Append-only."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from drumbeat.store.tables import audit

ACTOR = "DRUMBEAT_ACTOR"
"""Names who acts, where the user of the operating system does not: in a container, or behind a web page."""


def actor() -> str:
    """Return who acts: DRUMBEAT_ACTOR, else the user of the operating system."""
    given = os.environ.get(ACTOR, "").strip()
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry in passwd
        return f"uid {os.getuid()}"


def note(
    connection: Connection,
    at: datetime,
    actor: str,
    action: str,
    subject: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write one entry, in the transaction of what was done: neither is without the other.

    `action`: such as `suppressions remove`. `subject`: whose data, such as an address or a customer's id.
    `detail`: what else is worth knowing, small and JSON.
    """
    connection.execute(
        insert(audit).values(
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            detail=dict(detail) if detail is not None else None,
        )
    )
