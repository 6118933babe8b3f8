"""The maildir backend: a mail appears once, as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
    backend: FileBackend, tmp_path: Path, mail: Mail
) -> None:
    seen: list[dict[str, list[str]]] = []

    def before_content() -> bool:
        seen.append(files(tmp_path))
        return True

    assert backend.hand_over(mail, before_content).outcome is Outcome.ACCEPTED
    assert seen == [{"tmp": ["k1"], "new": [], "cur": []}]
    assert files(tmp_path) == {"tmp": [], "new": ["k1"], "cur": []}
    assert (tmp_path / "box/new/k1").read_bytes() == mail.content


def test_handing_the_same_mail_over_twice_leaves_one_file(
    backend: FileBackend, tmp_path: Path, make_mail: Callable[..., Mail]
) -> None:
    for body in ("first\r\n", "second\r\n"):
        assert backend.hand_over(make_mail(body=body), lambda: True).outcome is Outcome.ACCEPTED
    assert files(tmp_path)["new"] == ["k1"]


def test_a_withdrawn_mail_leaves_nothing(backend: FileBackend, tmp_path: Path, mail: Mail) -> None:
    assert backend.hand_over(mail, lambda: False).outcome is Outcome.WITHDRAWN
    assert files(tmp_path) == {"tmp": [], "new": [], "cur": []}


def test_an_error_in_the_last_check_leaves_nothing(backend: FileBackend, tmp_path: Path, mail: Mail) -> None:
    def fails() -> bool:
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="gone"):
        backend.hand_over(mail, fails)
    assert files(tmp_path) == {"tmp": [], "new": [], "cur": []}


@pytest.mark.parametrize("key", ["../../etc/passwd", "a/b", ".hidden", "x" * 300, "a:2,S", ""])
def test_no_key_leads_out_of_the_folder(
    backend: FileBackend, tmp_path: Path, make_mail: Callable[..., Mail], key: str
) -> None:
    assert backend.hand_over(make_mail(key=key), lambda: True).outcome is Outcome.ACCEPTED
    (name,) = files(tmp_path)["new"]
    assert name.isalnum()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "box").write_text("a file stands here")
    with pytest.raises(DeliveryError, match=r"cannot write to the mail folder .*box.*delivery\.file\.folder"):
        FileBackend(tmp_path / "box").open()


def test_a_folder_that_vanished_burns_no_mail(backend: FileBackend, tmp_path: Path, mail: Mail) -> None:
    (tmp_path / "box/tmp").rmdir()
    with pytest.raises(DeliveryError, match="cannot write to the mail folder"):
        backend.hand_over(mail, lambda: True)


def test_a_mail_that_cannot_be_put_in_place_was_certainly_not_sent(
    backend: FileBackend, tmp_path: Path, mail: Mail
) -> None:
    (tmp_path / "box/new").rmdir()
    assert backend.hand_over(mail, lambda: True).outcome is Outcome.DEFERRED
