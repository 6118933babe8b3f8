"""A shop with two letters and an SMS, its real web server, and the scene of tests/responses."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
import requests
import uvicorn
from sqlalchemy import Engine, select

from drumbeat.clock import FixedClock
from drumbeat.ledger.cap import CapRule
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


class Page(HTMLParser):
    """A page as a browser's form has it: what would be sent when a button is pressed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.fields: list[dict[str, str | None]] = []
        self.buttons: dict[str, dict[str, str | None]] = {}
        self.links: list[str] = []
        self.labels = 0
        self._button: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input":
            self.fields.append(given)
        elif tag == "button":
            self._button = given
        elif tag == "a":
            self.links.append(given["href"] or "")
        elif tag == "label":
            self.labels += 1

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self.buttons[data.strip()] = self._button
            self._button = None

    def values(self, button: str, **changes: Any) -> list[tuple[str, str]]:
        """Return the fields that are sent; `changes` replace all of a name: a value or a list of them."""
        sent = []
        for field in self.fields:
            name, kind = str(field.get("name")), field.get("type", "text")
            if (
                name in changes
                or "disabled" in field
                or (kind in ("radio", "checkbox") and "checked" not in field)
            ):
                continue
            sent.append((name, field.get("value") or ""))
        for name, value in changes.items():
            sent += [(name, one) for one in ([value] if isinstance(value, str) else value)]
        pressed = self.buttons[button]
        if pressed.get("name"):
            sent.append((str(pressed["name"]), str(pressed.get("value"))))
        return sent


class Server:
    """A real server on a free loopback port, and the links that lead to it."""

    def __init__(self, engine: Engine, folder: Path, clock: FixedClock, house: House) -> None:
        self.engine, self.clock, self.folder = engine, clock, folder
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.links = Links(self.url, KEY)
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
    """Makes a server on a store; use it in a `with`."""
    return lambda engine, **changes: Server(
        engine, tmp_path / ".drumbeat", clock, House(**{**vars(house), **changes})
    )


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


def cap(messages: int, **span: Any) -> CapRule:
    """A cap."""
    from datetime import timedelta

    return CapRule(messages, timedelta(**span))
