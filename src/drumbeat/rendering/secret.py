"""The key that links are signed with: from the environment, else made once and kept in the project."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from drumbeat.errors import UsageError
from drumbeat.rendering.links import SHORTEST_KEY

SECRET_FILE = Path(".drumbeat/secret")


def load_secret(root: Path, env_name: str) -> bytes:
    """Return the key that signs: the first of `load_secrets`."""
    return load_secrets(root, env_name)[0]


def load_secrets(root: Path, env_name: str) -> list[bytes]:
    """Return the keys, the one that signs first, older ones that are still accepted after it.

    They stand, separated by blanks or lines, in the environment variable `env_name`; where it is not set, in
    `.drumbeat/secret` of the project, which is made with a random key, readable by its owner only. Several
    processes that make it at once all get the same key. Raises UsageError for a key under 16 characters
    and where the file can be neither read nor made.
    """
    given = os.environ.get(env_name, "")
    source = f"environment variable {env_name}"
    if not given.strip():
        path = root / SECRET_FILE
        source = str(SECRET_FILE)
        try:
            given = _read_or_make(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not text"
            raise UsageError(f"cannot use {source}: {reason}; set {env_name} to a secret instead") from None
    keys = [word.encode() for word in given.split()]
    if not keys or any(len(key) < SHORTEST_KEY for key in keys):
        raise UsageError(
            f"{source} holds no key of at least {SHORTEST_KEY} characters; try `openssl rand -hex 32`"
        )
    return keys


def _read_or_make(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        pass
    path.parent.mkdir(exist_ok=True)
    # Written aside and linked into place: a process that finds the file finds the whole key in it.
    draft = path.with_name(f"secret.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            os.link(draft, path)
        return path.read_text(encoding="ascii")
    finally:
        draft.unlink()
