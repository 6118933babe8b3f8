"""A real web server, and the scene of tests/responses, here too."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
import requests
import uvicorn
from sqlalchemy import Engine

from drumbeat.clock import FixedClock
from drumbeat.project.models import Topic
from drumbeat.rendering.links import Links
from drumbeat.store.engine import connect
from drumbeat.store.tables import metadata
from drumbeat.web.app import make_app
from drumbeat.web.desk import House
from drumbeat.web.readers import reader_pages

_file = Path(__file__).parent.parent / "responses" / "conftest.py"
_spec = importlib.util.spec_from_file_location("drumbeat_test_scene", _file)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

Scene = _module.Scene
scene = _module.scene


KEY = b"a key for tests, long enough"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"


class Server:
    """A real server on a free loopback port, and the links that lead to it."""

    def __init__(self, engine: Engine, folder: Path, clock: FixedClock, **options: Any) -> None:
        self.folder, self.clock, self.engine = folder, clock, engine
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.links = Links(self.url, KEY)
        self.session = requests.Session()
        self.session.headers["User-Agent"] = AGENT
        topics = {"offers": Topic(text="News <of> the week")}
        options = {"routes": reader_pages(House("Shop & Söhne", topics)), **options}
        app = make_app(
            engine,
            self.links,
            clock,
            folder=folder,
            brand="Shop & Söhne",
            topics=("News <of> the week",),
            **options,
        )
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="on", proxy_headers=False)
        )
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self.session.close()
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.request("GET", url, **options)

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        target = url if url.startswith("http") else self.url + url
        return self.session.request(method, target, **{"allow_redirects": False, "timeout": 30, **options})

    def one_click(self, message: int, **options: Any) -> requests.Response:
        body = {"List-Unsubscribe": "One-Click"}
        return self.request("POST", self.links.unsubscribe(message), data=body, **options)


def wait_until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Return once `holds()` is true; fail after `seconds`."""
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end, f"did not come true within {seconds} s"
        sleep(0.02)


@pytest.fixture
def serve(tmp_path: Path, clock: FixedClock) -> Callable[..., Server]:
    """Makes a server on a store, with further arguments of make_app; use it in a `with`."""
    return lambda engine, **options: Server(engine, tmp_path / ".drumbeat", clock, **options)


@pytest.fixture
def server(store: Engine, serve: Callable[..., Server]) -> Iterator[Server]:
    """A server that runs."""
    with serve(store) as running:
        yield running


@pytest.fixture(scope="module")
def lone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs on SQLite with empty tables, for what no store has a say in."""
    folder = tmp_path_factory.mktemp("lone")
    engine = connect(f"sqlite:///{folder / 'store.db'}")
    metadata.create_all(engine)
    with Server(engine, folder / ".drumbeat", FixedClock(datetime(2011, 12, 5, 9, 0, tzinfo=UTC))) as running:
        yield running
    engine.dispose()


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for something to come true."""
    return wait_until
