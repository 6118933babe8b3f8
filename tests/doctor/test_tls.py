"""The mail server is really connected to: what it offers, its certificate, and each way to fail are told."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.smtp import Certificate, make_certificate, smtp_server
from support.findings import told

from drumbeat.doctor.checks import examine
from drumbeat.doctor.findings import Level
from drumbeat.doctor.setup import Setup

pytestmark = pytest.mark.smtp
Make = Callable[..., Setup]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Valid for two more days, for localhost and 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@contextmanager
def server(folder: Path, certificate: Certificate | None, *options: str, **more: Any) -> Iterator[int]:
    words = (
        ["--certificate", str(certificate.certificate), "--key", str(certificate.key)] if certificate else []
    )
    with smtp_server(folder / "log", *words, *options, **more) as running:
        yield running.port


def examined(
    setup: Make, port: int, *, days_to_go: int | None = None, ca: Path | None = None, **smtp: Any
) -> Any:
    """The findings about a server; `days_to_go` sets the time so long before the certificate's end."""
    made = setup(
        delivery={"backend": "smtp", "smtp": {"host": "127.0.0.1", "port": port, **smtp}},
    )
    if ca is not None:
        shutil.copy(ca, made.project.root / "ca.pem")
    if days_to_go is not None:
        made.now = datetime.now(UTC) + timedelta(days=2) - timedelta(days=days_to_go)
    return [finding for finding in examine(made, only=["tls"]) if finding.check == "tls"]


def test_a_trusted_server_is_ok_with_its_version_and_days(
    setup: Make, tmp_path: Path, certificate: Certificate
) -> None:
    with server(tmp_path, certificate) as port:
        found = examined(setup, port, days_to_go=60, ca=certificate.ca, tls="starttls", ca_file="ca.pem")
    assert told(found, Level.OK).startswith(
        f"127.0.0.1:{port}: TLS 1.3, certificate trusted for 59 more days"
    )


def test_encryption_from_the_first_byte_is_looked_at_too(
    setup: Make, tmp_path: Path, certificate: Certificate
) -> None:
    with server(tmp_path, certificate, "--implicit-tls") as port:
        found = examined(setup, port, days_to_go=60, ca=certificate.ca, tls="implicit", ca_file="ca.pem")
    assert "TLS 1.3, certificate trusted for 59 more days" in told(found, Level.OK)


def test_a_certificate_that_is_about_to_end_is_told(
    setup: Make, tmp_path: Path, certificate: Certificate
) -> None:
    with server(tmp_path, certificate) as port:
        found = examined(setup, port, days_to_go=6, ca=certificate.ca, tls="starttls", ca_file="ca.pem")
    assert "certificate trusted for 5 more days -> Renew the certificate" in told(found, Level.WARN)


def test_a_certificate_of_an_unknown_authority_is_told(
    setup: Make, tmp_path: Path, certificate: Certificate
) -> None:
    for tls in ("starttls", "implicit"):
        with server(tmp_path, certificate, *(["--implicit-tls"] if tls == "implicit" else [])) as port:
            found = examined(setup, port, tls=tls)
        assert "cannot be encrypted: its certificate is not trusted: unable to get local issuer" in told(
            found, Level.FAIL
        )


def test_a_certificate_for_another_name_is_told(
    setup: Make, tmp_path: Path, certificate: Certificate
) -> None:
    with server(tmp_path, certificate) as port:
        made = setup(
            delivery={
                "backend": "smtp",
                "smtp": {"host": "127.0.0.2", "port": port, "tls": "starttls", "ca_file": "ca.pem"},
            }
        )
        shutil.copy(certificate.ca, made.project.root / "ca.pem")
        with socket.socket() as probe:
            reachable = probe.connect_ex(("127.0.0.2", port)) == 0
        found = [finding for finding in examine(made, only=["tls"]) if finding.check == "tls"]
    expected = "certificate is not valid for '127.0.0.2'" if reachable else "Connection refused"
    assert expected in told(found, Level.FAIL)


def test_a_server_without_starttls_is_told_where_that_was_asked_for(setup: Make, tmp_path: Path) -> None:
    with server(tmp_path, None) as port:
        assert "offers no STARTTLS, which project.yaml asks for" in told(
            examined(setup, port, tls="starttls"), Level.FAIL
        )


def test_a_plain_server_on_this_machine_is_fine(setup: Make, tmp_path: Path) -> None:
    with server(tmp_path, None) as port:
        assert "on this machine, so nothing need be encrypted" in told(examined(setup, port), Level.OK)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"greeting": {"": "554 5.7.1 go away"}}, "it does not want us: 554 5.7.1 go away"),
        ({"greeting": {"": "drop"}}, "cannot be used"),
        ({"ehlo": {"": "drop"}}, "cannot be used"),
        ({"greeting": {"": "garbage"}}, "cannot be used"),
        ({"greeting": {"": "silent"}}, "it does not answer in time"),
    ],
)
def test_a_server_that_will_not_talk_is_told(
    setup: Make, tmp_path: Path, script: dict[str, Any], words: str
) -> None:
    with server(tmp_path, None, script=script) as port:
        found = examined(setup, port)
    assert words in told(found, Level.FAIL)
    assert len(found) == 1


def test_a_server_that_is_not_there_is_told(setup: Make) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = examined(setup, closed.getsockname()[1])
    assert "cannot be used: Connection refused -> Check delivery.smtp" in told(found, Level.FAIL)


def test_a_ca_file_that_cannot_be_read_is_told(setup: Make, tmp_path: Path, certificate: Certificate) -> None:
    with server(tmp_path, certificate) as port:
        found = examined(setup, port, tls="starttls", ca_file="none.pem")
    assert "cannot read the CA file none.pem: No such file" in told(found, Level.FAIL)


def test_a_login_that_cannot_work_is_told(
    setup: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"username_env": "SMTP_USER", "password_env": "SMTP_PASSWORD"}
    with server(tmp_path, None) as port:
        monkeypatch.delenv("SMTP_USER", raising=False)
        monkeypatch.setenv("SMTP_PASSWORD", "secret")
        found = examined(setup, port, **login)
        assert "the login's SMTP_USER is not set here" in told(found, Level.FAIL)
        monkeypatch.setenv("SMTP_USER", "shop")
        assert "offers no login, and project.yaml has one" in told(examined(setup, port, **login), Level.FAIL)


def test_each_of_several_servers_is_looked_at(setup: Make, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with server(tmp_path, None) as one, server(tmp_path / "a", None) as two:
        made = setup(
            delivery={
                "backend": "smtp",
                "smtp": {"servers": [{"host": "127.0.0.1", "port": port} for port in (one, two)]},
            }
        )
        found = [finding.about for finding in examine(made, only=["tls"]) if finding.check == "tls"]
    assert found == [f"127.0.0.1:{one}", f"127.0.0.1:{two}"]
