"""Claims messages in small batches until none is left, and prints their ids.

    python claimer.py URL AT

It prints `ready`, and begins when it reads a line, so that several begin together.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from drumbeat.outbox.claim import claim, worker_name
from drumbeat.store.engine import connect, reading


def main(url: str, at: str) -> None:
    """Claim everything."""
    engine = connect(url)
    with reading(engine):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
    now, worker = datetime.fromisoformat(at), worker_name()
    while batch := claim(engine, worker=worker, at=now, lease=timedelta(minutes=10), limit=20):
        sys.stdout.write("".join(f"{claimed.message_id}\n" for claimed in batch))
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
