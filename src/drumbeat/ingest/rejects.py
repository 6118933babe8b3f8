"""The file of rejected rows beside an input: line, reason, and the row as it was."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from drumbeat.errors import InputError


class Rejects:
    """Collects rejected rows; the file appears when `keep` is called, whole or not at all.

    `ours`: the path is the default beside the input, not one that somebody named.
    Columns: line, reason, then the input's own (JSON lines: the raw line as `row`). UTF-8, comma-separated.
    """

    def __init__(self, path: Path, *, ours: bool) -> None:
        self.path = path
        self._ours = ours
        self.count = 0
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._file: IO[str] | None = None
        self._writer: Any = None
        self._header: Sequence[str] = ()

    def open_for(self, header: Sequence[str]) -> None:
        """Note the input's columns; the file is made with the first rejected row."""
        self._header = header

    def add(self, line: int, reason: str, original: Sequence[Any]) -> None:
        """Write one rejected row. Raises InputError where the folder cannot be written to."""
        try:
            if self._file is None:
                # Putting a file in the place of a folder or a device would replace it.
                if self.path.exists() and not self.path.is_file():
                    raise OSError("it is there and is no file")
                self._file = self._part.open("w", encoding="utf-8", errors="backslashreplace", newline="")
                self._writer = csv.writer(self._file)
                self._writer.writerow(["line", "reason", *self._header])
            self._writer.writerow([line, reason, *original])
        except OSError as error:
            raise self._unwritable(error) from None
        self.count += 1

    def keep(self) -> Path | None:
        """Put the file in its place and return where it is; None where nothing was rejected.

        Then a file that an earlier import left in our own place is removed: its rows are good now.
        """
        try:
            if self._file is None:
                if self._ours and self.path.is_file():
                    self.path.unlink()
                return None
            self._file.close()
            self._part.replace(self.path)
        except OSError as error:
            raise self._unwritable(error) from None
        return self.path

    def discard(self) -> None:
        """Remove what `keep` did not put in its place."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"cannot write the rejected rows to {self.path} ({error.strerror or error}); nothing was imported; "
            "name another file with --rejects FILE"
        )
