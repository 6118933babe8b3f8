"""Erasing while everything else goes on: deliveries, plans, imports, unsubscribes; nobody waits for ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import pytest
from privacy.crowd import SECRET
from servers.shop import fill, make_shop
from sqlalchemy import Engine, select

from drumbeat.clock import FixedClock
from drumbeat.delivery import Answer, Begin, Done, Mail, Outcome
from drumbeat.document import parse_document
from drumbeat.errors import UsageError
from drumbeat.ingest.load import import_file
from drumbeat.ingest.mapping import parse_mapping
from drumbeat.outbox.deliver import deliver
from drumbeat.planning.plan import plan
from drumbeat.privacy.erase import Terms, erase
from drumbeat.privacy.keys import erased_of
from drumbeat.privacy.retention import ERASED as ERASED_ONES
from drumbeat.privacy.retention import retain
from drumbeat.project.load import Project, load_project
from drumbeat.project.privacy import Retention
from drumbeat.responses.kinds import Kind
from drumbeat.responses.record import Response
from drumbeat.responses.suppress import unsubscribe
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customers, messages, metadata

READERS, ERASED = 60, 20


@dataclass
class SlowBackend:
    """Accepts every mail after a moment, and remembers when its content left."""

    name: str = "slow"
    eight_bit: bool = False
    left: dict[str, float] = field(default_factory=dict)

    def open(self) -> None:
        """Nothing to get ready."""

    def close(self) -> None:
        """Nothing to let go of."""

    def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
        for mail in parcels:
            if not begin(mail):
                done(mail, Answer(Outcome.WITHDRAWN))
                continue
            sleep(0.02)
            assert mail.envelope_to not in self.left, "nobody gets a mail twice"
            self.left[mail.envelope_to] = monotonic()
            done(mail, Answer(Outcome.ACCEPTED, f"250 2.0.0 <{mail.envelope_to}> ok"))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A shop; everybody's carts are of the campaign."""
    monkeypatch.setenv("DRUMBEAT_SECRET", SECRET)
    return load_project(make_shop(tmp_path / "shop"))


def rows_of(store: Engine, name: str) -> list[Any]:
    with reading(store) as connection:
        return list(connection.execute(select(metadata.tables[name])).all())


def text_of(store: Engine) -> str:
    return json.dumps([[tuple(row) for row in rows_of(store, name)] for name in metadata.tables], default=str)


def import_again(store: Engine, shop: Project, now: datetime) -> None:
    """The shop's own file still names everybody."""
    file = shop.root / "in.csv"
    file.write_text("id,mail\n" + "".join(f"c{n},r{n}@example.com\n" for n in range(1, READERS + 1)))
    mapping = parse_mapping(
        parse_document("into: customers\ncolumns: {external_id: id, email: mail}\n", Path("m"))
    )
    import_file(store, file, mapping, loaded_at=now, erased=erased_of(shop))


def unsubscribe_all(store: Engine, now: datetime) -> None:
    with reading(store) as connection:
        ids = (
            connection.execute(select(messages.c.id).order_by(messages.c.id.desc()).limit(20)).scalars().all()
        )
    hits = [Response(i, Kind.UNSUBSCRIBED, now, f"unsubscribed:{i}", raw={"scope": "topic"}) for i in ids]
    with writing(store) as connection:
        unsubscribe(connection, hits, source="link")


@pytest.mark.slow
def test_no_content_leaves_for_a_person_once_their_erasure_is_done(
    store: Engine, shop: Project, now: datetime
) -> None:
    fill(store, READERS, now)
    backend, clock = SlowBackend(), FixedClock(now)
    stop, faults = Event(), []

    def again_and_again(work: Callable[[], Any]) -> Callable[[], None]:
        def go() -> None:
            while not stop.is_set():
                try:
                    work()
                except BaseException as fault:  # noqa: BLE001 - told by the test
                    faults.append(fault)
                    return

        return go

    others = [
        lambda: deliver(store, shop, clock=clock, backend=backend, limit=7),
        lambda: deliver(store, shop, clock=clock, backend=backend, limit=5),
        lambda: plan(store, shop, as_of=now),
        lambda: unsubscribe_all(store, now),
    ]
    threads = [Thread(target=again_and_again(work)) for work in others]
    for thread in threads:
        thread.start()
    erased_at: dict[str, float] = {}
    try:
        terms = Terms.of(shop, now, "tester")
        for number in range(READERS, READERS - ERASED, -1):
            erase(store, f"c{number}", terms)
            erased_at[f"r{number}@example.com"] = monotonic()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert faults == []
    assert not any(thread.is_alive() for thread in threads)
    late = [a for a, at in erased_at.items() if backend.left.get(a, 0) > at]
    assert late == []
    deliver(store, shop, clock=clock, backend=backend)
    # An unsubscribe that was half done when its reader was erased may suppress the address a moment later.
    swept = {one.rule: one.rows for one in retain(store, Retention(), terms).outcomes if one.rows}
    assert set(swept) <= {ERASED_ONES}
    left = text_of(store)
    for number in range(READERS - ERASED + 1, READERS + 1):
        assert f'"r{number}@example.com' not in left
        assert f'"c{number}"' not in left
        assert f"cart:a{number}" not in left
    with reading(store) as connection:
        states = set(connection.execute(select(messages.c.state).distinct()).scalars())
        stubs = connection.execute(select(customers.c.external_id)).scalars().all()
    assert states <= {"sent", "skipped"}
    assert sum(name.startswith("erased:") for name in stubs) == ERASED


@pytest.mark.slow
def test_an_import_at_the_same_time_brings_nobody_back_with_mail(
    store: Engine, shop: Project, now: datetime
) -> None:
    """Whoever is first: the erased one is gone, or is there again and suppressed."""
    import_again(store, shop, now)
    faults: list[BaseException] = []
    stop = Event()

    def imports() -> None:
        try:
            while not stop.is_set():
                import_again(store, shop, now)
        except BaseException as fault:  # noqa: BLE001 - told by the test
            faults.append(fault)

    thread = Thread(target=imports)
    thread.start()
    try:
        terms = Terms.of(shop, now, "tester")
        for number in range(1, ERASED):
            for _ in range(2):
                with suppress(UsageError):  # not yet brought back
                    erase(store, f"c{number}", terms)
    finally:
        stop.set()
        thread.join(60)
    assert faults == []
    import_again(store, shop, now)
    with reading(store) as connection:
        suppressions = metadata.tables["suppressions"]
        kept = set(connection.execute(select(suppressions.c.email_key)).scalars())
        known = set(connection.execute(select(customers.c.email_key)).scalars())
    for number in range(1, ERASED):
        assert f"r{number}@example.com" in known & kept
