"""The store's tables and their version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from drumbeat.cli import cli
from drumbeat.cli.init import make_project
from drumbeat.cli.output import guarded
from drumbeat.errors import StoreError
from drumbeat.store import upgrade as module
from drumbeat.store.engine import connect, reading, writing
from drumbeat.store.tables import metadata
from drumbeat.store.upgrade import HEAD, REVISIONS, VERSION_TABLE, Schema, schema_state, upgrade


@pytest.fixture
def empty(store_url: str) -> Iterator[Engine]:
    engine = connect(store_url)
    yield engine
    engine.dispose()


# A descending index cannot be read back from SQLite, so it is not compared there; on PostgreSQL it is.
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_a_migrated_database_is_what_the_tables_say(empty: Engine) -> None:
    upgrade(empty)
    on_sqlite = empty.dialect.name == "sqlite"
    with reading(empty) as connection:
        settings = {
            "version_table": VERSION_TABLE,
            "compare_server_default": True,
            "compare_type": True,
            "include_name": lambda name, *_: not (on_sqlite and name == "ix_outbox_next"),
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=settings), metadata) == []


def test_the_known_revisions_are_the_migrations() -> None:
    settings = Config()
    settings.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    settings.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(settings)
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == REVISIONS
    assert scripts.get_heads() == [HEAD]


def test_upgrading_twice_changes_nothing(empty: Engine) -> None:
    assert schema_state(empty).schema is Schema.MISSING
    assert upgrade(empty) == (None, HEAD)
    assert upgrade(empty) == (HEAD, HEAD)
    assert schema_state(empty).schema is Schema.CURRENT


def test_several_processes_may_upgrade_at_once(store_url: str) -> None:
    def one(_: int) -> tuple[str | None, str]:
        engine = connect(store_url)
        try:
            return upgrade(engine)
        finally:
            engine.dispose()

    # Alembic keeps its context in a module: threads would share it, so each gets a process.
    code = (
        "import sys\nfrom drumbeat.store.engine import connect\nfrom drumbeat.store.upgrade import upgrade\n"
        "e = connect(sys.argv[1]); upgrade(e); e.dispose()"
    )
    with ThreadPoolExecutor(3) as pool:
        done = list(
            pool.map(
                lambda _: subprocess.run(
                    [sys.executable, "-c", code, store_url], capture_output=True, text=True, check=False
                ),
                range(3),
            )
        )
    assert [p.returncode for p in done] == [0, 0, 0], [p.stderr for p in done]
    assert one(0) == (HEAD, HEAD)


def set_version(engine: Engine, version: str) -> None:
    with writing(engine) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = :v"), {"v": version})


def test_tables_of_a_newer_program_are_left_alone(empty: Engine) -> None:
    upgrade(empty)
    set_version(empty, "9999")
    assert schema_state(empty).schema is Schema.NEWER
    with pytest.raises(StoreError, match="install a newer Drumbeat"):
        upgrade(empty)


def test_older_tables_say_what_to_do(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(empty)
    monkeypatch.setattr(module, "REVISIONS", (HEAD, "9999"))
    monkeypatch.setattr(module, "HEAD", "9999")
    state = schema_state(empty)
    assert state.schema is Schema.OLDER
    assert "drumbeat db upgrade" in state.advice


def test_tables_without_a_version_are_refused(store: Engine) -> None:
    assert schema_state(store).schema is Schema.UNVERSIONED
    with pytest.raises(StoreError, match="carry no version"):
        upgrade(store)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("Not a database, but long enough to be looked at as one. " * 9)
    engine = connect(f"sqlite:///{tmp_path / 'notes.db'}")
    with pytest.raises(StoreError, match=r"notes\.db is no SQLite database; move the file away"):
        schema_state(engine)
    engine.dispose()


def test_opening_a_current_store_does_not_import_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    engine = connect(url)
    upgrade(engine)
    engine.dispose()
    code = (
        "import sys\nfrom drumbeat.store.engine import connect\nfrom drumbeat.store.upgrade import schema_state\n"
        "e = connect(sys.argv[1]); print(schema_state(e).schema.value); e.dispose()\nsys.exit('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "current\n"), done.stderr


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    make_project(tmp_path / "shop")
    return tmp_path / "shop"


def test_status_tells_an_empty_database_and_upgrade_fills_it(
    shop: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRUMBEAT_DATABASE_URL", store_url)
    assert guarded(cli, ["db", "status", "-C", str(shop)]) == 5
    assert "run `drumbeat db upgrade`" in capsys.readouterr().err
    assert guarded(cli, ["db", "upgrade", "-C", str(shop)]) == 0
    assert guarded(cli, ["db", "status", "-C", str(shop)]) == 0


def test_a_database_outside_the_project_is_not_made_in_passing(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRUMBEAT_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert guarded(cli, ["run", "evaluate", "-C", str(shop)]) == 5
    assert "run `drumbeat db upgrade`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://drumbeat@127.0.0.1:1/none", "cannot use the database"),
        ("mysql://x@y/z", "expected sqlite:///file.db or postgresql"),
        ("nonsense", "cannot read the database URL"),
        ("sqlite:////no/such/folder/x.db", "does not exist"),
    ],
)
def test_an_unusable_database_is_one_clear_line(
    shop: Path, url: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRUMBEAT_DATABASE_URL", url)
    assert guarded(cli, ["db", "status", "-C", str(shop)]) == 5
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
