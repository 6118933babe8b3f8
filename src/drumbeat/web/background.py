"""Work that a server does beside answering: once a second, in a thread, until it stops."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

from drumbeat.errors import DrumbeatError

log = logging.getLogger("drumbeat.web")

EVERY_S = 1.0


class Background:
    """Calls `work` again and again; it returns whether there may be more to do at once.

    Where there is, it pauses for as long as the last piece took: those who wait for an answer come first. An
    error is logged, once as long as it stays the same, and the work is tried again.
    """

    def __init__(self, work: Callable[[], bool], every_s: float = EVERY_S) -> None:
        self._work, self._every = work, every_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="drumbeat-inbox", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Let the current piece of work end, then stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        told = ""
        while not self._stop.is_set():
            more = False
            started = monotonic()
            try:
                more = self._work()
                told = ""
            except Exception as error:
                words = str(error)
                if words != told:
                    told = words
                    if isinstance(error, DrumbeatError):
                        log.warning("what came in is worked on later: %s", words)
                    else:
                        log.exception("what came in is worked on later")
            self._stop.wait(monotonic() - started if more else self._every)
