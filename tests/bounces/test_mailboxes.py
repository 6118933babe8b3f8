"""Mails are fetched from a maildir, IMAP and POP3: stored first, out of the mailbox after, none lost, none twice."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from servers.mailbox import CAPABILITIES, Box, ImapHandler, PopHandler, serve
from servers.smtp import Certificate, make_certificate

from drumbeat.delivery.mailbox_settings import BounceMailbox
from drumbeat.errors import DeliveryError, StoreError
from drumbeat.responses.bounces.mailboxes import MOST_STORED, Collected, open_mailbox

MAILS = [
    b"Subject: one\r\n\r\nfirst\r\n",
    b"Subject: two\r\n\r\n.\r\n..dots\r\n" + b"x" * 5_000 + b"\r\n",
    "Subject: three\r\n\r\näöü\r\n".encode(),
]
KINDS = ["maildir", "imap", "pop"]
SERVERS = ["imap", "pop"]


class Stored:
    """What is durable: each mail once, by its bytes. `refuse`: mails that are not taken."""

    def __init__(self, *refuse: bytes) -> None:
        self.mails: list[bytes] = []
        self.asked = 0
        self.refuse = refuse

    def __call__(self, raw: bytes, source: str) -> bool:
        self.asked += 1
        assert source
        if any(word in raw for word in self.refuse):
            return False
        if raw.rstrip(b"\r\n") not in (mail.rstrip(b"\r\n") for mail in self.mails):
            self.mails.append(raw)
        return True


def same(one: list[bytes], other: list[bytes]) -> bool:
    """POP3 sends lines, so the last line's end is not told."""
    return sorted(mail.rstrip(b"\r\n") for mail in one) == sorted(mail.rstrip(b"\r\n") for mail in other)


class Place:
    """A mailbox of one of the three kinds, filled and looked at in one way."""

    def __init__(self, kind: str, root: Path, stack: ExitStack, certificate: Certificate) -> None:
        self.kind, self.root, self.stack, self.certificate = kind, root, stack, certificate
        self.box = Box()
        self.port = 0
        if kind == "maildir":
            for folder in ("new", "cur", "tmp"):
                (root / "Maildir" / folder).mkdir(parents=True)

    def put(self, *mails: bytes) -> None:
        for mail in mails:
            if self.kind == "maildir":
                number = len(list((self.root / "Maildir").rglob("*.*")))
                (self.root / "Maildir" / "new" / f"{1000 + number}.M1.host").write_bytes(mail)
            else:
                self.box.put(mail)

    def settings(self, **more: Any) -> BounceMailbox:
        if self.kind == "maildir":
            return BounceMailbox(maildir="Maildir")
        tls = more.pop("tls", "implicit")
        if not self.port:
            handler = ImapHandler if self.kind == "imap" else PopHandler
            self.port = self.stack.enter_context(
                serve(self.box, handler, tls=tls, certificate=self.certificate)
            )
        given = {
            "host": "127.0.0.1",
            "port": self.port,
            "tls": tls,
            "ca_file": str(self.certificate.ca),
            "username_env": "BOUNCE_USER",
            "password_env": "BOUNCE_PASSWORD",
            "timeout": "2s",
            **more,
        }
        return BounceMailbox.model_validate({self.kind: given})

    def collect(self, store: Any, **more: Any) -> Collected:
        return open_mailbox(self.settings(**more), self.root).collect(store)

    def waiting(self) -> list[bytes]:
        if self.kind == "maildir":
            return [path.read_bytes() for path in sorted((self.root / "Maildir" / "new").iterdir())]
        return self.box.raws()

    def processed(self) -> list[bytes]:
        if self.kind == "maildir":
            return [path.read_bytes() for path in sorted((self.root / "Maildir" / "cur").iterdir())]
        return self.box.raws("Processed") if self.kind == "imap" else []


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1 with its CA."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def place_of(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Place]]:
    """Make a mailbox: `place_of("imap")`."""
    monkeypatch.setenv("BOUNCE_USER", "bounces")
    monkeypatch.setenv("BOUNCE_PASSWORD", "secret")
    with ExitStack() as stack:
        yield lambda kind: Place(kind, tmp_path, stack, certificate)


@pytest.mark.parametrize("kind", KINDS)
def test_every_mail_is_stored_as_it_is_and_leaves_the_mailbox(
    place_of: Callable[[str], Place], kind: str
) -> None:
    place, stored = place_of(kind), Stored()
    place.put(*MAILS)
    assert place.collect(stored) == Collected(taken=3, left=0)
    assert same(stored.mails, MAILS)
    assert place.waiting() == []
    assert same(place.processed(), MAILS) or kind == "pop"
    assert place.collect(stored) == Collected(taken=0, left=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mail_that_is_not_stored_stays_and_comes_again(place_of: Callable[[str], Place], kind: str) -> None:
    place = place_of(kind)
    place.put(*MAILS)
    assert place.collect(Stored(b"two")) == Collected(taken=2, left=1)
    assert place.waiting() == [MAILS[1]]
    stored = Stored()
    assert place.collect(stored) == Collected(taken=1, left=0)
    assert same(stored.mails, [MAILS[1]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_that_goes_away_in_the_middle_costs_no_mail(
    place_of: Callable[[str], Place], kind: str
) -> None:
    place, stored = place_of(kind), Stored()
    place.put(*MAILS)

    def failing(raw: bytes, source: str) -> bool:
        if stored.asked == 1:
            raise StoreError("the database is away")
        return stored(raw, source)

    with pytest.raises(StoreError, match="away"):
        place.collect(failing)
    assert len(stored.mails) == 1
    assert set(place.waiting()) >= set(MAILS[1:])
    place.collect(stored)
    assert same(stored.mails, MAILS)
    assert place.waiting() == []


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_huge_mail_as_much_is_kept_as_is_read(place_of: Callable[[str], Place], kind: str) -> None:
    place, stored = place_of(kind), Stored()
    place.put(b"Subject: huge\r\n\r\n" + b"line of it\r\n" * 300_000)
    assert place.collect(stored).taken == 1
    assert 60_000 <= len(stored.mails[0]) <= MOST_STORED


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("tls", ["implicit", "starttls", "none"])
def test_both_ways_of_encryption_and_none_work(place_of: Callable[[str], Place], kind: str, tls: str) -> None:
    place, stored = place_of(kind), Stored()
    place.put(*MAILS)
    assert place.collect(stored, tls=tls).taken == 3
    started = {"STARTTLS", "STLS"} & set(place.box.commands)
    assert bool(started) == (tls == "starttls")


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_certificate_of_an_unknown_ca_is_refused_before_the_password_goes(
    place_of: Callable[[str], Place], kind: str, tls: str
) -> None:
    place = place_of(kind)
    with pytest.raises(DeliveryError, match="not to be trusted"):
        place.collect(Stored(), tls=tls, ca_file=None)
    assert not any(command.startswith(("LOGIN", "USER", "PASS", "AUTH")) for command in place.box.commands)


@pytest.mark.parametrize("kind", SERVERS)
def test_an_access_token_logs_in(place_of: Callable[[str], Place], kind: str) -> None:
    place, stored = place_of(kind), Stored()
    place.put(MAILS[0])
    assert place.collect(stored, login="xoauth2").taken == 1


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("login", ["password", "xoauth2"])
def test_a_refused_login_is_one_line_without_the_password(
    place_of: Callable[[str], Place], kind: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOUNCE_PASSWORD", "very-wrong")
    with pytest.raises(DeliveryError) as caught:
        place_of(kind).collect(Stored(), login=login)
    assert "refused the login of the user that BOUNCE_USER names" in str(caught.value)
    assert "very-wrong" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_variable_that_is_not_set_is_named(
    place_of: Callable[[str], Place], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOUNCE_PASSWORD")
    with pytest.raises(DeliveryError, match=f"BOUNCE_PASSWORD is not set; bounces.{kind}.password_env"):
        place_of(kind).collect(Stored())


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        *(
            ("imap", c)
            for c in ("CAPABILITY", "LOGIN", "SELECT", "CREATE", "SEARCH", "FETCH", "STORE", "MOVE")
        ),
        *(("pop", c) for c in ("USER", "PASS", "LIST", "RETR", "DELE", "QUIT")),
    ],
)
@pytest.mark.parametrize("fault", ["drop", "half"])
def test_a_connection_cut_at_any_command_loses_nothing_and_doubles_nothing(
    place_of: Callable[[str], Place], kind: str, command: str, fault: str
) -> None:
    place, stored = place_of(kind), Stored()
    place.put(*MAILS)
    place.box.faults[command] = fault
    with pytest.raises(DeliveryError) as caught:
        place.collect(stored)
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    place.collect(stored)
    assert same(stored.mails, MAILS)
    assert place.waiting() == []


@pytest.mark.parametrize(("kind", "command"), [("imap", "FETCH"), ("pop", "RETR")])
def test_a_server_that_falls_silent_is_left_in_time(
    place_of: Callable[[str], Place], kind: str, command: str
) -> None:
    place, stored = place_of(kind), Stored()
    place.put(*MAILS)
    place.box.faults[command] = "silent"
    with pytest.raises(DeliveryError, match="no answer in 1 s"):
        place.collect(stored, timeout="1s")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_not_there_is_one_line(place_of: Callable[[str], Place], kind: str) -> None:
    place = place_of(kind)
    place.port = 1
    with pytest.raises(DeliveryError, match=r"server 127\.0\.0\.1:1: Connection refused"):
        place.collect(Stored())


def test_a_folder_that_is_not_there_is_named(place_of: Callable[[str], Place]) -> None:
    with pytest.raises(DeliveryError, match="has no folder 'Bounces'"):
        place_of("imap").collect(Stored(), folder="Bounces")


def test_stored_mails_are_read_and_moved_with_what_the_server_can_do(
    place_of: Callable[[str], Place],
) -> None:
    """MOVE; without it COPY and a deletion of these alone; without UIDPLUS of what is marked."""
    for without, used, unused in (
        ("", "MOVE", "COPY"),
        (" MOVE", "COPY", "MOVE"),
        (" UIDPLUS MOVE", "COPY", "MOVE"),
    ):
        place, stored = place_of("imap"), Stored()
        for word in without.split():
            place.box.capabilities = place.box.capabilities.replace(f" {word}", "")
        place.put(*MAILS)
        place.collect(stored)
        assert place.waiting() == []
        assert same(place.processed(), MAILS)
        assert {flag for m in place.box.folders["Processed"] for flag in m.flags} == {"\\Seen"}
        verbs = {command.partition(" ")[0] for command in place.box.commands}
        assert used in verbs
        assert unused not in verbs
    assert CAPABILITIES.count("MOVE") == 1


def test_stored_mails_are_deleted_where_the_settings_say_so(place_of: Callable[[str], Place]) -> None:
    place, stored = place_of("imap"), Stored()
    place.put(*MAILS)
    place.box.put(b"Subject: other\r\n\r\ndeleted by a person", "INBOX", "\\Deleted")
    place.collect(stored, delete=True)
    assert same(stored.mails, MAILS)
    assert [b"person" in raw for raw in place.waiting()] == [True], "what others deleted is theirs to expunge"
    assert "Processed" not in place.box.folders


def test_folders_are_named_in_the_protocols_own_letters(place_of: Callable[[str], Place]) -> None:
    """RFC 3501, 5.1.3: `Entwürfe & Co` is `Entw&APw-rfe &- Co`."""
    place, stored = place_of("imap"), Stored()
    place.box.folders["Entw&APw-rfe &- Co"] = []
    place.box.put(MAILS[0], "Entw&APw-rfe &- Co")
    assert place.collect(stored, folder="Entwürfe & Co", processed='Say "done"').taken == 1
    assert place.box.raws('Say "done"') == [MAILS[0]]


def test_many_mails_are_fetched_over_several_sessions_and_moved_in_batches(
    place_of: Callable[[str], Place],
) -> None:
    many = [b"Subject: n\r\n\r\nnumber %d.\r\n" % n for n in range(450)]
    pop, stored = place_of("pop"), Stored(b"number 7.")
    pop.put(*many)
    assert pop.collect(stored) == Collected(taken=449, left=1)
    assert pop.box.sessions == 3
    imap, again = place_of("imap"), Stored()
    imap.put(*many)
    assert imap.collect(again) == Collected(taken=450, left=0)
    assert sum(command.startswith("MOVE") for command in imap.box.commands) == 9


def test_a_maildir_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="expected a folder with new and cur"):
        open_mailbox(BounceMailbox(maildir="nowhere"), tmp_path).collect(Stored())


def test_a_maildirs_mails_are_moved_to_cur_as_seen(place_of: Callable[[str], Place], tmp_path: Path) -> None:
    place = place_of("maildir")
    place.put(MAILS[0])
    place.collect(Stored())
    (moved,) = (tmp_path / "Maildir" / "cur").iterdir()
    assert moved.name.endswith(":2,S")


def test_a_mail_that_another_reader_took_meanwhile_is_no_fault(
    place_of: Callable[[str], Place], tmp_path: Path
) -> None:
    place, stored = place_of("maildir"), Stored()
    place.put(*MAILS)

    def slow(raw: bytes, source: str) -> bool:
        for path in (tmp_path / "Maildir" / "new").iterdir():
            path.unlink()
        return stored(raw, source)

    assert place.collect(slow) == Collected(taken=0, left=0)
    assert stored.asked == 1


def test_a_maildir_that_cannot_be_moved_in_says_that_the_mail_is_stored(
    place_of: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, stored = place_of("maildir"), Stored()
    place.put(MAILS[0])

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(DeliveryError, match="No space left on device; its mail is stored"):
            place.collect(stored)
    assert place.collect(stored).taken == 1
    assert stored.mails == [MAILS[0]]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "found none; expected one of maildir, imap and pop"),
        (
            {"maildir": "a", "pop": {"host": "h", "username_env": "U", "password_env": "P"}},
            "found maildir and pop",
        ),
        ({"imap": {"host": "h", "username_env": "U", "password_env": "a secret!"}}, "pattern"),
        (
            {"imap": {"host": "h", "username_env": "U", "password_env": "P", "processed": "inbox"}},
            "folder and processed are the same",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        BounceMailbox.model_validate(given)
