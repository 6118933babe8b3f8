"""An import that is killed leaves the store as it was; memory stays flat however long the file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from drumbeat.document import parse_document
from drumbeat.ingest.load import import_file
from drumbeat.ingest.mapping import parse_mapping
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers, products

YAML = "{into: customers, columns: {external_id: id, first_name: name}}"
AT = datetime(2026, 1, 1, tzinfo=UTC)

# The child says where it is and waits there to be killed.
CHILD = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import event
from drumbeat.document import parse_document
from drumbeat.ingest.load import import_file
from drumbeat.ingest.mapping import parse_mapping
from drumbeat.store.engine import connect
url, file, yaml, where = sys.argv[1:]
engine = connect(url)
def wait():
    print("here", flush=True)
    time.sleep(600)
def progress(rows):
    if where == "staging" and rows >= 10000:
        wait()
@event.listens_for(engine, "after_cursor_execute")
def after(connection, cursor, statement, *rest):
    if where == "merging" and statement.startswith("INSERT INTO customers"):
        wait()
mapping = parse_mapping(parse_document(yaml, Path("m")))
import_file(engine, Path(file), mapping, loaded_at=datetime(2026, 1, 1, tzinfo=UTC), progress=progress)
"""


def write(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.write("id,name\n")
        file.writelines(f"{i},name {i % 977}\n" for i in range(count))
    return path


@pytest.mark.parametrize("where", ["staging", "merging"])
def test_a_killed_import_leaves_the_store_as_before_and_can_be_repeated(
    store: Engine, tmp_path: Path, where: str
) -> None:
    file = write(tmp_path / "in.csv", 12_000)
    url = store.url.render_as_string(hide_password=False)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(file), YAML, where], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"here\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    with reading(store) as connection:
        assert connection.scalar(select(func.count()).select_from(customers)) == 0
    result = import_file(store, file, parse_mapping(parse_document(YAML, Path("m"))), loaded_at=AT)
    assert result.inserted == 12_000


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(store: Engine, tmp_path: Path) -> None:
    """Python's own memory; a tenth of the rows are rejected, so that those do not pile up either."""
    mapping = parse_mapping(
        parse_document("{into: products, columns: {external_id: id, title: name, price: id}}", Path("m"))
    )

    def peak(count: int) -> int:
        file = tmp_path / f"{count}.csv"
        with file.open("w", encoding="utf-8") as out:
            out.write("id,name\n")
            out.writelines(f"{'x' if i % 10 == 0 else ''}{i},name {i}\n" for i in range(count))
        tracemalloc.start()
        result = import_file(store, file, mapping, loaded_at=AT)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (result.inserted + result.unchanged, result.rejected) == (count * 9 // 10, count // 10)
        return top

    peak(1_000)  # what is loaded and compiled once is no growth
    small, large = peak(12_000), peak(120_000)
    assert large < small * 1.3, f"{small:,} bytes for 12,000 rows, {large:,} for 120,000"
    with reading(store) as connection:
        assert connection.scalar(select(func.count()).select_from(products)) == 108_000
