"""The project's store: which database it is, and opening it with tables of the right version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from drumbeat.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.project.load import Project

VARIABLE = "DRUMBEAT_DATABASE_URL"
FILE = "drumbeat.db"


def database_url(project: Project) -> str:
    """Return the store's URL: DRUMBEAT_DATABASE_URL, else project.yaml, else SQLite in the project's folder.

    A relative SQLite path is read from the project's folder, so that it means the same from everywhere.
    """
    url = os.environ.get(VARIABLE) or project.config.database or f"sqlite:///{FILE}"
    file = url.removeprefix("sqlite:///")
    if file != url and file and not file.startswith((":memory:", "/", "file:")):
        return f"sqlite:///{project.root / file}"
    return url


def open_store(project: Project, *, check: bool = True) -> Engine:
    """Open the project's store and check that its tables are of this version; the caller disposes of it.

    An SQLite file inside the project's folder is made at first use. Raises StoreError where the
    database is unreachable, has no tables, or has those of another version.
    """
    from drumbeat.store.engine import connect
    from drumbeat.store.upgrade import Schema, schema_state, upgrade

    engine = connect(database_url(project))
    if not check:
        return engine
    try:
        state = schema_state(engine)
        if state.schema is Schema.MISSING and _is_own_file(engine, project.root):
            upgrade(engine)
        elif state.schema is not Schema.CURRENT:
            raise StoreError(state.advice)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _is_own_file(engine: Engine, root: Path) -> bool:
    file = engine.url.database
    return engine.dialect.name == "sqlite" and file is not None and Path(file).is_relative_to(root)
