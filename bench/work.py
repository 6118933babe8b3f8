"""One piece of work in a process of its own, so that its peak memory is its own: `python -m bench.work '{...}'`.

Prints one line of JSON. The bench's main process stays small and starts these one after the other: the
peak that a process reports (getrusage, ru_maxrss) begins with what it shared when it was started.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench import bare, delivery, imports
from bench.setting import AS_OF, CAMPAIGNS, FIRST_RUN, Raw


def plan(url: str, project: str) -> dict[str, Any]:
    """Plan the three campaigns with Drumbeat."""
    from drumbeat.planning.plan import plan as plan_campaigns
    from drumbeat.project.load import load_project
    from drumbeat.store.engine import connect, reading

    loaded = load_project(Path(project))
    engine = connect(url)
    with reading(engine):
        before = _peak()
        started = time.perf_counter()
    result = plan_campaigns(engine, loaded, as_of=AS_OF)
    seconds = time.perf_counter() - started
    peak = _peak()
    engine.dispose()
    return {
        "seconds": seconds,
        "peak": peak,
        "before": before,
        "candidates": sum(c.candidates for c in result.campaigns),
        **_decided(url),
    }


def plan_bare(url: str) -> dict[str, Any]:
    """Plan the three campaigns with SQL written by hand."""
    raw = Raw(url)
    before = _peak()
    started = time.perf_counter()
    counted = bare.plan(raw)
    seconds = time.perf_counter() - started
    peak = _peak()
    raw.close()
    return {
        "seconds": seconds,
        "peak": peak,
        "before": before,
        "candidates": sum(counted.values()),
        **_decided(url),
    }


def undo(url: str) -> dict[str, Any]:
    """Take the last plan back, so that the next one finds the store as it was."""
    raw = Raw(url)
    old, ours = f"run_id > {FIRST_RUN}", f"campaign IN {CAMPAIGNS}"
    raw.begin()
    raw.run(f"DELETE FROM outbox WHERE message_id IN (SELECT id FROM messages WHERE {ours} AND {old})")
    raw.run(f"DELETE FROM messages WHERE {ours} AND {old}")
    raw.run(
        "INSERT INTO messages SELECT * FROM bench_deferred WHERE id NOT IN (SELECT id FROM messages WHERE"
        f" {ours} AND state = 'deferred')"
    )
    raw.run(f"DELETE FROM runs WHERE id > {FIRST_RUN}")
    raw.run("COMMIT")
    if raw.postgresql:
        raw.run("VACUUM messages, outbox, runs")
        raw.run("CHECKPOINT")
    else:
        raw.run("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    return {}


def _decided(url: str) -> dict[str, Any]:
    """Return a digest of every row that was decided, and how many by campaign, state and reason."""
    raw = Raw(url)
    where = f"WHERE m.campaign IN {CAMPAIGNS} AND m.run_id > {FIRST_RUN}"
    digest = sha256()
    for row in raw.run(
        "SELECT m.campaign, m.customer_id, m.occasion, m.subject_id, m.state, m.reason, m.due_at, m.expires_at,"
        " m.priority, o.due_at, o.priority FROM messages m LEFT JOIN outbox o ON o.message_id = m.id"
        f" {where} ORDER BY m.campaign, m.customer_id, m.occasion"
    ):
        digest.update(repr([str(cell) for cell in row]).encode())
    counts = raw.run(
        f"SELECT m.campaign, m.state, m.reason, count(*) FROM messages m {where} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    raw.close()
    return {"digest": digest.hexdigest()[:16], "counts": [list(row) for row in counts]}


def fill(url: str, customers: int) -> dict[str, Any]:
    """Generate the store."""
    from bench.generate import generate

    started = time.perf_counter()
    generate(url, customers, lambda what: print(f"    {what}", file=sys.stderr, flush=True))
    return {"seconds": time.perf_counter() - started}


def _peak() -> int:
    """Return this process's peak resident memory so far, in bytes."""
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte


def load(url: str, kind: str, file: str) -> dict[str, Any]:
    """Import a file with Drumbeat."""
    return imports.measured(lambda: imports.by_drumbeat(url, kind, Path(file)), _peak)


def load_bare(url: str, kind: str, file: str) -> dict[str, Any]:
    """Import a file with SQL written by hand."""
    return imports.measured(lambda: imports.by_hand(url, kind, Path(file)), _peak)


def fill_mails(url: str, mails: int) -> dict[str, Any]:
    """Make an empty store and plan so many newsletters in it."""
    imports.empty(url)
    started = time.perf_counter()
    delivery.fill(url, mails)
    return {"seconds": time.perf_counter() - started}


def send(url: str, project: str, port: int) -> dict[str, Any]:
    """Deliver all that is due with one worker."""
    return _timed(lambda: delivery.by_drumbeat(url, project, port))


def send_bare(url: str, project: str, port: int, mails: int) -> dict[str, Any]:
    """Send the first mails with EmailMessage and smtplib."""
    return _timed(lambda: delivery.by_hand(url, project, port, mails))


def states(url: str) -> dict[str, Any]:
    """Count the messages by state."""
    return delivery.left(url)


def _timed(run: Callable[[], int]) -> dict[str, Any]:
    before = _peak()
    started, cpu = time.perf_counter(), time.process_time()
    rows = run()
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "rows": rows,
        "peak": _peak(),
        "before": before,
    }


TASKS = {
    "fill_mails": fill_mails,
    "send": send,
    "send_bare": send_bare,
    "states": states,
    "plan": plan,
    "plan_bare": plan_bare,
    "undo": undo,
    "fill": fill,
    "load": load,
    "load_bare": load_bare,
    "empty": imports.empty,
}

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(TASKS[order.pop("task")](**order)))
