"""Fetch what came back into the table `inbox`, from where `responses.inbox` works on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from drumbeat.clock import Clock
from drumbeat.delivery.mailbox_settings import BounceMailbox
from drumbeat.responses.arrived import store_mail
from drumbeat.responses.bounces.mailboxes import open_mailbox


@dataclass(frozen=True)
class Fetched:
    """`taken`: out of the mailbox; `new`: of these, not stored before; `left`: still in the mailbox."""

    taken: int = 0
    new: int = 0
    left: int = 0


def collect(engine: Engine, settings: BounceMailbox, root: Path, clock: Clock) -> Fetched:
    """Store every mail of the mailbox and take it out there. Each one is committed before it goes.

    Raises DeliveryError where the mailbox cannot be used, StoreError where the database cannot: what is not
    stored stays in the mailbox.
    """
    new = 0

    def keep(raw: bytes, _source: str) -> bool:
        nonlocal new
        # An empty file is no mail, and must not come up again and again.
        new += bool(raw.strip()) and store_mail(engine, raw, clock.now())
        return True

    done = open_mailbox(settings, root).collect(keep)
    return Fetched(done.taken, new, done.left)
