"""The settings of mail servers: one as before or several, and each fault in words that say what to do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drumbeat.delivery.smtp import from_settings
from drumbeat.delivery.smtp_settings import Smtp
from drumbeat.errors import DeliveryError

LOGIN = {"username_env": "U", "password_env": "P"}
TLS = {"tls": "starttls"}


def test_one_server_stands_as_before() -> None:
    settings = Smtp.model_validate(
        {"host": "mail.example.com", "port": 587, **TLS, **LOGIN, "timeout": "30s"}
    )
    assert [host.name for host in settings.hosts] == ["mail.example.com:587"]
    assert (settings.timeout, settings.content_timeout) == (timedelta(seconds=30), timedelta(minutes=10))
    assert (settings.connections, settings.mails_per_connection) == (1, 1000)


def test_several_servers_stand_in_a_list() -> None:
    settings = Smtp.model_validate(
        {
            "servers": [
                {"host": "a.example.com", "connections": 4, "rate": "14/s"},
                {"host": "::1", "port": 2525},
                {
                    "host": "c.example.com",
                    "port": 465,
                    "tls": "implicit",
                    "username_env": "U",
                    "token_file": "t",
                },
            ],
            "content_timeout": "2m",
        }
    )
    assert [host.name for host in settings.hosts] == ["a.example.com:25", "[::1]:2525", "c.example.com:465"]
    assert [(host.connections, host.rate) for host in settings.hosts] == [(4, "14/s"), (1, None), (1, None)]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"username_env": "U"}, "username_env without password_env, token_env or token_file; a login needs both"),
    ({"password_env": "P"}, "a password or token without username_env; a login needs both"),
    ({"token_env": "T"}, "a password or token without username_env"),
    ({"username_env": "U", "token_env": "T", "token_file": "t"}, "token_env and token_file are two places"),
    ({**LOGIN, "auth": "xoauth2"}, "auth xoauth2 needs token_env or token_file"),
    (
        {"username_env": "U", "token_env": "T", "auth": "plain"},
        "auth plain needs username_env and password_env",
    ),
    (
        {**LOGIN, "host": "mail.example.com"},
        "the login at mail.example.com would travel in the clear; set tls",
    ),
    ({"ca_file": "ca.pem"}, "ca_file without tls"),
    ({"timeout": "0s"}, "must be longer than 0s"),
    ({"timeout": "5m", "content_timeout": "1m"}, "content_timeout is shorter than timeout"),
    ({"host": "mail example"}, "host"),
    ({"port": 0}, "port"),
    ({"helo": "shop\r\nRCPT"}, "helo"),
    ({"connections": 0}, "connections"),
    ({"rate": "fast"}, "rate"),
    ({"mails_per_connection": 0}, "mails_per_connection"),
    (
        {"host": "a", "port": 26, "servers": [{"host": "b"}]},
        "host, port beside servers; put them into each server",
    ),
    ({"servers": [{"host": "b"}, {"host": "b"}]}, "b:25 stands twice in servers; give it more connections"),
    ({"servers": [{"host": "b", **LOGIN}]}, "the login at b would travel in the clear"),
    ({"servers": [{"hots": "b"}]}, "hots"),
    ({"servers": [{"host": "b", "timeout": "1s"}]}, "timeout"),
]


@pytest.mark.parametrize(("settings", "words"), FAULTS, ids=[words[:50] for _, words in FAULTS])
def test_a_fault_says_what_to_do(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Smtp.model_validate(settings)
    assert words in str(raised.value)


@pytest.mark.parametrize("setting", ["username_env", "password_env", "token_env"])
def test_a_secret_that_is_not_set_is_named(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"username_env": "MAIL_USER", "password_env": "MAIL_PASSWORD", "token_env": "MAIL_TOKEN"}
    for name in names.values():
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv(names[setting])
    with pytest.raises(
        DeliveryError, match=rf"{names[setting]} is not set; delivery\.smtp\.{setting} in project"
    ):
        from_settings(Smtp.model_validate(names), tmp_path)


def test_everything_that_is_set_reaches_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "UPT":
        monkeypatch.setenv(name, f"value of {name}")
    backend = from_settings(
        Smtp.model_validate(
            {
                "servers": [
                    {"host": "a.example", "port": 1, **TLS, **LOGIN, "ca_file": "ca.pem", "auth": "login"},
                    {"host": "b.example", **TLS, "username_env": "U", "token_env": "T", "helo": "me.example"},
                    {"host": "c.example", **TLS, "username_env": "U", "token_file": "t", "connections": 3},
                    {"host": "d.example", "connections": 2, "total_connections": 8, "rate": "14/s"},
                ],
                "timeout": "20s",
                "content_timeout": "5m",
                "mails_per_connection": 50,
            }
        ),
        tmp_path,
    )
    a, b, c, d = (place.server for place in backend._pool)
    assert (a.host, a.port, a.tls, a.ca_file, a.auth) == (
        "a.example",
        1,
        "starttls",
        tmp_path / "ca.pem",
        "login",
    )
    assert (a.username, a.password, a.timeout, a.content_timeout) == ("value of U", "value of P", 20, 300)
    assert (b.token, b.token_file, b.helo, b.mails_per_connection) == ("value of T", None, "me.example", 50)
    assert (c.token, c.token_file, c.connections, c.ca_file) == (None, tmp_path / "t", 3, None)
    assert (d.connections, d.total_connections, d.rate) == (2, 8, "14/s")
    assert backend.servers == {
        "a.example:1": (1, None),
        "b.example:25": (1, None),
        "c.example:25": (3, None),
        "d.example:25": (2, 8),
    }
    assert backend.rates == {"d.example:25": "14/s"}
