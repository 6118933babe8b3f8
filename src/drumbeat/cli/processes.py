"""Servers as child processes on loopback ports, stopped whatever happens: for the demo and for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from drumbeat.errors import DrumbeatError


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def child(
    words: Sequence[str], *, log: Path, environment: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside this one, its output in `log`; stop it and its children at the end.

    It gets a session of its own, so that one signal reaches all that it started, and Ctrl-C reaches
    only us: we stop it in order.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the words are ours
            list(words),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes], patience_s: float = 10) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        # The leader may be gone while its children live: the signal goes to the group either way.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


def wait_until_answers(
    url: str, process: subprocess.Popen[bytes], *, log: Path, patience_s: float = 90
) -> None:
    """Return once `url` answers with 200. Raises DrumbeatError where the process ends or time runs out."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DrumbeatError(f"{_name(process)} ended with code {process.returncode}; see {log}")
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback http
            return
        time.sleep(0.1)
    raise DrumbeatError(f"{_name(process)} does not answer at {url} after {patience_s:.0f} s; see {log}")


def _name(process: subprocess.Popen[bytes]) -> str:
    words = process.args if isinstance(process.args, (list, tuple)) else [process.args]
    return " ".join(str(word) for word in words[1:4])


def prefect_environment(home: Path, port: int) -> dict[str, str]:
    """Return the settings of a Prefect server of one's own on a port, and of those who talk to it."""
    api = f"http://127.0.0.1:{port}/api"
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": api,
        # The page asks port 4200 unless told otherwise.
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
