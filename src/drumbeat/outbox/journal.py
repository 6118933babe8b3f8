"""The journal: what a worker is handing over, on disk before and after each message, for whoever comes after a kill.

A chunk of messages is marked HANDING_OVER in the store by one commit, and how they ended is recorded by another.
In between, each message leaves two lines here: `b` before the first byte of its content, `e` with the answer
before the next content goes out on that connection. So a kill leaves no more uncertain than one message a
connection: what has no `b` never left, what has an `e` ended so.

    <project>/.drumbeat/journal/<worker>.jsonl
    {"worker": "host:12:ab", "boot": "..."}      who wrote it, and in which run of the machine
    c [1, 2, 3]                                  messages about to be marked
    b 1
    e 1 {"outcome": "accepted", ...}

Lines are written without fsync (0.19 ms each here, which would be a third of a mail's whole time): they survive
the death of the process, not a power cut. After a power cut, seen by another boot id, what has no `e` is
uncertain, whether or not it has a `b`: never doubled. A live worker holds a lock on its file.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from drumbeat.delivery import Answer, Outcome, Scope
from drumbeat.errors import DeliveryError

FOLDER = Path(".drumbeat/journal")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Journal:
    """One worker's journal. `open` it before the first chunk, `close` it after the last."""

    def __init__(self, root: Path, worker: str) -> None:
        self.path = root / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', worker)}.jsonl"
        self._worker = worker
        self._file = -1
        self._start = 0
        self._holds_a_chunk = False

    def open(self) -> None:
        """Make the file and lock it. Raises DeliveryError where that cannot be done."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            head = json.dumps({"worker": self._worker, "boot": boot_id()}) + "\n"
            self._start = os.write(self._file, head.encode())
        except OSError as error:
            raise DeliveryError(
                f"cannot write the journal {self.path}: {error.strerror}; nothing is handed over without it,"
                " so make the folder writable"
            ) from None

    def chunk(self, message_ids: Collection[int]) -> None:
        """Note which messages are about to be marked as being handed over."""
        self._holds_a_chunk = True
        self._write(f"c {json.dumps(sorted(message_ids))}\n")

    def begin(self, message_id: int) -> None:
        """Note that the content of a message is about to leave."""
        self._write(f"b {message_id}\n")

    def end(self, message_id: int, answer: Answer, at: datetime) -> None:
        """Note how a message ended."""
        self._write(f"e {message_id} {json.dumps(_plain(answer, at))}\n")

    def clear(self) -> None:
        """Forget the chunk: how it ended is in the store."""
        os.ftruncate(self._file, self._start)
        self._holds_a_chunk = False

    def close(self) -> None:
        """Remove the file; never raises. Where it holds a chunk that was not recorded, leave it for the next start."""
        if not self._holds_a_chunk:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file and leave it as it is; never raises."""
        with suppress(OSError):
            os.close(self._file)

    def _write(self, line: str) -> None:
        data = line.encode()
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except OSError as error:
                raise DeliveryError(
                    f"cannot write the journal {self.path}: {error.strerror}; nothing more is handed over"
                ) from None


@dataclass
class Left:
    """What a dead worker's journal says. `same_boot`: the machine was not restarted since, so that nothing is missing."""

    worker: str
    same_boot: bool
    chunk: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    ended: dict[int, tuple[Answer, datetime]] = field(default_factory=dict)


def abandoned(root: Path) -> Iterator[Left]:
    """Give what each dead worker left; a file is removed when the caller comes back for the next.

    Another process that asks at the same time gets other files. Files of live workers are left alone.
    """
    for path in sorted((root / FOLDER).glob("*.jsonl")):
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if not path.exists():  # settled by another one between our look and our lock
                continue
            left = read(path.read_bytes())
            if left is not None:
                yield left
            path.unlink(missing_ok=True)
        finally:
            os.close(file)


def read(content: bytes) -> Left | None:
    """Return what a journal says; None for one without a whole first line. A line cut off at the end counts for nothing."""
    lines = content.split(b"\n")[:-1]
    try:
        head = json.loads(lines[0])
        boot = head["boot"]
        left = Left(head["worker"], bool(boot) and boot == boot_id())
    except (IndexError, ValueError, KeyError, TypeError):
        return None
    for line in lines[1:]:
        with suppress(ValueError, KeyError, TypeError):
            _take(left, line.decode())
    return left


def _take(left: Left, line: str) -> None:
    kind, _, rest = line.partition(" ")
    if kind == "c":
        left.chunk |= {int(i) for i in json.loads(rest)}
    elif kind == "b":
        left.begun.add(int(rest))
    elif kind == "e":
        number, _, document = rest.partition(" ")
        left.ended[int(number)] = _answer(json.loads(document))


def boot_id() -> str:
    """Return the name of this run of the machine; '' where the system gives none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _plain(answer: Answer, at: datetime) -> dict[str, Any]:
    wait = answer.retry_after.total_seconds() if answer.retry_after is not None else None
    said = {
        "outcome": str(answer.outcome),
        "text": answer.text,
        "code": answer.code,
        "status": answer.status,
        "retry_after": wait,
        "scope": str(answer.scope),
        "remote_id": answer.remote_id,
        "dead_address": answer.dead_address,
        "unsubscribed": answer.unsubscribed,
        "via": answer.via,
        "at": at.isoformat(),
    }
    return {name: value for name, value in said.items() if value not in (None, False, "")}


def _answer(said: dict[str, Any]) -> tuple[Answer, datetime]:
    wait = said.get("retry_after")
    answer = Answer(
        Outcome(said["outcome"]),
        said.get("text", ""),
        code=said.get("code"),
        status=said.get("status"),
        retry_after=timedelta(seconds=wait) if wait is not None else None,
        scope=Scope(said["scope"]),
        remote_id=said.get("remote_id"),
        dead_address=said.get("dead_address", False),
        unsubscribed=said.get("unsubscribed", False),
        via=said.get("via"),
    )
    return answer, datetime.fromisoformat(said["at"])
