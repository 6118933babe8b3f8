"""The two stores of the bench: a SQLite file, and a PostgreSQL server of its own with production-like settings."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "2GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "effective_cache_size": "12GB",
    "random_page_cost": "1.1",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    # The bench vacuums between runs itself, so that no worker wakes up inside one of them.
    "autovacuum": "off",
}


def postgresql_programs() -> Path | None:
    """Return the folder that holds initdb and pg_ctl, or None."""
    found = [Path(p).resolve().parent for p in (shutil.which("initdb"), shutil.which("postgres")) if p]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in found if (f / "initdb").is_file() and (f / "pg_ctl").is_file()), None)


def _not_root() -> dict[str, Any]:
    """Name the user to run the server as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}


@contextmanager
def postgresql(programs: Path, folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server in the folder; yield the URL of its database `postgres`."""
    folder.mkdir()
    who = _not_root()
    if who:
        os.chown(folder, who["user"], who["group"])
    data = folder / "data"

    def run(*words: str) -> None:
        program = [str(programs / words[0]), *words[1:]]
        subprocess.run(program, check=True, capture_output=True, cwd=folder, **who)

    run("initdb", "-D", str(data), "-U", "drumbeat", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    run(
        "pg_ctl",
        "-D",
        str(data),
        "-l",
        str(folder / "log"),
        "-w",
        "-o",
        f"{options} -p {port} -k {folder}",
        "start",
    )
    try:
        yield f"postgresql://drumbeat@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop")
