"""Suppression lists into the store, and out of it: streams in flat memory, one transaction."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    case,
    delete,
    func,
    select,
    true,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import DropTable

from drumbeat.ingest.rejects import Rejects
from drumbeat.responses.lists.read import Bad, Defaults, List, open_list
from drumbeat.responses.lists.shapes import COLUMNS
from drumbeat.responses.suppress import STRENGTH
from drumbeat.store.dialect import bulk
from drumbeat.store.dialect.insert import insert
from drumbeat.store.engine import session
from drumbeat.store.tables import suppressions
from drumbeat.store.types import UtcDateTime

CHUNK = 2_000
"""Rows in memory at a time."""

Note = Callable[[Connection, "Loaded"], None]


@dataclass(frozen=True)
class Loaded:
    """What became of a list's rows: read = new + stronger + unchanged + repeated + rejected.

    `stronger`: there was a weaker reason before; `unchanged`: the same or a stronger one; `repeated`: another row of
    the list says as much or more of the same address and topic. `topics`: those that it names.
    """

    shape: str
    read: int
    new: int
    stronger: int
    unchanged: int
    repeated: int
    rejected: int
    rejects_file: Path | None
    topics: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "rejects_file": None if self.rejects_file is None else str(self.rejects_file)}


def load_list(
    engine: Engine, path: Path, defaults: Defaults, *, rejects: Path, ours: bool, note: Note
) -> Loaded:
    """Import a list. All or nothing; the same list again changes nothing.

    `rejects`: where rows that cannot be used are written; `ours`: the default beside the list. `note`: called in the
    transaction that changes the store, for the audit log. Raises InputError and StoreError.
    """
    kept = Rejects(rejects, ours=ours)
    staged = _staging_table()
    try:
        with session(engine) as connection:
            try:
                return _load(connection, staged, path, defaults, kept, note)
            finally:
                with suppress(DBAPIError), connection.begin():
                    connection.execute(DropTable(staged, if_exists=True))
    finally:
        kept.discard()


def _staging_table() -> Table:
    return Table(
        "suppression_rows",
        MetaData(),
        Column("row", BigInteger, nullable=False),
        Column("email_key", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("at", UtcDateTime, nullable=False),
        Column("source", Text),
        prefixes=["TEMPORARY"],
    )


def _load(
    connection: Connection, staged: Table, path: Path, defaults: Defaults, rejects: Rejects, note: Note
) -> Loaded:
    # Staging holds no lock that others wait for: on SQLite a temporary table is a file of its own.
    with connection.begin():
        staged.create(connection)
        with open_list(path, defaults) as opened:
            rejects.open_for(opened.header)
            good = _stage(connection, staged, opened, rejects)
    connection.execution_options(drumbeat_writing=True)
    with connection.begin():
        bulk.settled(connection, staged)
        repeated = _drop_repeated(connection, staged)
        known, stronger = _known(connection, staged)
        topics = connection.execute(select(staged.c.topic).distinct().order_by(staged.c.topic)).scalars()
        named = tuple(topic for topic in topics.all() if topic)
        _merge(connection, staged)
        new = good - repeated - known
        loaded = Loaded(
            shape=opened.shape,
            read=good + rejects.count,
            new=new,
            stronger=stronger,
            unchanged=known - stronger,
            repeated=repeated,
            rejected=rejects.count,
            rejects_file=rejects.keep(),
            topics=named,
        )
        note(connection, loaded)
        return loaded


def _stage(connection: Connection, staged: Table, opened: List, rejects: Rejects) -> int:
    good = 0
    rows = iter(opened.rows)
    while chunk := list(islice(rows, CHUNK)):
        stored = []
        for row in chunk:
            if isinstance(row, Bad):
                rejects.add(row.line, row.reason, row.original)
            else:
                stored.append(row)
        bulk.append(connection, staged, stored)
        good += len(stored)
    return good


def _strength(reason: Any) -> Any:
    return case(STRENGTH, value=reason, else_=0)


def _drop_repeated(connection: Connection, staged: Table) -> int:
    """Keep one row of each address and topic, the strongest and then the earliest; return how many went."""
    place = func.row_number().over(
        partition_by=[staged.c.email_key, staged.c.topic],
        order_by=[_strength(staged.c.reason).desc(), staged.c.at, staged.c.row],
    )
    ranked = select(staged.c.row, place.label("place")).subquery()
    weaker = select(ranked.c.row).where(ranked.c.place > 1)
    return bulk.changed(connection, delete(staged).where(staged.c.row.in_(weaker)))


def _known(connection: Connection, staged: Table) -> tuple[int, int]:
    """Return how many addresses and topics are suppressed already, and how many of them for a weaker reason."""
    weaker = _strength(suppressions.c.reason) < _strength(staged.c.reason)
    same = (suppressions.c.email_key == staged.c.email_key) & (suppressions.c.topic == staged.c.topic)
    known, stronger = connection.execute(
        select(func.count(), func.coalesce(func.sum(case((weaker, 1), else_=0)), 0))
        .select_from(staged)
        .join(suppressions, same)
    ).one()
    return known, int(stronger)


def _merge(connection: Connection, staged: Table) -> None:
    names = ["email_key", "topic", "reason", "at", "source"]
    # In the order of the unique key: two writers of the same addresses wait for each other, never in a ring.
    rows = (
        select(*(staged.c[name] for name in names)).where(true()).order_by(staged.c.email_key, staged.c.topic)
    )
    statement = insert(connection, suppressions).from_select(names, rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["email_key", "topic"],
            set_={name: statement.excluded[name] for name in ("reason", "at", "source")},
            where=_strength(suppressions.c.reason) < _strength(statement.excluded.reason),
        )
    )


def export_list(connection: Connection, file: IO[str]) -> int:
    """Write every suppression as CSV, oldest first; return how many. It can be imported again unchanged."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    rows = connection.execute(
        select(suppressions).order_by(suppressions.c.id), execution_options={"yield_per": CHUNK}
    )
    for row in rows:
        count += 1
        writer.writerow([row.email_key, row.topic, row.reason, row.at.isoformat(), row.source or ""])
    return count
