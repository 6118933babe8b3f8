"""A file into the store: read as a stream, judged row by row, staged in bulk, merged in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Counted
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, Select, Table, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import DropTable

from drumbeat.ingest import merge, orders, people, proof, stats
from drumbeat.ingest.erased import suppress_erased
from drumbeat.ingest.mapping import Mapping
from drumbeat.ingest.merge import Merged
from drumbeat.ingest.readers import Input, Row, open_input
from drumbeat.ingest.rejects import Rejects
from drumbeat.ingest.rows import RowMaker, Skipped, source_columns
from drumbeat.store.dialect import bulk
from drumbeat.store.dialect.locks import lock
from drumbeat.store.engine import session
from drumbeat.store.erased import Erased
from drumbeat.store.tables import metadata
from drumbeat.store.tables import orders as order_rows

CHUNK = 2_000
"""Rows in memory at a time. 141,892 order lines into SQLite, CPU seconds, mean of two on a busy machine:
1,000 4.9 · 2,000 5.4 · 5,000 6.0 · 20,000 6.4. PostgreSQL, where each chunk is a COPY, was not measured."""

Progress = Callable[[int], None]


@dataclass(frozen=True)
class ImportResult:
    """What became of each row of the input, in rows.

    read = inserted + updated + unchanged + repeated + rejected + all of skipped. `repeated`: rows that a
    later row of the same input replaced. `skipped`: rows left out on purpose, by reason. `removed`: lines
    of orders and carts that the input no longer names. `tables`: the same by table, where one row of the
    input makes rows in several.
    """

    read: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    rejects_file: Path | None
    repeated: int = 0
    removed: int = 0
    skipped: Counted[str, int] = field(default_factory=dict)
    tables: Counted[str, Merged] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, the shape of `drumbeat import --json`."""
        found = asdict(self)
        found["rejects_file"] = None if self.rejects_file is None else str(self.rejects_file)
        found["tables"] = {name: merged._asdict() for name, merged in self.tables.items()}
        return found


def rejects_beside(file: Path) -> Path:
    """Return where the rejected rows of an input go by default."""
    return file.with_name(f"{file.name}.rejected.csv")


def import_file(
    engine: Engine,
    file: Path,
    mapping: Mapping,
    *,
    loaded_at: datetime,
    progress: Progress | None = None,
    rejects: Path | None = None,
    erased: Erased | None = None,
) -> ImportResult:
    """Import a file. One transaction: whatever stops it, the store is as before or has all of it.

    `loaded_at`: stamped on rows that are new or changed. `progress`: called with the rows read so far.
    `rejects`: where rejected rows are written; default beside the input. `erased`: knows the addresses of erased
    people, which are suppressed; needed where there are such. Importing the same file again
    changes nothing. Memory does not grow with the file. Raises InputError where the file cannot be read
    or the rejected rows cannot be written, StoreError where the database cannot be used.
    """
    kept = Rejects(rejects or rejects_beside(file), ours=rejects is None)
    try:
        with session(engine) as connection:
            job = _Import(connection, file, mapping, loaded_at, kept, progress or _silent, erased)
            try:
                return job.run()
            finally:
                job.clean_up()
    finally:
        kept.discard()


def _silent(_rows: int) -> None:
    return None


class _Import:
    """One import on one connection: stage, then merge."""

    def __init__(
        self,
        connection: Connection,
        file: Path,
        mapping: Mapping,
        loaded_at: datetime,
        rejects: Rejects,
        progress: Progress,
        erased: Erased | None = None,
    ) -> None:
        self._connection = connection
        self._file = file
        self._mapping = mapping
        self._loaded_at = loaded_at
        self._rejects = rejects
        self._progress = progress
        self._erased = erased
        self._columns = source_columns(mapping)
        # Positions matter only for reading; the names of the staged fields do not depend on them.
        shape = RowMaker(mapping, dict.fromkeys(self._columns, 0))
        self._is_lines = mapping.into == "order_lines"
        self._staged: Table = (
            orders.staging_table() if self._is_lines else merge.staging_table(mapping, shape.fields)
        )
        names = {f.name: f.column for f in mapping.target.fields}
        self._mapped = [names.get(name, name) for name in shape.mapped]
        self._refs = [
            (shape.fields.index(f.name), f.name, metadata.tables[f.ref])
            for f in mapping.target.fields
            if f.ref
        ]
        self._touched = Table(
            "import_touched", MetaData(), Column("customer_id", BigInteger), prefixes=["TEMPORARY"]
        )
        self._read = 0
        self._skipped: dict[str, int] = {}

    def run(self) -> ImportResult:
        """Stage and merge."""
        connection = self._connection
        # Staging holds no lock that others wait for: on SQLite a temporary table is a file of its own.
        with connection.begin():
            self._staged.create(connection)
            with open_input(self._file, self._mapping, self._columns) as opened:
                self._rejects.open_for(opened.header)
                self._stage(opened)
        connection.execution_options(drumbeat_writing=True)
        with connection.begin():
            lock(connection, "import")
            bulk.settled(connection, self._staged)
            return self._merge_lines() if self._is_lines else self._merge()

    def clean_up(self) -> None:
        """Drop the temporary table: the connection goes back to the pool."""
        with suppress(DBAPIError), self._connection.begin():
            for table in (self._staged, self._touched):
                self._connection.execute(DropTable(table, if_exists=True))

    def _stage(self, opened: Input) -> None:
        maker = RowMaker(self._mapping, opened.positions)
        rows = iter(opened.rows)
        while chunk := list(islice(rows, CHUNK)):
            good = self._resolve(list(self._judge(maker, chunk)))
            bulk.append(self._connection, self._staged, good)
            self._read += len(chunk)
            self._progress(self._read)

    def _judge(self, maker: RowMaker, chunk: Sequence[Row]) -> Iterator[tuple[Row, list[Any]]]:
        """Yield the rows to stage; count those left out, write down those rejected."""
        for row in chunk:
            if row.fault is not None:
                self._rejects.add(row.line, row.fault, row.original)
                continue
            try:
                made = maker.make(row.values)
            except ValueError as error:
                self._rejects.add(row.line, str(error), row.original)
                continue
            except RecursionError:
                self._rejects.add(row.line, "is nested too deeply", row.original)
                continue
            if isinstance(made, Skipped):
                self._skipped[made.reason] = self._skipped.get(made.reason, 0) + 1
                if made.names is None:
                    continue
                made = made.names
            yield row, made

    def _resolve(self, rows: list[tuple[Row, list[Any]]]) -> list[list[Any]]:
        """Replace external ids by ids, one query a chunk; reject rows that name what the store does not have."""
        for position, name, table in self._refs:
            wanted = {values[position] for _, values in rows}
            query = select(table.c.external_id, table.c.id).where(table.c.external_id.in_(wanted))
            ids = dict(self._connection.execute(query).tuples().all())
            known = []
            for row, values in rows:
                found = ids.get(values[position])
                if found is None:
                    reason = (
                        f"there is no {name} '{values[position]}' in the store; import {table.name} first"
                    )
                    self._rejects.add(row.line, reason, row.original)
                else:
                    values[position] = found
                    known.append((row, values))
            rows = known
        return [[row.line, *values] for row, values in rows]

    def _merge(self) -> ImportResult:
        connection, target = self._connection, self._mapping.target
        repeated = merge.drop_repeated(connection, self._staged, target)
        of_orders = target.table == "orders"
        if of_orders:
            self._touch(select(self._staged.c.external_id))
        merged = merge.merge(connection, self._staged, target, self._mapped, self._loaded_at)
        if of_orders:
            self._refresh(select(self._staged.c.external_id))
        if target.table == "customers":
            people.assign(connection)
            suppress_erased(connection, self._erased, self._loaded_at)
        if target.table == "consents":
            proof.keep_proof(connection, self._staged, self._file.name, self._loaded_at)
        return self._result(merged, {target.table: merged}, repeated)

    def _merge_lines(self) -> ImportResult:
        connection = self._connection
        self._reject_torn()
        named = select(self._staged.c.order).where(self._staged.c.is_line)
        self._touch(named)
        tables = orders.merge(connection, self._staged, self._mapping, self._loaded_at)
        self._refresh(named)
        people.assign(connection)
        return self._result(tables["order_items"], tables, 0)

    def _touch(self, named: Select[Any]) -> None:
        """Note whose the named orders are: once before merging, once after, since an order may change hands."""
        self._touched.create(self._connection, checkfirst=True)
        whose = select(order_rows.c.customer_id).where(order_rows.c.external_id.in_(named)).distinct()
        self._connection.execute(insert(self._touched).from_select(["customer_id"], whose))

    def _refresh(self, named: Select[Any]) -> None:
        self._touch(named)
        stats.refresh(self._connection, select(self._touched.c.customer_id))

    def _reject_torn(self) -> None:
        """Reject the lines of orders that name two customers; the file is read again for how they were."""
        torn = self._connection.execute(orders.of_two_customers(self._staged)).yield_per(CHUNK)
        faults = iter(torn.tuples())
        row, order = next(faults, (None, None))
        if row is None:
            return
        with open_input(self._file, self._mapping, self._columns) as opened:
            for found in opened.rows:
                if found.line == row:
                    self._rejects.add(
                        row, f"the order '{order}' names more than one customer", found.original
                    )
                    row, order = next(faults, (None, None))
        orders.remove_torn(self._connection, self._staged)

    def _result(self, merged: Merged, tables: dict[str, Merged], repeated: int) -> ImportResult:
        return ImportResult(
            read=self._read,
            inserted=merged.inserted,
            updated=merged.updated,
            unchanged=merged.unchanged,
            rejected=self._rejects.count,
            rejects_file=self._rejects.keep(),
            repeated=repeated,
            removed=merged.removed,
            skipped=self._skipped,
            tables=tables,
        )
