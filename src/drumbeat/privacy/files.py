"""What stands on disk beside the database and is about a person: found, and removed.

    mailbox, notes      mails and messages that the `file` backend put there: by the name of the file, a keyed hash
    .drumbeat/preview   mails rendered for them: the .eml, and what was written beside it
    .drumbeat/spill     lines that name them: those that no database took; what waits is read back first
    *.rejected.csv      rows that name them, beside the imports and anywhere else in the project's folder

Files that are not ours stay: the imports themselves. They are the company's, and bring the customer back.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from drumbeat.errors import UsageError
from drumbeat.privacy.inbox import views
from drumbeat.privacy.names import Names
from drumbeat.project.load import Project

SPILL, PREVIEW = Path(".drumbeat/spill"), Path(".drumbeat/preview")
REJECTED = "*.rejected.csv"
SKIPPED_FOLDERS = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__"})


@dataclass(frozen=True)
class Found:
    """A file that is about them. `lines`: how many of its lines or rows are; None: all of it."""

    path: Path
    what: str
    lines: int | None = None


def look(project: Project, names: Names, messages: Mapping[str, int], *, remove: bool) -> list[Found]:
    """Find what is about a person, in order; with `remove`, remove it.

    `messages`: ids by the names that files bear (`tokens.file_names`). Raises UsageError where a file can be neither
    read nor removed: then nothing must be taken for erased.
    """
    try:
        found = list(_all(project, names, messages, remove=remove))
    except OSError as error:
        raise UsageError(
            f"cannot clear {error.filename or 'a file of the project'} of what is about them: {error.strerror}; make it "
            "readable and writable, and try again"
        ) from None
    return sorted(found, key=lambda one: str(one.path))


def imports(project: Project) -> list[Path]:
    """Return the files that `collect` imports: whom they still name they bring back."""
    return [project.root / source.file for source in project.config.imports]


def _all(project: Project, names: Names, messages: Mapping[str, int], *, remove: bool) -> Iterator[Found]:
    folders = project.config.delivery.file
    mailbox = project.root / folders.folder
    for folder in (mailbox / "new", mailbox / "cur", mailbox / "tmp"):
        yield from _whole(folder, messages, "mail", remove=remove)
    notes = project.root / folders.notes
    for folder in sorted(notes.iterdir()) if notes.is_dir() else ():
        if folder.is_dir():
            yield from _whole(folder, messages, "message", remove=remove)
    yield from _previews(project.root / PREVIEW, names, remove=remove)
    yield from _spilled(project.root / SPILL, names, set(messages.values()), remove=remove)
    for path in _rejected(project):
        yield from _rows(path, names, remove=remove)


def _whole(folder: Path, messages: Collection[str], what: str, *, remove: bool) -> Iterator[Found]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        # A mail program adds its marks behind the name; a draft has a dot before it.
        ours = [entry.path for entry in entries if entry.name.lstrip(".").split(".")[0] in messages]
    for path in ours:
        if remove:
            Path(path).unlink(missing_ok=True)
        yield Found(Path(path), what)


def _previews(folder: Path, names: Names, *, remove: bool) -> Iterator[Found]:
    if not folder.is_dir():
        return
    stems: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        stems.setdefault(path.stem, []).append(path)
    for stem, paths in stems.items():
        named = any(stem.endswith(f".{one}") for one in names.ids)
        if named or any(_names_them(path.read_bytes(), names) for path in paths if path.suffix == ".eml"):
            for path in paths:
                if remove:
                    path.unlink(missing_ok=True)
                yield Found(path, "preview")


def _spilled(folder: Path, names: Names, message_ids: Collection[int], *, remove: bool) -> Iterator[Found]:
    if not folder.is_dir():
        return

    def theirs(line: bytes) -> bool:
        return _message_of(line) in message_ids or _names_them(line, names)

    with _locked(folder):
        for path in sorted(folder.glob("*.jsonl")):
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if not theirs(line)]
            if len(kept) < len(lines):
                if remove:
                    _rewrite(path, b"".join(kept))
                yield Found(path, "lines", len(lines) - len(kept))


def _message_of(line: bytes) -> int | None:
    try:
        found = json.loads(line)["message_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock that servers append and take spilled files under (web.spill)."""
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _rejected(project: Project) -> list[Path]:
    found = {path.with_name(f"{path.name}.rejected.csv") for path in imports(project)}
    for folder, inner, files in os.walk(project.root):
        inner[:] = sorted(name for name in inner if name not in SKIPPED_FOLDERS)
        found |= {Path(folder, name) for name in files if Path(name).match(REJECTED)}
    return sorted(path for path in found if path.is_file())


def _rows(path: Path, names: Names, *, remove: bool) -> Iterator[Found]:
    """Find the rows of a file of rejected rows that name them; the file goes where no other row is left."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        try:
            rows = list(csv.reader(file))
        except csv.Error:  # not written by us, or cut off: a person has to look
            yield Found(path, "unreadable")
            return
    kept = [row for place, row in enumerate(rows) if place == 0 or not names.names_row(row)]
    if len(kept) == len(rows):
        return
    if remove and len(kept) == 1:
        path.unlink()
    elif remove:
        written = StringIO(newline="")
        csv.writer(written).writerows(kept)
        _rewrite(path, written.getvalue().encode("utf-8", "surrogateescape"))
    yield Found(path, "rows", len(rows) - len(kept))


def _rewrite(path: Path, data: bytes) -> None:
    """Write a file anew beside itself and put it in its place, with the rights that it had."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_bytes(data)
        draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _names_them(data: bytes, names: Names) -> bool:
    return any(names.named(view) for view in views(data, {}))
