"""Keep responses in a file while the database is away, so that a reader's no is never lost.

    .drumbeat/spill/responses.jsonl            being written; every append is on disk before it returns
    .drumbeat/spill/responses-<hex>.jsonl      being read back; deleted when its last line is stored
    .drumbeat/spill/unreadable.jsonl           lines that could not be read (cut off by a power cut)

Several servers may share the folder: appending and taking are done under a file lock, and reading a file
back twice stores nothing twice (`Response.dedupe_key`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response


class Spill:
    """Responses on disk that the store has not got yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._current = folder / "responses.jsonl"
        # flock does not keep threads of one process apart where they share a file; this does.
        self._threads = Lock()

    def append(self, hits: Sequence[Response]) -> None:
        """Write responses and wait until they are on disk. Raises OSError where that cannot be done."""
        data = b"".join(json.dumps(_plain(hit), ensure_ascii=True).encode() + b"\n" for hit in hits)
        with self._locked():
            new = not self._current.exists()
            with self._current.open("ab+") as file:
                if not new and not _ends_line(self._current):
                    file.write(b"\n")
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if new:
                _sync_folder(self.folder)

    def waiting(self) -> int:
        """Return how many responses wait to be stored."""
        return sum(_count_lines(path) for path in (self._current, *self.folder.glob("responses-*.jsonl")))

    def take(self) -> list[Path]:
        """Set the file being written aside and return every file that is to be read back."""
        if not self.folder.is_dir():
            return []
        with self._locked():
            if self._current.exists():
                self._current.rename(self.folder / f"responses-{uuid4().hex[:12]}.jsonl")
        return sorted(self.folder.glob("responses-*.jsonl"))

    def read(self, path: Path) -> list[Response]:
        """Return the responses in a taken file; lines that cannot be read are put into unreadable.jsonl."""
        hits: list[Response] = []
        unreadable: list[bytes] = []
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:  # another server on this folder was quicker
            return []
        for line in filter(None, lines):
            try:
                hits.append(_response(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                unreadable.append(line)
        if unreadable:
            with (self.folder / "unreadable.jsonl").open("ab") as file:
                file.write(b"\n".join(unreadable) + b"\n")
        return hits

    def forget(self, path: Path) -> None:
        """Delete a taken file whose responses are stored."""
        path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._threads, (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _plain(hit: Response) -> dict[str, Any]:
    return {
        "message_id": hit.message_id,
        "kind": str(hit.kind),
        "at": hit.at.isoformat(),
        "dedupe_key": hit.dedupe_key,
        "actor": str(hit.actor),
        "url": hit.url,
        "raw": hit.raw,
    }


def _response(line: dict[str, Any]) -> Response:
    at = datetime.fromisoformat(line["at"])
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return Response(
        message_id=int(line["message_id"]),
        kind=Kind(line["kind"]),
        at=at,
        dedupe_key=str(line["dedupe_key"]),
        actor=Actor(line["actor"]),
        url=line["url"],
        raw=line["raw"],
    )


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _count_lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    """Put a new file's name on disk too: without it a power cut can lose the whole file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
