"""Hits and webhook calls a second on a real `drumbeat serve`, each stored durably before it is answered.

`measure(url, folder)` starts a server on the store, loads it from a process of its own, and counts at the end
that every answered hit is a row. The client keeps connections open, sends the next request when the answer to
the last one is in, and does nothing else: it is not the limit, and says how much of a core it took.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.setting import ROOT, Raw

SECRET = "a-secret-for-the-bench-alone"
SIGNING_KEY = "a-signing-key-for-the-bench-alone"
READERS = 40_000
"""Messages that the loads of one kind are about, each to a reader of its own; as many again for the mixed one."""

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Mozilla/5.0",
)
LINKS = [
    f"https://shop.example.com/new/item-{n}?utm_source=drumbeat&utm_campaign=newsletter" for n in range(5)
]

FILES = {
    "project.yaml": """
project: bench
time_zone: Europe/London
senders:
  shop: {name: The Shop, address: shop@shop.example, postal_address: "1 High Street, London"}
topics: {offers: Offers}
delivery:
  backend: file
  mailgun: {domain: mg.shop.example, webhook_key_env: BENCH_MAILGUN_KEY}
""",
    "segments.yaml": "readers: {consent: offers}\n",
    "triggers/__init__.py": "KINDS = {}\n",
}


def measure(
    url: str, folder: Path, *, connections: int = 64, seconds: float = 8.0, readers: int = READERS
) -> dict[str, Any]:
    """Return the figures of four loads on the store at `url`, which is emptied first: opens, clicks, all, calls.

    Of each: `per_second`, `p50_ms`, `p99_ms`, `answered`, and what a hit cost in CPU: `server_us`, `client_us`
    and, on PostgreSQL, `database_us`. `spilled`: how many waited in the spill file, where the store was too slow.
    Fails where an answered hit is not stored in the end. `calls` are webhook calls of one
    event each, worked on by the same server meanwhile; `all` is six opens, three clicks and a call in turn.
    """
    _fill(url, readers)
    project = folder / "hits"
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    figures = {}
    with _server(url, project) as (process, port):
        requests = _Requests(port, readers)
        loads = {
            "opens": [requests.open(n) for n in range(readers)],
            "clicks": [requests.click(n) for n in range(readers)],
            "all": requests.mixed(),
            "calls": [requests.call() for _ in range(readers)],
        }
        for name, load in loads.items():
            figures[name] = _load(url, process.pid, port, load, folder, connections, seconds)
    return figures


class _Requests:
    """Writes requests that are all different, so that each that is answered is a row of its own."""

    def __init__(self, port: int, readers: int) -> None:
        from drumbeat.rendering.links import Links

        self._host = f"127.0.0.1:{port}"
        self._links = Links(f"http://{self._host}", SECRET.encode())
        self._called, self._readers = 0, readers

    def open(self, n: int) -> bytes:
        """Return an open of message n."""
        return self._get(self._links.open(n + 1), n)

    def click(self, n: int) -> bytes:
        """Return a click in message n."""
        return self._get(self._links.click(n + 1, LINKS[n % len(LINKS)]), n)

    def call(self) -> bytes:
        """Return a signed call that tells of a delivery."""
        self._called += 1
        token, stamp = f"{self._called:050d}", str(int(time.time()))
        signature = hmac.new(SIGNING_KEY.encode(), f"{stamp}{token}".encode(), "sha256").hexdigest()
        message = self._called % self._readers + 1
        event = {
            "event": "delivered",
            "id": token,
            "timestamp": time.time(),
            "recipient": f"r{message}@mail.example.com",
            "user-variables": {"drumbeat": self._links.mail_token(message)},
            "delivery-status": {"code": 250, "message": "OK", "mx-host": "mx.mail.example.com"},
        }
        body = json.dumps(
            {
                "signature": {"timestamp": stamp, "token": token, "signature": signature},
                "event-data": event,
            }
        ).encode()
        head = (
            f"POST /hooks/mailgun HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: mailgun/bench\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def mixed(self) -> list[bytes]:
        """Return six opens, three clicks and a call, again and again, of messages that no other load is about."""
        found = []
        for first in range(self._readers, 2 * self._readers - 9, 6):
            found += [self.open(first + n) for n in range(6)]
            found += [self.click(first + n) for n in range(3)]
            found.append(self.call())
        return found

    def _get(self, url: str, n: int) -> bytes:
        path = url.partition(self._host)[2]
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: {AGENTS[n % len(AGENTS)]}\r\n"
            "Accept: image/avif,image/webp,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.9\r\n"
            "Accept-Encoding: gzip, deflate, br\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n"
        ).encode()


def _load(
    url: str,
    server: int,
    port: int,
    requests: list[bytes],
    folder: Path,
    connections: int,
    seconds: float,
) -> dict[str, Any]:
    """Run one load and check that every answered hit is stored."""
    file = folder / "requests.pickle"
    file.write_bytes(pickle.dumps(requests))
    before, cpu, database = _rows(url), _cpu([server]), _cpu(_backends(url))
    order = {"port": port, "file": str(file), "connections": connections, "seconds": seconds}
    ran = subprocess.run(
        [sys.executable, "-m", "bench.hits", json.dumps(order)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    told: dict[str, Any] = json.loads(ran.stdout)
    server_cpu, database_cpu = _cpu([server]) - cpu, _cpu(_backends(url)) - database
    answered = told["answered"]
    spilled = max(0, answered - (_rows(url) - before))
    until = time.monotonic() + 60
    while (stored := _rows(url) - before) < answered:
        if time.monotonic() > until:
            raise SystemExit(f"{answered} hits were answered and {stored} are stored")
        time.sleep(0.2)
    figures = {
        "per_second": round(answered / told["seconds"]),
        "p50_ms": round(told["p50_ms"], 2),
        "p99_ms": round(told["p99_ms"], 2),
        "answered": answered,
        "spilled": spilled,
        "connections": connections,
        "client_us": round(told["cpu"] / answered * 1e6),
        "server_us": round(server_cpu / answered * 1e6),
    }
    if database_cpu:
        figures["database_us"] = round(database_cpu / answered * 1e6)
    return figures


def _fill(url: str, readers: int = READERS) -> None:
    """Make the tables as `drumbeat db upgrade` does, and messages that were sent an hour ago."""
    from sqlalchemy import insert, text

    from drumbeat.store.engine import connect, writing
    from drumbeat.store.tables import customers, messages, metadata, runs
    from drumbeat.store.upgrade import VERSION_TABLE, upgrade

    engine = connect(url)
    metadata.drop_all(engine)
    with writing(engine) as connection:
        connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
    upgrade(engine)
    sent = datetime.now(UTC) - timedelta(hours=1)
    with writing(engine) as connection:
        connection.execute(insert(runs), [{"id": 1, "kind": "plan", "as_of": sent, "started_at": sent}])
        for first in range(1, 2 * readers + 1, 10_000):
            numbers = range(first, min(first + 10_000, 2 * readers + 1))
            connection.execute(
                insert(customers),
                [
                    {
                        "id": n,
                        "external_id": f"c{n}",
                        "person_id": n,
                        "email": f"r{n}@mail.example.com",
                        "email_key": f"r{n}@mail.example.com",
                        "loaded_at": sent,
                    }
                    for n in numbers
                ],
            )
            connection.execute(
                insert(messages),
                [
                    {
                        "id": n,
                        "run_id": 1,
                        "campaign": "newsletter",
                        "customer_id": n,
                        "occasion": "bench",
                        "sender": "shop",
                        "kind": "marketing",
                        "topic": "offers",
                        "template": "newsletter",
                        "priority": 50,
                        "state": "sent",
                        "planned_at": sent,
                        "due_at": sent,
                        "sent_at": sent,
                        "address_key": f"r{n}@mail.example.com",
                    }
                    for n in numbers
                ],
            )
    engine.dispose()
    raw = Raw(url)
    raw.run("ANALYZE")
    raw.close()


@contextmanager
def _server(url: str, project: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    environment = {
        **os.environ,
        "DRUMBEAT_DATABASE_URL": url,
        "DRUMBEAT_SECRET": SECRET,
        "BENCH_MAILGUN_KEY": SIGNING_KEY,
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "drumbeat", "serve", "-C", str(project), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"Listening on http://127\.0\.0\.1:(\d+);", line)
        if found is None:
            raise SystemExit(f"the server did not start: {line}")
        yield process, int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _rows(url: str) -> int:
    raw = Raw(url)
    counted = raw.run(
        "SELECT (SELECT count(*) FROM responses WHERE source = 'link') + (SELECT count(*) FROM inbox)"
    )
    raw.close()
    return int(counted[0][0])


def _backends(url: str) -> list[int]:
    """Return the processes of the database's server; none for SQLite, which lives in ours."""
    if not url.startswith("postgresql"):
        return []
    raw = Raw(url)
    found = [int(row[0]) for row in raw.run("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
    raw.close()
    return found


def _cpu(processes: Sequence[int]) -> float:
    """Return the seconds of CPU that living processes have used; of one that has ended nothing."""
    used = 0.0
    for process in processes:
        try:
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


class _Connection(asyncio.Protocol):
    """One connection kept open: a request, its answer, the next request."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._missing = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: Any = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Count an answer once all of it is here."""
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._missing = self._load.length(self._head[:end]) - (len(self._head) - end - 4)
            self._head = b""
        if not self._missing:
            self._load.answered(time.perf_counter() - self._asked)
            self._next()

    def _next(self) -> None:
        request = self._load.next()
        if request is None:
            self._transport.close()
            self._load.closed()
            return
        self._asked = time.perf_counter()
        self._transport.write(request)


class _Load:
    """What all connections share."""

    def __init__(self, requests: list[bytes], seconds: float, done: asyncio.Event, connections: int) -> None:
        self._requests = iter(requests)
        self._until = time.perf_counter() + seconds
        self._done, self._open = done, connections
        self.latencies = array("d")
        self._lengths: dict[bytes, int] = {}

    def next(self) -> bytes | None:
        """Return a request; None when the time is over."""
        return None if time.perf_counter() >= self._until else next(self._requests, None)

    def length(self, head: bytes) -> int:
        """Return the length of the body behind a head. Raises SystemExit for an answer that is an error."""
        status = head[9:12]
        if status not in (b"200", b"302"):
            raise SystemExit(f"an answer of {status.decode()}")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        return int(found[1]) if found else 0

    def answered(self, seconds: float) -> None:
        """Note an answer."""
        self.latencies.append(seconds)

    def closed(self) -> None:
        """Note the end of a connection."""
        self._open -= 1
        if not self._open:
            self._done.set()


async def _run(port: int, file: str, connections: int, seconds: float) -> dict[str, Any]:
    requests = pickle.loads(Path(file).read_bytes())
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    load = _Load(requests, seconds, done, connections)
    cpu, started = _own_cpu(), time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
    await done.wait()
    elapsed, used = time.perf_counter() - started, _own_cpu() - cpu
    ordered = sorted(load.latencies)
    return {
        "answered": len(ordered),
        "seconds": elapsed,
        "cpu": used,
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1e3,
    }


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(_run(**json.loads(sys.argv[1])))))
