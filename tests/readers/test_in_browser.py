"""The readers' pages in a real browser: on a phone and a desktop, in light and dark, by keyboard, without scripts.

`DRUMBEAT_UPDATE_IMAGES=1` also renews the pictures in docs/images.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.browser import CHROMIUM, Browser

from drumbeat.ledger.states import Reason
from drumbeat.project.models import Topic
from drumbeat.responses.suppress import suppress
from drumbeat.store.engine import connect, writing
from drumbeat.store.tables import metadata

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install `chromium` to look at the pages"),
]
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenhalterung"
PAGES = (
    "preferences",
    "paused",
    "blocked",
    "unsubscribe",
    "subscribe",
    "faults",
    "saved",
    "confirm",
    "expired",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium of this module's own."""
    running = Browser(tmp_path_factory.mktemp("chromium"))
    yield running
    running.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    """A store on SQLite: what a page looks like does not depend on the database."""
    engine = connect(f"sqlite:///{tmp_path / 'store.db'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def visit(server: Any, scene: Any, browser: Browser) -> Callable[[str], None]:
    """Open one of PAGES in the browser."""
    reader = scene.customer(phone="+442079460000", country="GB")
    for topic in ("offers", "news"):
        scene.consent(reader, topic)
    message = scene.message(reader)
    preferences = server.links.preferences(message)

    def show(page: str) -> None:
        if page == "paused":
            server.press(preferences, "Save", pause="3m", often="2")
        elif page == "blocked":
            with writing(scene.engine) as connection:
                suppress(connection, "reader1@example.com", reason="bounced", at=scene.at(0), source="x")
        elif page in ("confirm", "expired"):
            server.post("/subscribe", {"email": "new@example.com", "topic": ["news", "offers"]})
            server.clock.advance(timedelta(days=8 if page == "expired" else 0))
        addresses = {
            "unsubscribe": server.links.unsubscribe(message),
            "subscribe": f"{server.url}/subscribe",
            "faults": f"{server.url}/subscribe",
            "confirm": server.links.confirm(1),
            "expired": server.links.confirm(1),
        }
        browser.open(addresses.get(page, preferences))
        if page in ("faults", "saved"):
            click(browser, "button")

    return show


def click(browser: Browser, selector: str) -> None:
    before = browser.loaded
    browser.run(f"document.querySelector('{selector}').click()")
    browser.wait(before)


@pytest.mark.parametrize("language", ["en", "de", "ru"])
@pytest.mark.parametrize(("width", "dark"), [(375, False), (375, True), (1000, False), (1000, True)])
def test_every_page_fits_and_can_be_read_and_pressed(
    visit: Callable[[str], None], browser: Browser, width: int, dark: bool, language: str
) -> None:
    """No sideways scrolling, contrast of WCAG 2.1 AA, controls for a thumb, each with a name."""
    browser.look(width, dark=dark, language=language)
    for page in PAGES:
        visit(page)
        seen = browser.measure()
        assert (seen["client"], seen["scroll"], seen["dark"]) == (width, width, dark), page
        assert (seen["language"], seen["scripts"], len(seen["headings"])) == (language, 0, 1), page
        assert len(seen["texts"]) >= 3
        for text in seen["texts"]:
            assert 0 <= text["left"] < text["right"] <= width, (page, text)
            assert text["size"] >= 13, (page, text)
            assert text["contrast"] >= 4.5, (page, text)
        assert seen["controls"]
        for control in seen["controls"]:
            assert control["name"], (page, control)
            assert control["height"] >= 40, (page, control)
        assert all(seen["groups"]), page


def test_words_without_end_widen_no_page(scene: Any, serve: Callable[..., Any], browser: Browser) -> None:
    topics = {"offers": Topic(text=LONG), "news": Topic(text=LONG * 3)}
    message = scene.message(scene.customer())
    browser.look(375)
    with serve(scene.engine, topics=topics, brand=LONG) as server:
        for address in (
            server.links.preferences(message),
            server.links.unsubscribe(message),
            f"{server.url}/subscribe",
        ):
            browser.open(address)
            seen = browser.measure()
            assert seen["scroll"] == 375, address
            assert max(text["right"] for text in seen["texts"]) <= 375


def test_the_preferences_can_be_chosen_with_the_keyboard_alone(
    visit: Callable[[str], None], scene: Any, browser: Browser, reached: Callable[..., Any]
) -> None:
    """From the top: each control in its turn, what has the focus is seen, Enter saves and does not unsubscribe."""
    browser.look(1000)
    visit("preferences")
    browser.press("Tab")
    assert browser.focused() == "Offers & reminders [x]"
    outlined = browser.run("getComputedStyle(document.activeElement.closest('label')).outlineStyle")
    assert outlined == "solid"
    browser.press(" ")
    assert browser.focused() == "Offers & reminders"
    browser.press("Tab", 3)
    assert browser.focused() == "As often as now [x]"
    browser.press("ArrowDown")
    assert browser.focused() == "At most two messages a week [x]"
    browser.press("Tab")
    assert browser.focused() == "No break [x]"
    browser.press("ArrowDown", 2)
    assert browser.focused() == "One month [x]"
    before = browser.loaded
    browser.press("Enter")
    browser.wait(before)
    assert browser.measure()["headings"] == ["Saved"]
    assert reached(1)["offers"] == Reason.SUPPRESSED
    assert reached(1)["news"] == Reason.PAUSED
    assert [row.max_messages for row in scene.rows("preferences")] == [2]
    browser.press("Tab")
    assert browser.focused() == "Undo"
    before = browser.loaded
    browser.press("Enter")
    browser.wait(before)
    assert reached(1) == {"offers": None, "news": None, "alerts": Reason.NO_CONSENT}


def test_who_signs_up_with_the_keyboard_meets_no_trap(
    visit: Callable[[str], None], scene: Any, browser: Browser
) -> None:
    browser.look(375)
    visit("subscribe")
    browser.press("Tab")
    browser.type("new@example.com")
    browser.press("Tab")
    browser.type("Ann")
    browser.press("Tab", 2)
    assert browser.focused() == "News, once a week"
    browser.press(" ")
    before = browser.loaded
    browser.press("Tab")
    browser.press("Enter")
    browser.wait(before)
    assert browser.measure()["headings"] == ["Please look into your inbox"]
    assert [row.topics for row in scene.rows("opt_ins")] == [["news"]]


def test_its_pictures_can_be_taken(
    visit: Callable[[str], None], browser: Browser, tmp_path: Path, project_root: Path
) -> None:
    """The manual's pictures come from here, and a screenshot is no blank sheet."""
    for name, width in (("preferences_phone.png", 375), ("preferences_desktop.png", 1000)):
        browser.look(width, dark=width == 1000)
        visit("preferences")
        file = tmp_path / name
        browser.picture(file)
        wide, high = struct.unpack(">II", file.read_bytes()[16:24])
        assert wide == (750 if width == 375 else 1000)
        assert high > 900
        assert 30_000 < file.stat().st_size < 400_000
        if os.environ.get("DRUMBEAT_UPDATE_IMAGES") and width == 375:
            shutil.copy(file, project_root / "docs" / "images" / name)
