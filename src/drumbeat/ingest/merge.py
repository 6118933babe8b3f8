"""Staged rows into their table: set-based, changed rows only, counted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    FromClause,
    Index,
    MetaData,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)

from drumbeat.ingest.mapping import Mapping
from drumbeat.ingest.targets import Target
from drumbeat.store.dialect.bulk import changed
from drumbeat.store.tables import metadata


class Merged(NamedTuple):
    """What a merge did to one table, in rows."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0


def staging_table(mapping: Mapping, fields: list[str]) -> Table:
    """Return the temporary table for a target's rows: `row` (the line of the input) and one column a field."""
    target = mapping.target
    table = metadata.tables[target.table]
    names = {field.name: field.column for field in target.fields}
    columns = [Column(names.get(name, name), table.c[names.get(name, name)].type) for name in fields]
    staged = Table(
        "import_rows", MetaData(), Column("row", BigInteger, nullable=False), *columns, prefixes=["TEMPORARY"]
    )
    Index("ix_import_rows", *(staged.c[name] for name in target.key))
    return staged


def drop_repeated(connection: Connection, staged: Table, target: Target) -> int:
    """Keep one staged row a key, the newest or else the last in the file; return how many went."""
    order = [staged.c.row.desc()]
    if target.newest_by is not None and target.newest_by in staged.c:
        order.insert(0, _age(staged, target).desc())
    place = func.row_number().over(partition_by=[staged.c[name] for name in target.key], order_by=order)
    ranked = select(staged.c.row, place.label("place")).subquery()
    older = select(ranked.c.row).where(ranked.c.place > 1)
    return changed(connection, delete(staged).where(staged.c.row.in_(older)))


def merge(
    connection: Connection, staged: Table, target: Target, mapped: list[str], loaded_at: datetime
) -> Merged:
    """Merge deduplicated staged rows into the target's table; `mapped`: the columns that may change a row."""
    table = metadata.tables[target.table]
    not_older: Any = true()
    if target.newest_by is not None and target.newest_by in staged.c:
        not_older = _age(staged, target) >= _age(table, target)
    merged = upsert(connection, table, staged, target.key, mapped, loaded_at, where=not_older)
    if target.whole is None:
        return merged
    named = select(staged.c[target.whole])
    told = exists().where(*(staged.c[name] == table.c[name] for name in target.key))
    gone = delete(table).where(table.c[target.whole].in_(named), ~told)
    return merged._replace(removed=changed(connection, gone))


def _age(rows: FromClause, target: Target) -> Any:
    """What a row is older or newer by; of words, their place in the field's `one_of`."""
    name = str(target.newest_by)
    words = target.field(name).one_of
    if not words:
        return rows.c[name]
    return case({word: place for place, word in enumerate(words)}, value=rows.c[name], else_=len(words))


def upsert(
    connection: Connection,
    table: Table,
    source: FromClause,
    key: tuple[str, ...],
    mapped: list[str],
    loaded_at: datetime,
    *,
    where: Any = None,
) -> Merged:
    """Update rows that differ, then insert those that are new. The caller holds the importers' lock.

    `source`: columns named as in `table` (and `row`, which gives the order of new ids), unique by `key`.
    `where`: a further condition on updates.
    Rows that are the same already are not written: `loaded_at` stays what it was.
    """
    total = connection.execute(select(func.count()).select_from(source)).scalar_one()
    same_row = and_(*(table.c[name] == source.c[name] for name in key))
    stamp = {"loaded_at": literal(loaded_at, table.c.loaded_at.type)} if "loaded_at" in table.c else {}
    settable = [name for name in mapped if name not in key]
    updated = 0
    if settable:
        differs = or_(*(table.c[name].is_distinct_from(source.c[name]) for name in settable))
        values: dict[str, Any] = {name: source.c[name] for name in settable}
        statement = (
            update(table)
            .where(same_row, differs, true() if where is None else where)
            .values({**values, **stamp})
        )
        updated = changed(connection, statement)
    columns = [column.name for column in source.c if column.name in table.c]
    new = (
        select(*(source.c[name] for name in columns), *stamp.values())
        .where(~exists().where(same_row))
        .order_by(source.c.row)
    )
    inserted = changed(connection, insert(table).from_select([*columns, *stamp], new, include_defaults=False))
    return Merged(inserted, updated, total - inserted - updated)
