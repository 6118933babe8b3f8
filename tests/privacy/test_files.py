"""What stands on disk beside the database: found by its name or its content, removed, and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from privacy.crowd import EMAIL, EMMA, KEY, PHONE, Crowd

from drumbeat.clock import FixedClock
from drumbeat.delivery.file import FileBackend
from drumbeat.delivery.note_file import NoteFileBackend
from drumbeat.errors import UsageError
from drumbeat.ledger.reach import SMS
from drumbeat.outbox.deliver import deliver
from drumbeat.privacy.files import Found, look
from drumbeat.privacy.keys import link_secrets
from drumbeat.privacy.person import find_person
from drumbeat.privacy.tokens import file_names, names_of
from drumbeat.project.load import load_project
from drumbeat.responses.arrived import Arrived
from drumbeat.responses.kinds import Kind
from drumbeat.responses.record import Response
from drumbeat.store.engine import reading
from drumbeat.web.spill import Spill


def looked(crowd: Crowd, *, remove: bool = True, asked: str = EMMA) -> list[Found]:
    with reading(crowd.engine) as connection:
        person = find_person(connection, asked)
        names = names_of(connection, person, link_secrets(crowd.project))
        messages = file_names(connection, person, link_secrets(crowd.project))
    return look(crowd.project, names, messages, remove=remove)


def plan_mail(crowd: Crowd, who: int, occasion: str, **row: Any) -> None:
    cart = crowd.add(
        "carts",
        external_id=occasion,
        customer_id=who,
        updated_at=crowd.ago(hours=2),
        total=30,
        loaded_at=crowd.now,
    )
    number = crowd.message(who, f"cart:{occasion}", state="planned", subject_id=cart, days=0, **row)
    crowd.add("outbox", message_id=number, due_at=crowd.now, priority=50)


def allow(crowd: Crowd) -> None:
    with crowd.engine.begin() as connection:
        for table in ("suppressions", "preferences"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def test_mails_that_the_file_backend_wrote_for_them_go(crowd: Crowd) -> None:
    allow(crowd)
    mailbox = crowd.project.root / "mailbox"
    for who, occasion in ((crowd.emma, "n1"), (crowd.twin, "n2"), (crowd.ben, "n3")):
        plan_mail(crowd, who, occasion)
    done = deliver(crowd.engine, crowd.project, clock=FixedClock(crowd.now), backend=FileBackend(mailbox))
    assert done.sent == 3
    theirs = {path for path in (mailbox / "new").iterdir() if b"ben@" not in path.read_bytes()}
    read = next(iter(theirs))
    read = read.rename(mailbox / "cur" / f"{read.name}:2,S")
    found = looked(crowd)
    assert {one.path.name.split(":")[0] for one in found} == {path.name for path in theirs}
    assert {one.what for one in found} == {"mail"}
    (left,) = [path for path in mailbox.rglob("*") if path.is_file()]
    assert b"ben@example.com" in left.read_bytes()


def test_messages_of_other_channels_that_were_written_to_files_go(crowd: Crowd) -> None:
    root = crowd.project.root
    campaign = json.loads((root / "campaigns/reminder.yaml").read_text())
    campaign["message"] = {"template": "short", "channel": "sms"}
    campaign["topic"] = "texts"
    (root / "campaigns/reminder.yaml").write_text(json.dumps(campaign))
    config = json.loads((root / "project.yaml").read_text())
    config["topics"]["texts"] = {"text": "Texts", "channel": "sms"}
    (root / "project.yaml").write_text(json.dumps(config))
    (root / "templates/short").mkdir()
    (root / "templates/short/text.txt.j2").write_text(
        "Dear {{ customer.first_name }} {{ unsubscribe_url }}\n"
    )
    (root / "templates/short/sample.yaml").write_text("{}\n")
    allow(crowd)
    crowd.project = load_project(root)
    crowd.add(
        "consents", customer_id=crowd.emma, topic="texts", granted=True, at=crowd.now, loaded_at=crowd.now
    )
    plan_mail(crowd, crowd.emma, "n1", channel=SMS, topic="texts", template="short")
    folder = root / "notes" / "sms"
    done = deliver(
        crowd.engine, crowd.project, clock=FixedClock(crowd.now), others={SMS: NoteFileBackend(folder)}
    )
    assert done.sent == 1, crowd.rows("messages")[-1]
    (file,) = folder.iterdir()
    assert PHONE in file.read_text()
    assert [(one.path, one.what) for one in looked(crowd)] == [(file, "message")]
    assert not file.exists()


def test_previews_of_their_mails_go_with_all_that_was_written_beside(crowd: Crowd) -> None:
    folder = crowd.project.root / ".drumbeat" / "preview"
    folder.mkdir(parents=True)
    contents = {
        f"reminder.{EMMA}.html": "<p>Dear Emma</p>",
        f"reminder.{EMMA}.eml": "To: x\r\n",
        "welcome.eml": f"To: <{KEY.upper()}>\r\n",
        "welcome.html": "<p>Hello</p>",
        "reminder.b1.html": "<p>Dear Ben</p>",
        "sample.eml": "To: <someemma.clarke@xn--mller-kva.example.org>\r\n",
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
    assert len(looked(crowd)) == 4
    assert sorted(path.name for path in folder.iterdir()) == ["reminder.b1.html", "sample.eml"]


def test_lines_that_no_database_took_go_and_the_others_stay(crowd: Crowd) -> None:
    spill = Spill(crowd.project.root / ".drumbeat" / "spill")

    def hit(key: str, message_id: int | None = None) -> Response:
        return Response(
            message_id, Kind.OPENED, crowd.now, f"k{message_id}{key}", raw={"agent": "x"}, email_key=key
        )

    def call(key: str) -> Arrived:
        return Arrived("postmark", f"p:{key}", crowd.now, json.dumps({"Email": key}).encode(), {"a": "b"})

    mine = [hit("x", crowd.messages["e sent"]), hit(KEY), call(KEY), call(EMAIL)]
    others = [hit("x", crowd.messages["b sent"]), hit("ben@example.com"), call("ben@example.com")]
    spill.folder.mkdir(parents=True)
    spill.set_aside([*mine, *others])
    (found,) = looked(crowd)
    assert (found.path.name, found.lines) == ("unreadable.jsonl", 4)
    spill.append(others)
    found_again = looked(crowd)
    assert found_again == []
    (path,) = spill.take()
    assert [item for batch in spill.read(path, 10) for item in batch] == others
    assert len((spill.folder / "unreadable.jsonl").read_bytes().splitlines()) == 3


def test_rows_that_an_import_rejected_go_and_the_file_with_the_last(crowd: Crowd) -> None:
    root = crowd.project.root
    (root / "data").mkdir()
    one, all_of_it = root / "data" / "in.csv.rejected.csv", root / "list.csv.rejected.csv"
    one.write_text(
        "line,reason,id,mail\r\n"
        f"2,bad,{EMMA},x\r\n"
        f"3,\"there is no customer '{EMMA}' in the store\",y,y\r\n"
        f"4,bad,z,{EMAIL}\r\n"
        f'5,bad,z,"{{""to"": ""{KEY}""}}"\r\n'
        "6,bad,Emma,Clarke\r\n"
        f"7,bad,{EMMA}9,ben@example.com\r\n"
        '8,bad,"a\r\nb",\udce4\r\n',
        encoding="utf-8",
        errors="surrogateescape",
        newline="",
    )
    all_of_it.write_text(f"line,reason,mail\r\n2,bad,{KEY}\r\n")
    found = looked(crowd)
    assert [(f.path.name, f.lines) for f in found] == [
        ("in.csv.rejected.csv", 5),
        ("list.csv.rejected.csv", 1),
    ]
    assert not all_of_it.exists()
    left = one.read_bytes().decode("utf-8", "surrogateescape")
    assert left == f'line,reason,id,mail\r\n7,bad,{EMMA}9,ben@example.com\r\n8,bad,"a\r\nb",\udce4\r\n'


def test_a_look_alone_changes_nothing(crowd: Crowd) -> None:
    path = crowd.project.root / "in.csv.rejected.csv"
    path.write_text(f"line,reason,mail\r\n2,bad,{KEY}\r\n")
    before = path.stat().st_mtime_ns
    assert [one.lines for one in looked(crowd, remove=False)] == [1]
    assert path.stat().st_mtime_ns == before


def test_a_file_that_is_no_table_is_told_and_left(crowd: Crowd) -> None:
    path = crowd.project.root / "in.csv.rejected.csv"
    path.write_text("line,reason\r\n2," + "x" * 200_000 + "\r\n")
    assert [one.what for one in looked(crowd)] == ["unreadable"]
    assert path.exists()


def test_what_cannot_be_removed_is_told_in_one_line(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is erased in the database."""
    path = crowd.project.root / "in.csv.rejected.csv"
    path.write_text(f"line,reason,mail\r\n2,bad,{KEY}\r\n")

    def no(_self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", no)
    with pytest.raises(UsageError, match=r"cannot clear .*in\.csv\.rejected\.csv .*: Permission denied"):
        looked(crowd)


def test_a_project_without_any_such_file_is_fine(crowd: Crowd) -> None:
    assert looked(crowd) == []
