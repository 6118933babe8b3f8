"""Erase a person: what tells who it was goes, in one transaction; what figures are counted from stays.

Customer rows become anonymous stubs, orders and messages keep their numbers and lose their names. The addresses stay
suppressed by their keyed hashes (`store.erased`). Nobody plans, imports, merges persons or begins a hand-over
meanwhile: the locks of all of these are held. A message that is in the middle of its hand-over is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine, select

from drumbeat.errors import StoreError, UsageError
from drumbeat.ingest import people
from drumbeat.ingest.people import PEOPLE
from drumbeat.ledger.cap import lock_sender
from drumbeat.privacy.anonymous import Anonymous
from drumbeat.privacy.inbox import Scan, scan
from drumbeat.privacy.keys import erased_of, link_secrets
from drumbeat.privacy.names import Names
from drumbeat.privacy.person import Person, find_person, person_of
from drumbeat.privacy.progress import Busy, calls_to_empty, refuse_hand_over
from drumbeat.privacy.tokens import names_of
from drumbeat.project.load import Project
from drumbeat.store.audit import note
from drumbeat.store.dialect.locks import lock
from drumbeat.store.dialect.space import overwrite_deleted
from drumbeat.store.engine import reading, writing
from drumbeat.store.erased import Erased
from drumbeat.store.tables import customers

WAIT_S = 30.0
"""So long a hand-over in progress is waited for: a chunk of mails takes seconds."""

LOOK_AGAIN_S = 0.5
BY = "customer erase"


@dataclass(frozen=True)
class Terms:
    """What every erasure of a run goes by.

    `secrets`: that names of messages are signed with; `senders`: of the project. `action`: for the audit log; None:
    the caller writes it. `thorough`: look for them also where that takes its time, however large the table: in calls
    and mails, in other people's messages, in details of the audit log.
    `remember`: keep the addresses as erased ones, so that no mail goes to them again; else only those that were
    suppressed before.
    """

    erased: Erased
    secrets: Sequence[bytes]
    senders: Sequence[str]
    at: datetime
    actor: str
    action: str | None = BY
    remember: bool = True
    thorough: bool = True

    @classmethod
    def of(cls, project: Project, at: datetime, actor: str) -> Terms:
        """Return the terms of a project. Raises UsageError where its secrets cannot be used."""
        return cls(erased_of(project), link_secrets(project), tuple(project.config.senders), at, actor)


@dataclass
class Erasure:
    """What became of a person. `rows`: by table, how many were changed or deleted; `withdrawn`: messages that waited.

    `stub`: the name of what is left of them, also in the audit log. `remembered`: addresses kept as hashes.
    """

    stub: str
    customers: list[str]
    addresses: list[str]
    shared: list[str]
    withdrawn: int
    remembered: int
    rows: dict[str, int] = field(default_factory=dict)


class _RollBack(Exception):  # noqa: N818 - not an error: the way out of a dry run's transaction
    pass


def erase(
    engine: Engine,
    asked: str | int,
    terms: Terms,
    *,
    dry_run: bool = False,
    wait_s: float = WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Erasure:
    """Erase a person, named as `find_person` takes it, or by the id of a customer row; with `dry_run`, keep nothing.

    Waits `wait_s` for what is in progress. Raises UsageError where nobody is known by that, Busy (a StoreError) where
    a message to them is still being handed over, or a call about them still waits to be worked on.
    """
    left = wait_s
    seen = _look_through(engine, asked, terms)
    while True:
        try:
            return _once(engine, asked, terms, seen, dry_run=dry_run)
        except StoreError as error:
            # Two transactions that wait for each other: the database has ended ours, and it can begin again.
            passes = isinstance(error, Busy) and error.passes
            if left <= 0 or not (passes or "deadlock" in str(error)):
                raise
        left -= LOOK_AGAIN_S
        sleep(LOOK_AGAIN_S)


def _look_through(engine: Engine, asked: str | int, terms: Terms) -> tuple[Names, Scan]:
    """Find the rows of the inbox that name them, before anybody has to wait for us."""
    with reading(engine) as connection:
        names = names_of(connection, _person(connection, asked, terms.erased), terms.secrets)
        return names, scan(connection, names) if terms.thorough else Scan(0, ())


def _once(
    engine: Engine, asked: str | int, terms: Terms, seen: tuple[Names, Scan], *, dry_run: bool
) -> Erasure:
    done: Erasure | None = None
    try:
        with writing(engine) as connection:
            overwrite_deleted(connection)
            _alone(connection, terms.senders)
            done = _erase(connection, asked, terms, *seen)
            if dry_run:
                raise _RollBack
    except _RollBack:
        pass
    assert done is not None  # noqa: S101 - whatever came in between has left by an error
    return done


def _alone(connection: Connection, senders: Iterable[str]) -> None:
    """Keep imports, planners and hand-overs out until the transaction ends, in the order in which they lock."""
    lock(connection, "import")
    for sender in sorted(set(senders)):
        lock_sender(connection, sender)
    lock(connection, PEOPLE)


def _erase(connection: Connection, asked: str | int, terms: Terms, looked_for: Names, seen: Scan) -> Erasure:
    if connection.execute(select(customers.c.id).where(customers.c.person_id.is_(None)).limit(1)).first():
        people.assign(connection)
    person = _person(connection, asked, terms.erased)
    names = names_of(connection, person, terms.secrets)
    begun = seen if names.same_as(looked_for) else Scan(0, ())
    refuse_hand_over(connection, person)
    calls = calls_to_empty(connection, person, names, begun, terms.at) if terms.thorough else []
    work = Anonymous(connection, person, names, at=terms.at, actor=terms.actor)
    kept = work.suppressed() if not terms.remember else sorted(person.addresses)
    work.make(calls, thorough=terms.thorough)
    terms.erased.remember(connection, kept, terms.at)
    done = Erasure(
        work.stub,
        person.external_ids,
        sorted(person.addresses),
        sorted(person.shared),
        work.withdrawn,
        len(kept),
        dict(sorted(work.rows.items())),
    )
    detail = {
        "rows": done.rows,
        "withdrawn": done.withdrawn,
        "customers": len(person.rows),
        "addresses": len(kept),
    }
    if terms.action is not None:
        note(connection, terms.at, terms.actor, terms.action, work.stub, detail)
    return done


def _person(connection: Connection, asked: str | int, erased: Erased) -> Person:
    if isinstance(asked, str):
        return find_person(connection, asked, erased)
    row = connection.execute(select(customers).where(customers.c.id == asked)).first()
    if row is None:
        raise UsageError(f"there is no customer row {asked}")
    return person_of(connection, row, row.external_id)
