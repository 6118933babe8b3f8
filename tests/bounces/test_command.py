"""`drumbeat bounces`: explains a mail, takes one from a mail server, and fetches a mailbox into the inbox."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from drumbeat.cli.bounces import command
from drumbeat.cli.output import guarded
from drumbeat.clock import FixedClock
from drumbeat.delivery.mailbox_settings import BounceMailbox
from drumbeat.errors import StoreError
from drumbeat.project.load import Project
from drumbeat.project.store import open_store
from drumbeat.rendering.links import Links
from drumbeat.responses import arrived
from drumbeat.responses.bounces.collect import Fetched, collect
from drumbeat.responses.inbox import Desk, work
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import inbox, messages, responses, runs, suppressions
from drumbeat.store.upgrade import upgrade

LINKS = Links("https://shop.example", b"a key of sixteen bytes")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Let the command read these bytes from stdin."""
    return lambda raw: monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw)))


@pytest.fixture
def project(make_project: Any, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A small project with an empty store."""
    monkeypatch.delenv("DRUMBEAT_DATABASE_URL", raising=False)
    made: Project = make_project()
    engine = open_store(made, check=False)
    upgrade(engine)
    engine.dispose()
    return made


def stored(project: Project) -> list[bytes]:
    engine = open_store(project)
    with reading(engine) as connection:
        rows = connection.execute(select(inbox.c.source, inbox.c.body).order_by(inbox.c.id)).all()
    engine.dispose()
    assert {row.source for row in rows} <= {"mail"}
    return [bytes(row.body) for row in rows]


def test_explain_tells_what_is_understood_and_by_which_rule(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Anywhere: it needs no project."""
    monkeypatch.chdir(tmp_path)
    assert guarded(command, ["--explain", str(here / "messages" / "lhost-qmail-17.eml")]) == 0
    shown = capsys.readouterr().out
    for words in ("1 of 2", "2 of 2", "mailboxfull@libsisimai.net", "user_unknown", "hard", "words: quota"):
        assert words in shown
    assert guarded(command, ["--explain", str(here / "messages" / "lhost-qmail-17.eml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["kind"], one["bounce"], one["reason"], one["told_by"]) for one in found] == [
        ("bounced", "soft", "mailbox_full", "words: quota"),
        ("bounced", "hard", "user_unknown", "exact status x.1.1"),
    ]


def test_a_mail_from_the_mail_server_is_stored_before_the_command_says_so(
    project: Project, stdin: Callable[[bytes], None]
) -> None:
    for _ in range(2):
        stdin(b"Subject: bounced\n\nit did not work\n")
        assert guarded(command, ["-C", str(project.root), "--stdin"]) == 0
    assert stored(project) == [b"Subject: bounced\n\nit did not work\n"]


def test_of_a_huge_mail_all_is_read_and_the_beginning_stored(
    project: Project, stdin: Callable[[bytes], None]
) -> None:
    """A mail server whose pipe breaks takes the mail for undelivered."""
    stdin(b"Subject: x\n\n" + b"line\n" * 1_000_000)
    assert guarded(command, ["-C", str(project.root), "--stdin"]) == 0
    assert sys.stdin.buffer.read() == b""
    assert [len(mail) for mail in stored(project)] == [1_000_000]


@pytest.mark.parametrize("fault", ["no project", "old database", "database away", "a bug"])
def test_whatever_goes_wrong_the_mail_server_keeps_the_mail(
    project: Project,
    stdin: Callable[[bytes], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
) -> None:
    """75 is EX_TEMPFAIL: postfix and exim try again."""
    folder = project.root
    if fault == "no project":
        folder = tmp_path / "elsewhere"
        folder.mkdir()
    elif fault == "old database":
        monkeypatch.setenv("DRUMBEAT_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    else:

        def failing(*_: object) -> bool:
            raise StoreError("the database is away") if fault == "database away" else RuntimeError("a bug")

        monkeypatch.setattr(arrived, "store_mail", failing)
    stdin(b"Subject: bounced\n\nx\n")
    assert guarded(command, ["-C", str(folder), "--stdin"]) == 75
    said = capsys.readouterr().err
    assert said.startswith("drumbeat: the mail is not stored, try again later: ")
    assert said.count("\n") == 1


def test_nothing_on_stdin_is_no_mail_to_keep(project: Project, stdin: Callable[[bytes], None]) -> None:
    stdin(b"\n")
    assert guarded(command, ["-C", str(project.root), "--stdin"]) == 65


@pytest.mark.parametrize("arguments", [["--stdin", "--explain", "x"], ["--explain", "nowhere.eml"]])
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").touch()
    assert guarded(command, arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_mailbox_in_the_project_the_command_says_what_to_write(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(command, ["-C", str(project.root)]) == 2
    assert "expected bounces: with one of maildir, imap and pop" in capsys.readouterr().err


def _maildir(folder: Path, *mails: bytes) -> BounceMailbox:
    for name in ("new", "cur"):
        (folder / "Maildir" / name).mkdir(parents=True, exist_ok=True)
    for number, mail in enumerate(mails):
        (folder / "Maildir" / "new" / f"{number}.host").write_bytes(mail)
    return BounceMailbox(maildir="Maildir")


def test_a_mailbox_is_fetched_into_the_inbox_once(store: Engine, tmp_path: Path, clock: FixedClock) -> None:
    mails = [b"Subject: %d\n\nx" % n for n in range(3)]
    assert collect(store, _maildir(tmp_path, *mails, b""), tmp_path, clock) == Fetched(4, 3, 0)
    assert collect(store, _maildir(tmp_path, *mails[:1]), tmp_path, clock) == Fetched(1, 0, 0)
    with reading(store) as connection:
        rows = connection.execute(select(inbox.c.body, inbox.c.received_at).order_by(inbox.c.id)).all()
    assert [(bytes(row.body), row.received_at) for row in rows] == [(mail, clock.now()) for mail in mails]


def test_a_hard_bounce_in_the_maildir_ends_in_a_suppressed_address(
    store: Engine, people: Any, tmp_path: Path, clock: FixedClock
) -> None:
    """The whole way: maildir, inbox, event, message found by its token, response, suppression."""
    (customer,) = people.add(1)
    with writing(store) as connection:
        at = clock.now()
        run = connection.execute(
            insert(runs).values(kind="plan", as_of=at, started_at=at).returning(runs.c.id)
        ).scalar_one()
        row = {"campaign": "hello", "occasion": "o", "sender": "shop", "kind": "marketing", "topic": "offers"}
        row |= {"template": "hello", "state": "sent", "address_key": "c1@example.com"}
        message = connection.execute(
            insert(messages)
            .values(
                **row, run_id=run, customer_id=customer, priority=50, planned_at=at, due_at=at, sent_at=at
            )
            .returning(messages.c.id)
        ).scalar_one()
    bounce = (
        f"From: MAILER-DAEMON@mx.example.com\nTo: bounces+{LINKS.mail_token(message)}@shop.example\n"
        "Subject: failure notice\n\n<c1@example.com>:\n192.0.2.1 does not like recipient.\n"
        "Remote host said: 550 5.1.1 User unknown\n"
    )
    collect(store, _maildir(tmp_path, bounce.encode()), tmp_path, clock)
    assert work(store, Desk(LINKS, clock)).suppressed == 1
    with reading(store) as connection:
        kept = connection.execute(select(responses.c.message_id, responses.c.kind, responses.c.bounce)).one()
        dead = connection.execute(select(suppressions.c.email_key, suppressions.c.reason)).one()
    assert tuple(kept) == (message, "bounced", "hard")
    assert tuple(dead) == ("c1@example.com", "bounced")
