"""Stores on both databases: SQLite in the test's folder, PostgreSQL on a given or a temporary server."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from drumbeat.store.engine import connect
from drumbeat.store.tables import metadata

NO_POSTGRESQL = (
    "no PostgreSQL: set DRUMBEAT_TEST_DATABASE_URL or install the server's programs (initdb, pg_ctl)"
)


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
