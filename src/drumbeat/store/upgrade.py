"""The version of the store's tables: read it, bring it up to date.

`schema_state` runs at the start of every command, so it reads one row and does not import Alembic.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from drumbeat.errors import StoreError
from drumbeat.store.engine import reading, writing

REVISIONS = ("0001", "0002")
"""Every revision of the tables, oldest first; the last one is what this program needs."""

HEAD = REVISIONS[-1]
VERSION_TABLE = "drumbeat_version"


class Schema(StrEnum):
    """How the database's tables stand to this program."""

    CURRENT = "current"
    MISSING = "missing"  # no table of ours
    OLDER = "older"
    NEWER = "newer"  # a revision this program does not know
    UNVERSIONED = "unversioned"  # our tables without the version row


@dataclass(frozen=True)
class SchemaState:
    """A database's revision, how it stands to this program, and what to do."""

    schema: Schema
    revision: str | None
    advice: str


def schema_state(engine: Engine) -> SchemaState:
    """Read the version of the database's tables. Raises StoreError where it cannot be reached."""
    where = engine.url.render_as_string(hide_password=True)
    with reading(engine) as connection:
        names = set(inspect(connection).get_table_names())
        revision = None
        if VERSION_TABLE in names:
            revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant
    if revision == HEAD:
        return SchemaState(Schema.CURRENT, revision, "nothing to do")
    if revision in REVISIONS:
        return SchemaState(
            Schema.OLDER,
            revision,
            f"the tables in {where} are of version {revision}, this program needs {HEAD}; "
            "run `drumbeat db upgrade`",
        )
    if revision is not None:
        return SchemaState(
            Schema.NEWER,
            revision,
            f"the tables in {where} are of version {revision}, this program knows up to {HEAD}; "
            "install a newer Drumbeat",
        )
    if "messages" in names and "outbox" in names:
        return SchemaState(
            Schema.UNVERSIONED,
            None,
            f"the tables in {where} carry no version, so `drumbeat db upgrade` did not make them; "
            "use an empty database",
        )
    return SchemaState(
        Schema.MISSING, None, f"the database {where} has no tables of Drumbeat yet; run `drumbeat db upgrade`"
    )


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the tables to this program's version in one transaction; return the revision before and after.

    Safe to run by several processes at once: all but the first wait and find nothing to do.
    Raises StoreError where the tables are newer or were not made by Drumbeat.
    """
    before = schema_state(engine)
    if before.schema in (Schema.NEWER, Schema.UNVERSIONED):
        raise StoreError(before.advice)
    if before.schema is not Schema.CURRENT:
        from alembic import command
        from alembic.config import Config

        from drumbeat.store.dialect.locks import lock

        settings = Config()
        settings.set_main_option(
            "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
        )
        settings.set_main_option("path_separator", "newline")
        with writing(engine) as connection:
            lock(connection, "drumbeat", "schema")
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
    return before.revision, HEAD
