"""Fixtures for every test: stores on both databases, instants, and the reference project."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from drumbeat.clock import FixedClock
from drumbeat.store.engine import connect
from drumbeat.store.tables import metadata

ROOT = Path(__file__).resolve().parent.parent
NO_POSTGRESQL = (
    "no PostgreSQL: set DRUMBEAT_TEST_DATABASE_URL or install the server's programs (initdb, pg_ctl)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes golden files anew instead of comparing with them."""
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew instead of comparing"
    )


NEEDED_IN_CI = ("postgresql", "smtp", "prefect", "browser")
"""Markers of tests that may be skipped on a machine without the server, but never where DRUMBEAT_NO_SKIP is set."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where DRUMBEAT_NO_SKIP says that everything needed is there."""
    report = yield
    needed = any(item.get_closest_marker(name) for name in NEEDED_IN_CI)
    if report.skipped and needed and os.environ.get("DRUMBEAT_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped, but DRUMBEAT_NO_SKIP is set: {call.excinfo.value if call.excinfo else ''}"
        )
    return report


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The reference project."""
    return ROOT


@pytest.fixture
def now() -> datetime:
    """An instant inside the reference data."""
    return datetime(2011, 12, 5, 9, 0, tzinfo=UTC)


@pytest.fixture
def clock(now: datetime) -> FixedClock:
    """A clock that stands at `now` until a test moves it."""
    return FixedClock(now)


def _postgresql_programs() -> Path | None:
    """Find initdb and pg_ctl: on the PATH or where Debian and others put them."""
    candidates = [Path(p).resolve().parent for p in (shutil.which("initdb"), shutil.which("postgres")) if p]
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((c for c in candidates if (c / "initdb").is_file() and (c / "pg_ctl").is_file()), None)


def _as_other_user() -> dict[str, object]:
    """PostgreSQL refuses to run as root: name the user to run it as."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server: the given one, else a temporary one, else skip."""
    given = os.environ.get("DRUMBEAT_TEST_DATABASE_URL")
    if given:
        yield given
        return
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip(NO_POSTGRESQL)
    folder = Path(tempfile.mkdtemp(prefix="drumbeat-pg-"))
    who = _as_other_user()
    if who:
        os.chown(folder, int(who["user"]), int(who["group"]))  # type: ignore[call-overload]
    data = folder / "data"

    def run(*words: str) -> None:
        subprocess.run(
            [str(programs / words[0]), *words[1:]], check=True, capture_output=True, cwd=folder, **who
        )  # type: ignore[call-overload]

    run(
        "initdb",
        "-D",
        str(data),
        "-U",
        "drumbeat",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=60 -c shared_buffers=128MB"
    run("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-w", "-o", options, "start")
    try:
        yield f"postgresql://drumbeat@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(server: str) -> Iterator[str]:
    """Make an empty database on the server, give its URL, and drop it."""
    name = f"drumbeat_{uuid4().hex[:12]}"
    url = make_url(server)
    admin = create_engine(url.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    with _database(postgresql_server) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once for SQLite and once for PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture(scope="session")
def shared_postgresql(postgresql_server: str) -> Iterator[Engine]:
    """One PostgreSQL database with all tables for the tests of this process; each test leaves it empty."""
    with _database(postgresql_server) as url:
        engine = connect(url)
        metadata.create_all(engine)
        yield engine
        engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A store with all tables and no rows, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        engine = connect(f"sqlite:///{tmp_path / 'store.db'}")
        metadata.create_all(engine)
        yield engine
        engine.dispose()
        return
    shared: Engine = request.getfixturevalue("shared_postgresql")
    yield shared
    shared.dispose()
    _empty(shared)


def _empty(engine: Engine) -> None:
    """Delete every row; a database of its own for every test would cost half a second each."""
    with engine.begin() as connection:
        # A process that a test killed may still be connected, and hold locks.
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for name in connection.execute(text("SELECT sequencename FROM pg_sequences")).scalars().all():
            connection.execute(text(f"ALTER SEQUENCE {name} RESTART"))


def wait_for_port(port: int, seconds: float = 20) -> None:
    """Return once something listens on the loopback port. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {seconds} s")


MINIMAL_PROJECT = {
    "project.yaml": """
project: minimal
time_zone: Europe/London
senders:
  shop: {name: The Shop, address: shop@shop.example, postal_address: "1 High Street, London"}
topics: {offers: Offers, news: News}
delivery: {backend: file, lease: 10m, attempts: 4}
""",
    "segments.yaml": "shoppers: {consent: offers}\n",
    "triggers/__init__.py": '''
"""One kind for tests: every event of a name is an occasion."""

from __future__ import annotations

from typing import ClassVar

from drumbeat.triggers import Duration, Moment, Trigger, sa, sql_time, tables


class Happened(Trigger):
    """Events called `name` in the last `within`."""

    kind: ClassVar[str] = "happened"
    name: str
    within: Duration = "30d"

    def select(self, moment):
        e = tables.events.c
        return sa.select(
            e.customer_id,
            (sa.literal("event:") + e.external_id).label("occasion"),
            e.id.label("subject_id"),
            e.at.label("due_at"),
            sql_time.shifted(e.at, self.within).label("expires_at"),
        ).where(e.name == self.name, e.at <= moment.as_of, e.at > moment.as_of - self.within)


KINDS = {Happened.kind: Happened}
''',
    "templates/hello/subject.txt.j2": "Hello {{ customer.first_name }}",
    "templates/hello/body.html.j2": """<!doctype html><html><head><title>Hello</title></head>
<body><p>Hello</p><a href="{{ unsubscribe_url }}">Unsubscribe</a></body></html>
""",
    "templates/hello/body.txt.j2": "Hello\n\nUnsubscribe: {{ unsubscribe_url }}\n",
    "templates/hello/sample.yaml": "customer: {first_name: Ada}\n",
}


def campaign_file(name: str, **settings: object) -> str:
    """The YAML of a campaign on the event of its own name; `settings` replace the defaults."""
    import json

    campaign = {
        "campaign": name,
        "description": f"Mails on {name}",
        "topic": "offers",
        "segment": "shoppers",
        "trigger": {"happened": {"name": name}},
        "message": {"template": "hello"},
        **settings,
    }
    return json.dumps(campaign)


@pytest.fixture
def make_project(tmp_path: Path):
    """Write a small project and load it: `make_project({"a.yaml": text}, campaigns={"hello": {...}})`."""
    from drumbeat.project.load import load_project

    def make(files: dict[str, str] | None = None, *, campaigns: dict[str, dict[str, object]] | None = None):
        root = tmp_path / "project"
        texts = {**MINIMAL_PROJECT, **(files or {})}
        for name, settings in (campaigns if campaigns is not None else {"hello": {}}).items():
            texts[f"campaigns/{name}.yaml"] = campaign_file(name, **settings)
        for path, text_ in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text_, encoding="utf-8")
        return load_project(root)

    return make


@pytest.fixture
def people(store: Engine):
    """Fill the store: `people.add(3)`, `people.happen("hello", customer_id, at)`, `people.rows()`."""
    return People(store)


class People:
    """Writes customers with consent, and events, straight into the tables."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._events = 0

    def add(
        self, count: int = 1, *, consent: bool = True, at: datetime | None = None, **columns: object
    ) -> list[int]:
        """Add customers with a mailbox each; return their ids."""
        from sqlalchemy import func, insert, select, update

        from drumbeat.store.engine import writing
        from drumbeat.store.tables import consents, customers

        at = at or datetime(2011, 1, 1, tzinfo=UTC)
        ids = []
        with writing(self.engine) as connection:
            start = connection.execute(select(func.count()).select_from(customers)).scalar_one()
            for number in range(start + 1, start + count + 1):
                row = {
                    "external_id": f"c{number}",
                    "email": f"c{number}@example.com",
                    "email_key": f"c{number}@example.com",
                    "first_name": f"Name{number}",
                    "loaded_at": at,
                    **columns,
                }
                customer_id = connection.execute(
                    insert(customers).values(row).returning(customers.c.id)
                ).scalar_one()
                ids.append(customer_id)
                connection.execute(
                    update(customers)
                    .where(customers.c.id == customer_id, customers.c.person_id.is_(None))
                    .values(person_id=customer_id)
                )
                if consent:
                    connection.execute(
                        insert(consents),
                        [
                            {
                                "customer_id": customer_id,
                                "topic": t,
                                "granted": True,
                                "at": at,
                                "loaded_at": at,
                            }
                            for t in ("offers", "news")
                        ],
                    )
        return ids

    def happen(self, name: str, customer_id: int, at: datetime, times: int = 1) -> None:
        """Add events: each is an occasion of the campaign of that name."""
        from sqlalchemy import insert

        from drumbeat.store.engine import writing
        from drumbeat.store.tables import events

        with writing(self.engine) as connection:
            for _ in range(times):
                self._events += 1
                connection.execute(
                    insert(events).values(
                        external_id=f"e{self._events}",
                        customer_id=customer_id,
                        name=name,
                        at=at,
                        properties={},
                        loaded_at=at,
                    )
                )

    def ledger(self) -> list[tuple[str, int, str, str | None]]:
        """Return (campaign, customer_id, state, reason) of every message, in order of id."""
        from sqlalchemy import select

        from drumbeat.store.engine import reading
        from drumbeat.store.tables import messages

        with reading(self.engine) as connection:
            rows = connection.execute(
                select(
                    messages.c.campaign, messages.c.customer_id, messages.c.state, messages.c.reason
                ).order_by(messages.c.id)
            ).all()
        return [tuple(row) for row in rows]
