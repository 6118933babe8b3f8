"""Hand mails over to one mail server or several, by SMTP, over connections that stay open.

smtp_connect.py opens a connection, smtp_lane.py runs the mails over it, smtp_replies.py says what an answer means,
smtp_pool.py keeps what is known of the servers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from drumbeat.delivery import Begin, Done, Mail
from drumbeat.delivery.smtp_connect import SmtpServer
from drumbeat.delivery.smtp_lane import Lane
from drumbeat.delivery.smtp_pool import PoolServer, Work
from drumbeat.delivery.smtp_settings import Smtp
from drumbeat.errors import DeliveryError
from drumbeat.settings import secret


class SmtpBackend:
    """A pool of connections. Its methods are to be called from one thread.

    With several connections `begin` and `done` are called from threads of their own, one call at a time.
    `now`: seconds of a clock that only runs forward.
    """

    name = "smtp"

    def __init__(self, *servers: SmtpServer, now: Callable[[], float] = time.monotonic) -> None:
        self._pool = [PoolServer(server, server.connections) for server in servers]
        self._now = now
        self._first = 0

    @property
    def servers(self) -> dict[str, tuple[int, int | None]]:
        """Return for each server how many connections we may have, and all workers together.

        The names are `host:port`; an Answer's `via` is one of them.
        """
        return {p.name: (p.server.connections, p.server.total_connections) for p in self._pool}

    @property
    def rates(self) -> dict[str, str]:
        """Return the rates (drumbeat.settings.Rate) of the servers that have one, over all workers."""
        return {p.name: p.server.rate for p in self._pool if p.server.rate is not None}

    @property
    def faults(self) -> dict[str, str]:
        """Return why servers are left out at present, wholly or beyond their open connections, by name."""
        now = self._now()
        return {p.name: p.fault for p in self._pool if p.fault is not None and now < p.not_before}

    @property
    def eight_bit(self) -> bool:
        """Say, once open, whether all servers that may be used take letters beyond ASCII (RFC 6152)."""
        known = [p.eight_bit for p in self._pool if p.allowed and p.eight_bit is not None]
        return bool(known) and all(known)

    def allow(self, connections: Mapping[str, int], mails: Mapping[str, int] | None = None) -> None:
        """Say which servers may be used from now on, by how many connections and for how many mails.

        A server that `connections` does not name is not used, one that `mails` does not name takes any number.
        Never more connections than the settings say. Names that no server has are passed over.
        """
        for place in self._pool:
            place.allowed = max(0, min(connections.get(place.name, 0), place.server.connections))
            place.budget = (mails or {}).get(place.name)
            place.close_idle(keep=place.allowed)

    def open(self) -> None:
        """Connect to every server that may be used. Raises DeliveryError where none can be."""
        now = self._now()
        for place in self._pool:
            if place.usable(now) and not place.idle:
                try:
                    place.put_back(place.connection())
                except DeliveryError as error:
                    place.failed(error, self._now())
        if not any(place.idle for place in self._pool):
            raise DeliveryError(self._why_none())

    def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
        """Hand mails over through all connections that may be used.

        Raises DeliveryError where no server is of use any more, and what `begin` and `done` raise.
        """
        work = Work(parcels, begin, done)
        while len(work) and work.error is None:
            # A server that failed in the last round is left out of the next one, so this ends.
            lanes = self._lanes(work)
            if not lanes:
                raise DeliveryError(self._why_none())
            if len(lanes) == 1:
                lanes[0].run()
            else:
                _at_once(lanes, work)
        if work.error is not None:
            raise work.error

    def close(self) -> None:
        """Say QUIT everywhere and disconnect; never raises."""
        for place in self._pool:
            place.close_idle()

    def _lanes(self, work: Work) -> list[Lane]:
        """Return a lane for each connection that may be used, each server's first before any second one."""
        now = self._now()
        usable = [place for place in self._pool if place.usable(now)]
        if not usable:
            return []
        # Few mails go to another server each time.
        self._first = (self._first + 1) % len(usable)
        turned = usable[self._first :] + usable[: self._first]
        rooms = [(place, place.usable(now)) for place in turned]
        most = max(room for _, room in rooms)
        places = [place for number in range(most) for place, room in rooms if room > number]
        return [Lane(place, work, self._now) for place in places[: len(work)]]

    def _why_none(self) -> str:
        """Return one line that says why no server can be used."""
        now = self._now()
        faults = [p.fault for p in self._pool if p.allowed and p.fault is not None and now < p.not_before]
        if not faults:
            return f"no mail server may take more now, of {', '.join(self.servers)}; try again later"
        if len(faults) == 1:
            return faults[0]
        return f"none of {len(faults)} mail servers can be used: {' | '.join(faults)}"


def _at_once(lanes: Sequence[Lane], work: Work) -> None:
    """Run lanes in a thread each. Interrupted, it cuts them off and waits for their answers to be recorded."""
    # An interrupted Thread.join takes the thread for ended (Python 3.11), so ends are told by events.
    running: list[tuple[threading.Thread, threading.Event]] = []

    def run(lane: Lane, ended: threading.Event) -> None:
        try:
            lane.run()
        finally:
            ended.set()

    try:
        for lane in lanes:
            ended = threading.Event()
            thread = threading.Thread(target=run, args=(lane, ended), name="smtp", daemon=True)
            running.append((thread, ended))
            thread.start()
        for _, ended in running:
            ended.wait()
    except BaseException as error:
        work.stop(error)
        for lane in lanes:
            lane.abort()
        for thread, ended in running:
            if thread.ident is not None:
                ended.wait()
        raise
    for thread, _ in running:
        thread.join()


def from_settings(smtp: Smtp, root: Path) -> SmtpBackend:
    """Return the backend of `delivery.smtp`; paths are read from `root`.

    Raises DeliveryError where an environment variable that holds a secret is not set.
    """
    return SmtpBackend(
        *(
            SmtpServer(
                host=host.host,
                port=host.port,
                tls=host.tls,
                ca_file=root / host.ca_file if host.ca_file else None,
                username=secret(host.username_env, "delivery.smtp.username_env"),
                password=secret(host.password_env, "delivery.smtp.password_env"),
                timeout=smtp.timeout.total_seconds(),
                content_timeout=smtp.content_timeout.total_seconds(),
                auth=host.auth,
                token=secret(host.token_env, "delivery.smtp.token_env"),
                token_file=root / host.token_file if host.token_file else None,
                helo=host.helo,
                connections=host.connections,
                total_connections=host.total_connections,
                rate=host.rate,
                mails_per_connection=smtp.mails_per_connection,
            )
            for host in smtp.hosts
        )
    )
