"""The maildir backend: a mail appears once, as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drumbeat.delivery import Mail, Outcome
from drumbeat.delivery.file import FileBackend
from drumbeat.errors import DeliveryError


@pytest.fixture
def backend(tmp_path: Path) -> FileBackend:
    """A backend that writes into `tmp_path/box`."""
    backend = FileBackend(tmp_path / "box")
    backend.open()
    return backend


def files(tmp_path: Path) -> dict[str, list[str]]:
    """Name the files in each part of the maildir."""
    return {
        part: sorted(p.name for p in (tmp_path / "box" / part).iterdir()) for part in ("tmp", "new", "cur")
    }


def test_the_mail_is_written_before_the_last_check_and_appears_after_it(
    backend: FileBackend, tmp_path: Path, caller: Any, mail: Mail
) -> None:
    seen: list[dict[str, list[str]]] = []

    def begin(_: Mail) -> bool:
        seen.append(files(tmp_path))
        return True

    backend.hand_over([mail], begin, caller.done)
    assert caller.answers["k1"].outcome is Outcome.ACCEPTED
    assert seen == [{"tmp": ["k1"], "new": [], "cur": []}]
    assert files(tmp_path) == {"tmp": [], "new": ["k1"], "cur": []}
    assert (tmp_path / "box/new/k1").read_bytes() == mail.content


def test_each_mail_ends_before_the_next_begins(
    backend: FileBackend, tmp_path: Path, caller: Any, make_mails: Any
) -> None:
    answers = caller.hand(backend, *make_mails(3))
    assert [answer.outcome for answer in answers] == [Outcome.ACCEPTED] * 3
    assert caller.in_order()
    assert files(tmp_path)["new"] == ["0", "1", "2"]


def test_handing_the_same_mail_over_twice_leaves_one_file(
    backend: FileBackend, tmp_path: Path, make_caller: Any, make_mail: Callable[..., Mail]
) -> None:
    for body in ("first\r\n", "second\r\n"):
        assert make_caller().hand(backend, make_mail(body=body))[0].outcome is Outcome.ACCEPTED
    assert files(tmp_path)["new"] == ["k1"]


def test_a_withdrawn_mail_leaves_nothing(
    backend: FileBackend, tmp_path: Path, make_caller: Any, mail: Mail
) -> None:
    assert make_caller(withdraw=["k1"]).hand(backend, mail)[0].outcome is Outcome.WITHDRAWN
    assert files(tmp_path) == {"tmp": [], "new": [], "cur": []}


def test_an_error_in_the_last_check_leaves_nothing(
    backend: FileBackend, tmp_path: Path, caller: Any, mail: Mail
) -> None:
    def fails(_: Mail) -> bool:
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="gone"):
        backend.hand_over([mail], fails, caller.done)
    assert files(tmp_path) == {"tmp": [], "new": [], "cur": []}
    assert caller.events == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "a/b", ".hidden", "x" * 300, "a:2,S", ""])
def test_no_key_leads_out_of_the_folder(
    backend: FileBackend, tmp_path: Path, caller: Any, make_mail: Callable[..., Mail], key: str
) -> None:
    assert caller.hand(backend, make_mail(key=key))[0].outcome is Outcome.ACCEPTED
    (name,) = files(tmp_path)["new"]
    assert name.isalnum()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "box").write_text("a file stands here")
    with pytest.raises(DeliveryError, match=r"cannot write to the mail folder .*box.*delivery\.file\.folder"):
        FileBackend(tmp_path / "box").open()


def test_a_folder_that_vanished_burns_no_mail(
    backend: FileBackend, tmp_path: Path, caller: Any, mail: Mail
) -> None:
    (tmp_path / "box/tmp").rmdir()
    with pytest.raises(DeliveryError, match="cannot write to the mail folder"):
        caller.hand(backend, mail)
    assert caller.events == []


def test_a_mail_that_cannot_be_put_in_place_was_certainly_not_sent(
    backend: FileBackend, tmp_path: Path, caller: Any, mail: Mail
) -> None:
    (tmp_path / "box/new").rmdir()
    assert caller.hand(backend, mail)[0].outcome is Outcome.DEFERRED
