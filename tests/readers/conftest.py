"""A shop with two letters and an SMS, its real web server, and the scene of tests/responses."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
import requests
import uvicorn
from sqlalchemy import Engine, select
from support.pages import Page

from drumbeat.clock import FixedClock
from drumbeat.ledger.reach import unreachable
from drumbeat.project.models import Topic
from drumbeat.rendering.links import Links
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers
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
TOPICS = {
    "offers": Topic(text="Offers & reminders"),
    "news": Topic(text="News, once a week"),
    "alerts": Topic(text="When it is sent", channel="sms"),
}


class Server:
    """A real server on a free loopback port, and the links that lead to it."""

    def __init__(
        self, engine: Engine, folder: Path, clock: FixedClock, house: House, key: bytes = KEY
    ) -> None:
        self.engine, self.clock, self.folder = engine, clock, folder
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.links = Links(self.url, key)
        self.session = requests.Session()
        self.session.headers.update({"User-Agent": AGENT, "Accept-Language": "en"})
        app = make_app(
            engine,
            self.links,
            clock,
            folder=folder,
            brand=house.brand,
            topics=[topic.text for topic in house.topics.values()],
            routes=reader_pages(house),
        )
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        end = monotonic() + 20
        while not self._server.started:
            assert monotonic() < end
            sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self.session.close()
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()

    def get(self, address: str, **options: Any) -> requests.Response:
        return self.request("GET", address, **options)

    def post(self, address: str, data: Any = None, **options: Any) -> requests.Response:
        return self.request("POST", address, data=data, **options)

    def request(self, method: str, address: str, **options: Any) -> requests.Response:
        target = address if address.startswith("http") else self.url + address
        return self.session.request(method, target, **{"allow_redirects": False, "timeout": 30, **options})

    def press(self, address: str, button: str, **changes: Any) -> requests.Response:
        """Open a page, change its form and press a button, as a browser does."""
        page = self.get(address)
        assert page.status_code == 200, page.text
        return self.post(address, Page(page.text).values(button, **changes))


@pytest.fixture
def house() -> House:
    """The shop."""
    return House(
        brand="Shop & Söhne", topics=TOPICS, contact="care@shop.example.com", time_zone="Europe/London"
    )


@pytest.fixture
def serve(tmp_path: Path, clock: FixedClock, house: House) -> Callable[..., Server]:
    """Makes a server on a store; use it in a `with`. Changes of the shop are named."""

    def made(engine: Engine, *, key: bytes = KEY, **changes: Any) -> Server:
        return Server(engine, tmp_path / ".drumbeat", clock, House(**{**vars(house), **changes}), key)

    return made


@pytest.fixture
def server(store: Engine, serve: Callable[..., Server]) -> Iterator[Server]:
    """A server that runs."""
    with serve(store) as running:
        yield running


@pytest.fixture
def reached(scene: Any) -> Callable[..., dict[str, str | None]]:
    """Say for each topic why a customer may not be written to, None where they may."""

    def ask(customer: int, hours: float = 1, topics: Mapping[str, Topic] = TOPICS) -> dict[str, str | None]:
        question = select(
            *(
                unreachable(marketing=True, topic=name, channel=topic.channel, at=scene.at(hours)).label(name)
                for name, topic in topics.items()
            )
        ).where(customers.c.id == customer)
        with reading(scene.engine) as connection:
            return dict(connection.execute(question).one()._mapping)

    return ask
