"""Readers: a file as a stream of rows, never whole in memory. CSV, JSON lines and Parquet; .gz is opened."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from drumbeat.errors import InputError
from drumbeat.ingest.mapping import Format, Mapping
from drumbeat.issues import nearest

BATCH = 2_000
"""Rows of a Parquet file that are in memory at a time."""

MAX_LINE = 4_000_000
"""A line of JSON beyond this many characters is no row: the file is something else."""

_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


class Row(NamedTuple):
    """One row of the input. `line` counts from 1; `values` as `Input.positions` says; `fault`: it is broken."""

    line: int
    values: Sequence[Any]
    original: Sequence[Any]
    fault: str | None = None


@dataclass(frozen=True)
class Input:
    """An open file. `positions`: where in `Row.values` each wanted column is; `header`: of `Row.original`."""

    positions: dict[str, int]
    header: Sequence[str]
    rows: Iterator[Row]


def format_of(path: Path, mapping: Mapping) -> Format:
    """Return the file's format: the mapping's, else by the suffix before .gz. Raises InputError."""
    if mapping.format is not None:
        return mapping.format
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if not suffixes or suffixes[-1] not in _SUFFIXES:
        raise InputError(
            f"{path}: cannot tell the format by the name; expected .csv, .jsonl or .parquet, or `format:` in the mapping"
        )
    return _SUFFIXES[suffixes[-1]]


@contextmanager
def open_input(path: Path, mapping: Mapping, wanted: Sequence[str]) -> Iterator[Input]:
    """Open a file and give its rows. Raises InputError, here or while reading, with one line."""
    kind = format_of(path, mapping)
    try:
        if kind == "parquet":
            with path.open("rb") as file:
                yield _parquet(path, file, wanted)
        else:
            with _open_bytes(path) as raw, TextIOWrapper(raw, mapping.encoding, newline="") as lines:
                yield _csv(path, lines, mapping, wanted) if kind == "csv" else _jsonl(path, lines, wanted)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not {mapping.encoding.removesuffix('-sig').upper()} text (byte {error.object[error.start]:#04x}); "
            "save it as UTF-8 or name its `encoding:` in the mapping"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is not a whole gzip file ({error}); get it again") from None
    except OSError as error:
        if error.filename is not None and Path(error.filename) != path:
            raise
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _open_bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


class _Remembered:
    """Lines on their way to the CSV parser, kept until the record that they make is done."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.record.append(line)
            yield line


def _csv(path: Path, file: IO[str], mapping: Mapping, wanted: Sequence[str]) -> Input:
    lines = _Remembered(file)
    delimiter = "\t" if mapping.delimiter == "," and path.suffix == ".tsv" else mapping.delimiter
    parser = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(parser)]
    except StopIteration:
        raise InputError(f"{path}: is empty; expected a first line with the names of the columns") from None
    except csv.Error as error:
        raise InputError(f"{path}:1: the first line is no CSV ({error})") from None
    repeated = sorted({name for name in header if header.count(name) > 1 and name in wanted})
    if repeated:
        raise InputError(f"{path}:1: the column '{repeated[0]}' is there twice; rename one of the two")
    missing = [name for name in wanted if name not in header]
    if missing and len(header) == 1 and any(mark in header[0] for mark in ";\t|,"):
        mark = max(";\t|,", key=header[0].count)
        raise InputError(
            f"{path}:1: is not separated by '{delimiter}' but, it seems, by {mark!r}; "
            "set `delimiter:` in the mapping"
        )
    _refuse_missing(path, missing, header)
    return Input({name: header.index(name) for name in wanted}, header, _csv_rows(parser, lines, len(header)))


def _csv_rows(parser: Any, lines: _Remembered, width: int) -> Iterator[Row]:
    while True:
        line = parser.line_num + 1
        lines.record.clear()
        try:
            values = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            text = "".join(lines.record).rstrip("\r\n")
            span = f", lines {line} to {parser.line_num}" if parser.line_num > line else ""
            yield Row(line, (), (text,), f"is no CSV: {_csv_trouble(error)}{span}")
            continue
        if len(values) == width:
            yield Row(line, values, values)
        elif values:  # an empty line is no row
            yield Row(line, (), values, f"has {len(values)} fields; expected {width}")


def _csv_trouble(error: csv.Error) -> str:
    if "unexpected end" in str(error) or "field larger" in str(error):
        return "a quote is opened and not closed"
    return str(error)


def _jsonl(path: Path, file: IO[str], wanted: Sequence[str]) -> Input:
    return Input({name: i for i, name in enumerate(wanted)}, ("row",), _jsonl_rows(path, file, wanted))


def _jsonl_rows(path: Path, file: IO[str], wanted: Sequence[str]) -> Iterator[Row]:
    number = 0
    while text := file.readline(MAX_LINE):
        number += 1
        if len(text) == MAX_LINE:
            raise InputError(
                f"{path}:{number}: is longer than {MAX_LINE:,} characters; expected one JSON object a line"
            )
        text = text.strip()
        if not text:
            continue
        try:
            found = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            yield Row(number, (), (text,), f"is no JSON: {error}")
            continue
        if isinstance(found, dict):
            yield Row(number, [_look_up(found, name) for name in wanted], (text,))
        else:
            yield Row(number, (), (text,), "is no JSON object")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _look_up(found: dict[str, Any], name: str) -> Any:
    """Return the value under a name, or under a path such as `context.page.url`."""
    if name in found or "." not in name:
        return found.get(name)
    value: Any = found
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _parquet(path: Path, file: IO[bytes], wanted: Sequence[str]) -> Input:
    try:
        from pyarrow import ArrowException  # type: ignore[import-untyped]
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(f"{path}: reading Parquet needs pyarrow; install drumbeat[parquet]") from None
    try:
        parquet = ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise InputError(f"{path}: is not a Parquet file ({_first_line(error)})") from None
    header = list(parquet.schema_arrow.names)
    _refuse_missing(path, [name for name in wanted if name not in header], header)

    def rows() -> Iterator[Row]:
        number = 0
        try:
            for batch in parquet.iter_batches(BATCH, use_threads=False):
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield Row(number, values, values)
        except (ArrowException, OSError) as error:
            raise InputError(
                f"{path}: cannot be read on after row {number:,} ({_first_line(error)})"
            ) from None

    return Input({name: header.index(name) for name in wanted}, header, rows())


def _refuse_missing(path: Path, missing: Sequence[str], header: Sequence[str]) -> None:
    if missing:
        raise InputError(
            f"{path}: has no column '{missing[0]}', which the mapping names. {nearest(missing[0], header)}"
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
