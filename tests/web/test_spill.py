"""What must hold while the database is away, and when it is back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from time import monotonic

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from drumbeat.responses.arrived import Arrived
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, hit_key
from drumbeat.responses.webhooks import Verified
from drumbeat.store.engine import connect
from drumbeat.web.spill import Spill
from drumbeat.web.writer import Kept, Writer

TARGET = "https://shop.example.com/sale"


@contextmanager
def away(engine: Engine) -> Iterator[None]:
    """Take the database away: PostgreSQL refuses all connections, SQLite is locked by another program."""
    if engine.dialect.name == "sqlite":
        other = sqlite3.connect(engine.url.database or "", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()
        return
    name = make_url(engine.url).database
    admin = create_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": name},
        )
    try:
        yield
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        admin.dispose()


def spilled(server):
    return Spill(server.folder / "spill").waiting()


@pytest.mark.slow
def test_while_the_database_is_away_readers_are_led_on_and_nothing_is_lost(server, scene, until):
    reader = scene.customer()
    scene.consent(reader)
    message = scene.message(reader)
    with away(scene.engine):
        answer = server.get(server.links.click(message, TARGET))
        assert (answer.status_code, answer.headers["Location"]) == (302, TARGET)
        assert server.get(server.links.open(message)).status_code == 200
        assert server.one_click(message).status_code == 200
        assert spilled(server) == 3
    until(lambda: scene.count("responses") == 3)
    until(lambda: spilled(server) == 0)
    assert sorted(row.kind for row in scene.rows("responses")) == ["clicked", "opened", "unsubscribed"]
    assert scene.count("suppressions") == 1
    assert [row.granted for row in scene.rows("consents")] == [False]
    assert server.get("/health").json()["status"] == "ok"


def test_where_nothing_can_be_kept_a_click_is_led_on_and_an_unsubscribe_says_so(serve, tmp_path):
    engine = connect(f"sqlite:///{tmp_path / 'empty.db'}")
    (tmp_path / ".drumbeat").write_text("a file where the folder should be")
    with serve(engine) as server:
        assert server.get(server.links.click(7, TARGET)).status_code == 302
        refused = server.one_click(7)
        assert refused.status_code == 503
        assert "Please try again" in refused.text
    engine.dispose()


def hit(message, at, kind=Kind.CLICKED):
    return Response(
        message, kind, at, hit_key(message, kind, at), Actor.UNKNOWN, TARGET, {"rule": "", "a": "é"}
    )


def test_what_an_earlier_server_spilled_is_read_back_at_the_start(serve, scene, until, tmp_path):
    message = scene.message(scene.customer())
    spill = Spill(tmp_path / ".drumbeat" / "spill")
    hits = [hit(message, scene.at(hour)) for hour in range(3)]
    spill.append(hits[:2])
    spill.take()
    spill.append(hits[1:])
    with serve(scene.engine) as server:
        until(lambda: spilled(server) == 0)
    assert sorted(row.at for row in scene.rows("responses")) == [h.at for h in hits]
    assert {row.loaded_at for row in scene.rows("responses")} == {h.at for h in hits}


def test_a_spilled_response_comes_back_as_it_was(tmp_path, now):
    spill = Spill(tmp_path / "spill")
    hits = [hit(1, now), hit(2, now + timedelta(microseconds=1), Kind.UNSUBSCRIBED)]
    spill.append(hits)
    (taken,) = spill.take()
    assert list(spill.read(taken, 10)) == [hits]
    spill.forget(taken)
    assert (spill.take(), spill.waiting()) == ([], 0)


def test_a_line_cut_off_by_a_power_cut_is_set_aside_and_the_next_ones_stay_whole(tmp_path, now):
    spill = Spill(tmp_path / "spill")
    spill.append([hit(1, now)])
    with (tmp_path / "spill" / "responses.jsonl").open("ab") as file:
        file.write(b'{"message_id": 2, "ki')
    spill.append([hit(3, now)])
    (taken,) = spill.take()
    assert [found.message_id for (found,) in spill.read(taken, 1)] == [1, 3]
    assert (tmp_path / "spill" / "unreadable.jsonl").read_bytes() == b'{"message_id": 2, "ki\n'


def test_a_spilled_call_comes_back_as_it_was_whatever_its_bytes(tmp_path, now):
    spill = Spill(tmp_path / "spill")
    call = Arrived("ses", "ses:1", now, b"\xff\0\n{}", {"content-type": "application/json"})
    spill.append([call, hit(1, now)])
    (taken,) = spill.take()
    assert list(spill.read(taken, 10)) == [[call, hit(1, now)]]


def test_lines_of_an_earlier_version_are_read(tmp_path, now):
    spill = Spill(tmp_path / "spill")
    spill.append([hit(1, now)])
    (taken,) = spill.take()
    line = json.loads(taken.read_text())
    for new in ("email_key", "bounce", "reason", "source"):
        del line[new]
    taken.write_text(json.dumps(line) + "\n")
    assert list(spill.read(taken, 10)) == [[hit(1, now)]]


def test_what_no_database_takes_is_set_aside_when_it_is_read_back(serve, scene, until, tmp_path):
    message = scene.message(scene.customer())
    spill = Spill(tmp_path / ".drumbeat" / "spill")
    bad = replace(hit(message, scene.at(1)), url="https://a.example/\0", dedupe_key="bad\0")
    spill.append([hit(message, scene.at(2)), bad, hit(message, scene.at(3))])
    with serve(scene.engine) as server:
        until(lambda: spilled(server) == 0)
    assert scene.count("responses") >= 2
    aside = tmp_path / ".drumbeat" / "spill" / "unreadable.jsonl"
    if scene.engine.dialect.name == "postgresql":  # which takes no NUL
        assert json.loads(aside.read_text())["dedupe_key"] == "bad\0"


def test_a_call_while_the_database_is_away_is_answered_and_read_back(serve, scene, until):
    class Trusting:
        name = "trusting"

        def verify(self, call):
            return Verified(call.body.decode())

    with serve(scene.engine, webhooks={"trusting": Trusting()}) as server:
        with away(scene.engine):
            for body in ("one", "two", "one"):
                assert server.request("POST", "/hooks/trusting", data=body).status_code == 200
            assert spilled(server) == 3
        until(lambda: scene.count("inbox") == 2)
        until(lambda: spilled(server) == 0)
    assert sorted(bytes(row.body) for row in scene.rows("inbox")) == [b"one", b"two"]


def test_a_call_that_can_be_kept_nowhere_is_refused_so_that_it_comes_again(serve, tmp_path):
    class Trusting:
        name = "trusting"

        def verify(self, call):
            return Verified("x")

    engine = connect(f"sqlite:///{tmp_path / 'empty.db'}")
    (tmp_path / ".drumbeat").write_text("a file where the folder should be")
    with serve(engine, webhooks={"trusting": Trusting()}) as server:
        assert server.request("POST", "/hooks/trusting", data=b"x").status_code == 503
    engine.dispose()


@pytest.mark.slow
def test_nobody_waits_much_longer_than_two_seconds_for_a_slow_database(server, scene, until):
    sent = [scene.message(scene.customer(), hours=-1) for _ in range(3)]
    with away_slowly(scene.engine):
        waits = []
        for message in sent:
            started = monotonic()
            assert server.get(server.links.open(message)).status_code == 200
            waits.append(monotonic() - started)
        assert max(waits) < 4
        assert waits[-1] < 1, "once it is known to be stuck nobody waits"
    until(lambda: {row.message_id for row in scene.rows("responses")} == set(sent))


@contextmanager
def away_slowly(engine: Engine) -> Iterator[None]:
    """Let the database take connections and answer none: another holds the lock on its responses."""
    if engine.dialect.name == "sqlite":
        with away(engine):
            yield
        return
    other = create_engine(engine.url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE responses IN ACCESS EXCLUSIVE MODE"))
        yield
    other.dispose()


def test_without_a_folder_nothing_waits_and_none_is_made(tmp_path):
    spill = Spill(tmp_path / "spill")
    assert (spill.take(), spill.waiting()) == ([], 0)
    assert not (tmp_path / "spill").exists()


def keep_all(engine, folder, items):
    """Give items to a writer before it starts, so that they share a batch; return where each is kept."""

    async def run():
        writer = Writer(engine, Spill(folder))
        kept = [writer.keep(item) for item in items]
        writer.start()
        await writer.close()
        return [future.result() for future in kept]

    return asyncio.run(run())


def test_a_row_that_no_database_takes_does_not_take_its_neighbours_along(store, scene, tmp_path):
    message = scene.message(scene.customer())
    bad = replace(hit(message, scene.at(2)), at=scene.at(2).replace(tzinfo=None), dedupe_key="x")
    kept = keep_all(store, tmp_path / "spill", [hit(message, scene.at(1)), bad, hit(message, scene.at(3))])
    assert kept == [Kept.STORED, Kept.NOWHERE, Kept.STORED]
    assert sorted(row.at for row in scene.rows("responses")) == [scene.at(1), scene.at(3)]


def test_closing_stores_what_was_submitted(store, scene, tmp_path):
    message = scene.message(scene.customer())
    kept = keep_all(store, tmp_path / "spill", [hit(message, scene.at(hour)) for hour in range(1_500)])
    assert set(kept) == {Kept.STORED}
    assert scene.count("responses") == 1_500
