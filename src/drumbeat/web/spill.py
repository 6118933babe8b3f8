"""Keep what came in a file while the database is away, so that a reader's no is never lost.

    .drumbeat/spill/responses.jsonl            being written; every append is on disk before it returns
    .drumbeat/spill/responses-<hex>.jsonl      being read back; deleted when its last line is stored
    .drumbeat/spill/unreadable.jsonl           lines that cannot be read (cut off by a power cut) or stored

A line is a response or a webhook call. Several servers may share the folder: appending and taking are done
under a file lock, and reading a file back twice stores nothing twice (both have a `dedupe_key`).
"""

from __future__ import annotations

import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias
from uuid import uuid4

from drumbeat.responses.arrived import Arrived
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import LINK, Response

Item: TypeAlias = "Response | Arrived"
"""What can wait in the file."""


class Spill:
    """Responses and calls on disk that the store has not got yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._current = folder / "responses.jsonl"
        # flock does not keep threads of one process apart where they share a file; this does.
        self._threads = Lock()

    def append(self, items: Sequence[Item]) -> None:
        """Write items and wait until they are on disk. Raises OSError where that cannot be done."""
        data = b"".join(_line(item) + b"\n" for item in items)
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
        """Return how many items wait to be stored."""
        return sum(_count_lines(path) for path in (self._current, *self.folder.glob("responses-*.jsonl")))

    def take(self) -> list[Path]:
        """Set the file being written aside and return every file that is to be read back."""
        if not self.folder.is_dir():
            return []
        if self._current.exists():
            with self._locked():
                if self._current.exists():
                    self._current.rename(self.folder / f"responses-{uuid4().hex[:12]}.jsonl")
        return sorted(self.folder.glob("responses-*.jsonl"))

    def read(self, path: Path, batch: int) -> Iterator[list[Item]]:
        """Give what a taken file holds, `batch` items at a time; what cannot be read goes to unreadable.jsonl."""
        items: list[Item] = []
        unreadable: list[bytes] = []
        try:
            with path.open("rb") as file:
                for line in file:
                    try:
                        items += [_item(json.loads(line))] if line.strip() else []
                    except (ValueError, KeyError, TypeError, AttributeError):
                        unreadable.append(line.rstrip(b"\n"))
                    if len(items) >= batch:
                        yield items
                        items = []
        except FileNotFoundError:  # another server on this folder was quicker
            return
        if items:
            yield items
        self._set_aside(unreadable)

    def set_aside(self, items: Sequence[Item]) -> None:
        """Put items that no database takes into unreadable.jsonl, for a person."""
        self._set_aside([_line(item) for item in items])

    def _set_aside(self, lines: Sequence[bytes]) -> None:
        if lines:
            with (self.folder / "unreadable.jsonl").open("ab") as file:
                file.write(b"\n".join(lines) + b"\n")

    def forget(self, path: Path) -> None:
        """Delete a taken file whose items are stored."""
        path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._threads, (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _line(item: Item) -> bytes:
    return json.dumps(_plain(item), ensure_ascii=True).encode()


def _plain(item: Item) -> dict[str, Any]:
    if isinstance(item, Arrived):
        return {
            "arrived": item.source,
            "dedupe_key": item.dedupe_key,
            "received_at": item.received_at.isoformat(),
            "headers": dict(item.headers),
            "body": b64encode(item.body).decode(),
        }
    return {
        "message_id": item.message_id,
        "kind": str(item.kind),
        "at": item.at.isoformat(),
        "dedupe_key": item.dedupe_key,
        "actor": str(item.actor),
        "url": item.url,
        "raw": item.raw,
        "email_key": item.email_key,
        "bounce": item.bounce,
        "reason": item.reason,
        "source": item.source,
    }


def _item(line: dict[str, Any]) -> Item:
    if "arrived" in line:
        return Arrived(
            source=str(line["arrived"]),
            dedupe_key=str(line["dedupe_key"]),
            received_at=_instant(line["received_at"]),
            body=b64decode(line["body"], validate=True),
            headers=dict(line["headers"]),
        )
    return Response(
        message_id=None if line["message_id"] is None else int(line["message_id"]),
        kind=Kind(line["kind"]),
        at=_instant(line["at"]),
        dedupe_key=str(line["dedupe_key"]),
        actor=Actor(line["actor"]),
        url=line["url"],
        raw=line["raw"],
        # Lines of an earlier version have none of these.
        email_key=line.get("email_key"),
        bounce=line.get("bounce"),
        reason=line.get("reason"),
        source=line.get("source", LINK),
    )


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return at


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    """Put a new file's name on disk too: without it a power cut can lose the whole file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
