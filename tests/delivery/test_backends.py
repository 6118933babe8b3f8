"""Every backend in the table keeps the contract that the send loop builds on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import drumbeat.delivery
from drumbeat.delivery import Mail, Note, Outcome
from drumbeat.delivery.backends import BACKENDS, make_backend
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.errors import DeliveryError, UsageError
from drumbeat.project.models import Delivery


def test_every_file_of_a_backend_is_in_a_table() -> None:
    """A backend is one file and one line in a table; neither without the other. Bases are not backends."""
    sources = {path.stem: path.read_text() for path in Path(drumbeat.delivery.__file__).parent.glob("*.py")}
    bases = {"__init__", "http", "halves"}
    files = {stem for stem, text in sources.items() if re.search(r"^class \w+Backend\b", text, re.MULTILINE)}
    named = set(re.findall(r"from drumbeat\.delivery\.(\w+) import \w+", "".join(sources.values())))
    assert files - bases - named == set()
    assert {*BACKENDS, *PROVIDERS} <= files - bases


def test_project_yaml_may_name_every_backend_and_no_other() -> None:
    for name in (*BACKENDS, *PROVIDERS):
        assert Delivery(backend=name).backend == name  # type: ignore[arg-type]


@pytest.mark.smtp
@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_asks_once_before_the_content_and_obeys(
    serve: Any,
    tmp_path: Path,
    name: str,
    make_mail: Any,
    make_caller: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = serve()
    settings = Delivery.model_validate({"smtp": {"host": "127.0.0.1", "port": server.port}})
    backend = make_backend(name, settings, tmp_path)
    assert backend.name == name
    caller = make_caller(withdraw=["second"])
    backend.open()
    mails = [make_mail(key="first"), make_mail(key="second")]
    outcomes = [answer.outcome for answer in caller.hand(backend, *mails)]
    assert outcomes == [Outcome.ACCEPTED, Outcome.WITHDRAWN]
    assert caller.events == [("begin", "first"), ("done", "first"), ("begin", "second"), ("done", "second")]
    assert caller.hand(backend) == []
    backend.close()
    arrived = len(server.mails) + len(list(tmp_path.glob("mailbox/new/*")))
    assert arrived + capsys.readouterr().out.count("Subject: Hi") == 1


def test_an_unknown_backend_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown delivery backend 'smpt'. Did you mean 'smtp'"):
        make_backend("smpt", Delivery(), tmp_path)


def test_a_secret_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_MAIL_PASSWORD", raising=False)
    monkeypatch.setenv("SHOP_MAIL_USER", "shop")
    login = {"username_env": "SHOP_MAIL_USER", "password_env": "SHOP_MAIL_PASSWORD"}
    settings = Delivery.model_validate({"smtp": login})
    with pytest.raises(DeliveryError, match="SHOP_MAIL_PASSWORD is not set"):
        make_backend("smtp", settings, tmp_path)


def test_the_console_shows_who_what_and_the_beginning(
    tmp_path: Path, caller: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (
        "From: Shop <shop@example.com>\r\nSubject: =?utf-8?B?0J/RgNC40LLQtdGC?=\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        "Hello =C3=A9\r\n" + "".join(f"line {n}\r\n\r\n" for n in range(9))
    ).encode()
    backend = make_backend("console", Delivery(), tmp_path)
    caller.hand(backend, Mail("k", "shop@example.com", "reader@example.com", content))
    shown = capsys.readouterr().out.splitlines()
    assert shown[:4] == [
        "To: reader@example.com",
        "From: Shop <shop@example.com>",
        "Subject: Привет",
        "  Hello é",
    ]
    assert shown[9:] == ["  …", ""]


def test_the_console_shows_messages_of_other_channels_too(
    tmp_path: Path, caller: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = make_backend("console", Delivery(), tmp_path)
    note = Note("k", "sms", "+442071838750", "Your cart waits\nhttps://shop.example.com/c")
    assert caller.hand(backend, note)[0].outcome is Outcome.ACCEPTED
    assert capsys.readouterr().out.splitlines() == [
        "To: +442071838750 by sms",
        "  Your cart waits",
        "  https://shop.example.com/c",
        "",
    ]
