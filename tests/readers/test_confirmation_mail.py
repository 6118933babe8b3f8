"""From asking to the first letter with real mails: the reference project, its server, plan, delivery, maildir."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from support.mails import parsed
from support.pages import Page

from drumbeat.clock import FixedClock
from drumbeat.project.load import Project, load_project
from drumbeat.rendering.secret import SECRET_FILE
from drumbeat.responses.suppress import suppress
from drumbeat.runs import deliver, evaluate
from drumbeat.store.engine import writing
from drumbeat.web.desk import House

ADDRESS = "new@example.com"
KEY = b"the-project's-own-key-for-its-links"


@pytest.fixture
def project(tmp_path: Path, project_root: Path) -> Project:
    """The reference project in a folder of its own, with the server's key."""
    root = tmp_path / "shop"
    for folder in ("campaigns", "templates", "triggers"):
        shutil.copytree(project_root / folder, root / folder)
    for file in ("project.yaml", "segments.yaml"):
        shutil.copy(project_root / file, root / file)
    (root / SECRET_FILE).parent.mkdir()
    (root / SECRET_FILE).write_bytes(KEY)
    return load_project(root)


@pytest.fixture
def server(store: Engine, serve: Callable[..., Any], project: Project) -> Iterator[Any]:
    """The project's server, where its mails lead to."""
    with serve(store, key=KEY, **vars(House.of(project.config))) as running:
        yield running


@pytest.fixture
def mails(store: Engine, project: Project, clock: FixedClock) -> Callable[[], list[EmailMessage]]:
    """Plan and deliver, and return the mails that came since the last time."""
    seen: set[Path] = set()

    def sent() -> list[EmailMessage]:
        evaluate(store, project, clock=clock)
        deliver(store, project, clock=clock)
        new = sorted(set((project.root / "mailbox" / "new").glob("*")) - seen)
        seen.update(new)
        return [parsed(f.read_bytes()) for f in new]

    return sent


def link(mail: EmailMessage, kind: str) -> str:
    """Return the path of the one link of a kind, which HTML and text share."""
    html, text = (mail.get_body((part,)) for part in ("html", "plain"))
    assert html is not None
    assert text is not None
    found = {
        re.findall(rf"http://127\.0\.0\.1:8025(/{kind}/[\w-]+)", part.get_content())[0]
        for part in (html, text)
    }
    assert len(found) == 1, found
    return found.pop()


def test_who_signs_up_gets_one_mail_and_after_confirming_it_the_letter(
    server: Any, scene: Any, mails: Callable[[], list[EmailMessage]]
) -> None:
    server.press("/subscribe", "Subscribe", email=ADDRESS, topic=["news"])
    (mail,) = mails()
    assert (mail["To"], mail["Subject"]) == (ADDRESS, "Please confirm: may we write to you?")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"] is None
    assert "What is new in the shop, once a week" in str(mail.get_body(("plain",)))
    assert mails() == [], "each asking leads to one mail"
    server.clock.advance(timedelta(hours=2))
    confirming = link(mail, "y")
    done = server.press(confirming, "Yes, I would like that")
    assert "Thank you" in done.text
    (response,) = scene.rows("responses")
    assert response.kind == "subscribed"
    (letter,) = mails()
    assert (letter["To"], letter["Subject"]) == (ADDRESS, "Three small joys for the long evenings ✨")
    choices = server.get(link(letter, "p"))
    assert "What is new in the shop, once a week" in choices.text
    left = server.post(link(letter, "p"), Page(choices.text).values("Unsubscribe from everything"))
    assert left.status_code == 200
    server.clock.advance(timedelta(days=7))
    assert mails() == []


def test_a_confirmation_speaks_the_language_of_the_form_and_never_says_the_name(
    server: Any, mails: Callable[[], list[EmailMessage]]
) -> None:
    for language, subject in (("de", "Bitte bestätigen"), ("ru", "Подтвердите, пожалуйста")):
        fields = {
            "email": f"{language}@example.com",
            "topic": "news",
            "language": language,
            "first_name": "Zebra",
        }
        server.post("/subscribe", fields)
        (mail,) = mails()
        assert mail["Subject"].startswith(subject)
        assert link(mail, "y")
        assert "Zebra" not in str(mail.get_body(("plain",))) + str(mail.get_body(("html",)))


@pytest.mark.parametrize(
    ("reason", "asked"), [("bounced", 0), ("complained", 0), ("erased", 1), ("unsubscribed", 1)]
)
def test_a_dead_address_gets_no_confirmation_and_who_may_come_back_does(
    server: Any, scene: Any, mails: Callable[[], list[EmailMessage]], reason: str, asked: int
) -> None:
    """Even where the suppression came after the asking."""
    server.post("/subscribe", {"email": ADDRESS, "topic": "news"})
    with writing(scene.engine) as connection:
        suppress(connection, ADDRESS, reason=reason, at=scene.at(0), source="x")
    assert len(mails()) == asked
    if not asked:
        assert [(row.state, row.reason) for row in scene.rows("messages")] == [("skipped", "suppressed")]
