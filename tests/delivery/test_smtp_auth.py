"""Logins: by the best way that both sides can, and never with a password in the clear over a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drumbeat.delivery import Mail, Outcome, smtp_connect
from drumbeat.delivery.smtp import SmtpBackend
from drumbeat.delivery.smtp_connect import SmtpServer
from drumbeat.errors import DeliveryError

pytestmark = pytest.mark.smtp

A = Outcome.ACCEPTED
PASSWORD = {"username": "shop", "password": "s3cret"}
TOKEN = {"username": "shop", "token": "ya29.t0ken"}


def _used(trace: Path) -> list[str]:
    """Return the mechanisms that were tried, in order."""
    lines = trace.read_text().splitlines()
    return [line.split(" ")[2] for line in lines if line.split(" ")[1] == "AUTH"]


@pytest.mark.parametrize(
    ("offered", "settings", "user", "used"),
    [
        ("PLAIN", PASSWORD, "shop:s3cret", ["PLAIN"]),
        ("LOGIN", PASSWORD, "shop:s3cret", ["LOGIN"]),
        ("LOGIN PLAIN", PASSWORD, "shop:s3cret", ["PLAIN"]),
        ("login plain XOAUTH2", {**PASSWORD, "auth": "login"}, "shop:s3cret", ["LOGIN"]),
        ("XOAUTH2", TOKEN, "shop:ya29.t0ken", ["XOAUTH2"]),
        ("PLAIN LOGIN XOAUTH2", {**PASSWORD, **TOKEN}, "shop:ya29.t0ken", ["XOAUTH2"]),
        ("PLAIN LOGIN", {**PASSWORD, **TOKEN}, "shop:s3cret", ["PLAIN"]),
        ("PLAIN XOAUTH2", {**PASSWORD, **TOKEN, "auth": "plain"}, "shop:s3cret", ["PLAIN"]),
    ],
)
def test_the_best_way_that_both_can_is_taken(
    serve: Any,
    connect: Any,
    caller: Any,
    mail: Mail,
    tmp_path: Path,
    offered: str,
    settings: dict[str, str],
    user: str,
    used: list[str],
) -> None:
    server = serve("--user", user, "--auth", offered.upper(), "--trace", str(tmp_path / "trace"))
    assert caller.hand(connect(server, **settings), mail)[0].outcome is A
    assert _used(tmp_path / "trace") == used


def test_a_mechanism_that_the_server_takes_back_is_followed_by_the_next(
    serve: Any, connect: Any, caller: Any, mail: Mail, tmp_path: Path
) -> None:
    """534: too weak for this user; 504: not known after all."""
    script = {"once": True, "auth": {"": "534 5.7.9 mechanism is too weak"}}
    server = serve("--user", "shop:s3cret", "--trace", str(tmp_path / "trace"), script=script)
    assert caller.hand(connect(server, **PASSWORD), mail)[0].outcome is A
    assert _used(tmp_path / "trace") == ["PLAIN", "LOGIN"]


@pytest.mark.parametrize("auth", ["PLAIN", "LOGIN"])
def test_a_wrong_password_is_told_in_one_line(serve: Any, connect: Any, auth: str) -> None:
    server = serve("--user", "shop:s3cret", "--auth", auth)
    with pytest.raises(
        DeliveryError, match=r"refused the login: 535 5\.7\.8.*check user and password"
    ) as raised:
        connect(server, username="shop", password="guess").open()
    assert "\n" not in str(raised.value)
    assert "guess" not in str(raised.value)


def test_a_token_that_has_run_out_is_told_in_one_line(serve: Any, connect: Any) -> None:
    """The server says why in a challenge that wants an empty line (Google's XOAUTH2)."""
    server = serve("--user", "shop:ya29.fresh", "--auth", "XOAUTH2")
    with pytest.raises(
        DeliveryError, match=r"refused the access token: 535 5\.7\.8 .*\(status 401\).*run out.*token_file"
    ) as raised:
        connect(server, **TOKEN).open()
    assert "\n" not in str(raised.value)
    assert "ya29" not in str(raised.value)


def test_a_token_file_is_read_at_each_login(
    serve: Any, connect: Any, make_caller: Any, make_mail: Any, tmp_path: Path
) -> None:
    """Another program renews it while we run; after the pause of a failed login we are in again."""
    clock = [0.0]
    token = tmp_path / "token"
    token.write_text("old\n")
    server = serve("--user", "shop:new", "--auth", "XOAUTH2")
    backend = connect(server, now=lambda: clock[0], username="shop", token_file=token)
    with pytest.raises(DeliveryError, match="refused the access token"):
        make_caller().hand(backend, make_mail())
    token.write_text("new\n")
    clock[0] += 60
    assert make_caller().hand(backend, make_mail())[0].outcome is A


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"cannot read the token file .*/token: No such file or directory"),
        ("", "does not hold an access token"),
        ("two words", "does not hold an access token"),
        ("a\x01b", "does not hold an access token"),
        ("жетон", r"cannot read the token file .*: it is not ASCII"),
    ],
)
def test_a_token_file_of_no_use_is_told_in_one_line(
    serve: Any, connect: Any, tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    server = serve("--user", "shop:x", "--auth", "XOAUTH2")
    with pytest.raises(DeliveryError, match=words) as raised:
        connect(server, username="shop", token_file=tmp_path / "token").open()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ([], PASSWORD, r"it offers no AUTH, and the settings ask for PLAIN or LOGIN"),
        (["--user", "a:b", "--auth", "GSSAPI NTLM"], PASSWORD, r"it offers AUTH GSSAPI NTLM.*ask for PLAIN or LOGIN"),
        (["--user", "a:b", "--auth", "PLAIN"], TOKEN, r"it offers AUTH PLAIN, and the settings ask for XOAUTH2"),
    ],
)  # fmt: skip
def test_a_server_without_a_login_that_fits_is_told_in_one_line(
    serve: Any, connect: Any, options: list[str], settings: dict[str, str], words: str
) -> None:
    with pytest.raises(DeliveryError, match=words):
        connect(serve(*options), **settings).open()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("454 4.7.0 Temporary authentication failure", "takes no login now: 454 4.7.0"),
        ("drop", "cannot reach the mail server"),
        ("garbage", "does not speak SMTP"),
        ("250 ok", "does not speak SMTP: an answer out of step to AUTH"),
    ],
)
def test_a_login_that_breaks_is_told_in_one_line(serve: Any, connect: Any, word: str, words: str) -> None:
    server = serve("--user", "shop:s3cret", script={"auth": {"": word}})
    with pytest.raises(DeliveryError, match=words):
        connect(server, **PASSWORD).open()


def test_a_server_that_wants_a_login_burns_no_mail(serve: Any, connect: Any, caller: Any, mail: Mail) -> None:
    """530 at MAIL speaks of us, not of the mail."""
    with pytest.raises(DeliveryError, match=r"only after a login.*username_env"):
        caller.hand(connect(serve("--user", "shop:s3cret")), mail)
    assert caller.events == []


@pytest.mark.parametrize("secret", [PASSWORD, TOKEN], ids=["password", "token"])
def test_a_secret_is_not_sent_in_the_clear_to_another_machine(secret: dict[str, Any]) -> None:
    backend = SmtpBackend(SmtpServer("mail.example.com", **secret))
    with pytest.raises(DeliveryError, match=r"in the clear.*starttls"):
        backend.open()


def test_localhost_that_is_another_machine_gets_no_password(
    serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name says nothing; the address that we are connected to does."""
    server = serve("--user", "shop:s3cret", "--trace", str(tmp_path / "trace"))
    backend = SmtpBackend(SmtpServer("localhost", server.port, timeout=5, **PASSWORD))  # type: ignore[arg-type]
    monkeypatch.setattr(smtp_connect, "is_loopback", lambda host: host == "localhost")
    with pytest.raises(DeliveryError, match="in the clear"):
        backend.open()
    assert _used(tmp_path / "trace") == []


def test_secrets_are_not_shown() -> None:
    shown = repr(SmtpServer("mail.example.com", username="shop", password="s3cret", token="ya29"))
    assert "s3cret" not in shown
    assert "ya29" not in shown
