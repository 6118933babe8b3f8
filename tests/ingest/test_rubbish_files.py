"""A file that is not what it should be gives one line that says what to do, and changes nothing."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from drumbeat.document import parse_document
from drumbeat.errors import InputError
from drumbeat.ingest.load import import_file
from drumbeat.ingest.mapping import Mapping, parse_mapping
from drumbeat.store.engine import connect, reading
from drumbeat.store.tables import customers, metadata

AT = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = b"id,mail\n"


def mapping(extra: str = "") -> Mapping:
    text = "into: customers\ncolumns: {external_id: id, email: mail}\n" + extra
    return parse_mapping(parse_document(text, Path("m.yaml")))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Engine]:
    """Reading a file has nothing to do with the database: SQLite will do."""
    engine = connect(f"sqlite:///{tmp_path / 'store.db'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def names(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(select(customers.c.external_id).order_by(customers.c.id)))


REFUSED = [
    ("in.csv", b"", "is empty; expected a first line"),
    ("in.csv", b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8 text (byte 0x89); save it as UTF-8"),
    ("in.csv", HEAD + b"1,\n" * 9000 + b"\xff\n", "is not UTF-8 text (byte 0xff)"),
    ("in.csv", "id,mail\n1,\n".encode("utf-16"), "is not UTF-8 text"),
    ("in.csv", b"id,email\n1,\n", "has no column 'mail', which the mapping names. Did you mean 'email'?"),
    ("in.csv", b"id;mail\n1;\n", "is not separated by ',' but, it seems, by ';'; set `delimiter:`"),
    ("in.csv", b"id,mail,id\n1,,2\n", "the column 'id' is there twice"),
    ("in.csv.gz", b"no gzip at all", "is not a whole gzip file"),
    ("in.csv.gz", gzip.compress(HEAD + b"1,\n" * 9000, mtime=0)[:-20], "is not a whole gzip file"),
    ("in.parquet", b"PAR1 not really", "is not a Parquet file"),
    ("in.xlsx", b"PK", "cannot tell the format by the name; expected .csv, .jsonl or .parquet"),
    ("in.jsonl", b"x" * 5_000_000, "is longer than 4,000,000 characters; expected one JSON object a line"),
]


@pytest.mark.parametrize(("name", "content", "expected"), REFUSED)
def test_a_wrong_file_is_refused_in_one_line(
    shop: Engine, tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        import_file(shop, tmp_path / name, mapping(), loaded_at=AT)
    text = str(caught.value)
    assert expected in text
    assert text.startswith(str(tmp_path / name))
    assert "\n" not in text
    assert names(shop) == []
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".in", "in"))) == [name]


def test_a_missing_file_and_a_folder_are_refused(shop: Engine, tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match=r"cannot (be read|tell)"):
            import_file(shop, path, mapping(), loaded_at=AT)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfid,mail\r\n1,a@example.com\r\n2,\r\n",
        b'"id","mail"\n"1","a@example.com"\n\n"2",""\n',
        b" id , mail \n 1 , a@example.com \n2,",
        b"mail,extra,id\na@example.com,,1\n,,2\n",
    ],
    ids=["bom and crlf", "quotes and an empty line", "blanks and no last line end", "other order"],
)
def test_the_ways_csv_is_written_are_all_read(shop: Engine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    result = import_file(shop, tmp_path / "in.csv", mapping(), loaded_at=AT)
    assert (result.read, result.inserted) == (2, 2)
    assert names(shop) == ["1", "2"]


def test_other_delimiters_and_encodings_are_read_where_the_mapping_says_so(
    shop: Engine, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_bytes("id;mail\nMüller;\n".encode("cp1252"))
    import_file(shop, tmp_path / "in.csv", mapping("delimiter: ';'\nencoding: cp1252"), loaded_at=AT)
    assert names(shop) == ["Müller"]


def test_an_open_quote_does_not_swallow_the_file_silently(shop: Engine, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(HEAD + b'1,\n"2,\n3,\n')
    result = import_file(shop, tmp_path / "in.csv", mapping(), loaded_at=AT)
    assert (result.inserted, result.rejected) == (1, 1)
    assert result.rejects_file is not None
    assert "a quote is opened and not closed, lines 3 to 4" in result.rejects_file.read_text()


def test_a_header_alone_is_an_empty_import(shop: Engine, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(HEAD)
    assert import_file(shop, tmp_path / "in.csv", mapping(), loaded_at=AT).read == 0
    with reading(shop) as connection:
        assert connection.scalar(select(func.count()).select_from(customers)) == 0
