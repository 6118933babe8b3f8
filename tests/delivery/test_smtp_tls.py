"""Encryption: certificates are verified, and nothing said in the clear is believed afterwards."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from servers.smtp import Certificate, make_certificate

from drumbeat.delivery import Mail, Outcome
from drumbeat.delivery.smtp import SmtpBackend
from drumbeat.delivery.smtp_connect import SmtpServer
from drumbeat.errors import DeliveryError

pytestmark = pytest.mark.smtp

A = Outcome.ACCEPTED
BOTH = pytest.mark.parametrize("tls", ["starttls", "implicit"])


def _options(certificate: Certificate, tls: str) -> list[str]:
    options = ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
    return [*options, "--implicit-tls"] if tls == "implicit" else options


@BOTH
def test_mails_travel_encrypted_where_the_certificate_is_trusted(
    serve: Any, connect: Any, caller: Any, make_mails: Any, certificate: Certificate, tls: str
) -> None:
    server = serve(*_options(certificate, tls))
    answers = caller.hand(connect(server, tls=tls, ca_file=certificate.ca), *make_mails(5))
    assert {answer.outcome for answer in answers} == {A}
    assert [(mail["encrypted"], mail["overlapped"]) for mail in server.mails] == [(True, True)] * 4 + [
        (True, False)
    ]


@BOTH
def test_a_large_mail_travels_encrypted_byte_for_byte(
    serve: Any, connect: Any, caller: Any, certificate: Certificate, tls: str
) -> None:
    """It takes many records."""
    content = b"Subject: x\r\n\r\n" + b"".join(b".line %d\r\n" % n for n in range(60_000))
    server = serve("--keep-content", *_options(certificate, tls))
    mails = [Mail(str(n), "a@example.com", "b@example.com", content) for n in range(2)]
    answers = caller.hand(connect(server, tls=tls, ca_file=certificate.ca), *mails)
    assert {answer.outcome for answer in answers} == {A}
    assert server.content(0) == server.content(1) == content


@BOTH
def test_a_large_encrypted_mail_cut_off_before_its_final_dot_certainly_did_not_arrive(
    serve: Any, connect: Any, caller: Any, certificate: Certificate, tls: str
) -> None:
    server = serve(*_options(certificate, tls), script={"data": {"b@": "begin+drop"}})
    mail = Mail("k", "a@example.com", "b@example.com", b"Subject: x\r\n\r\n" + b"line\r\n" * 6_000_000)
    (answer,) = caller.hand(connect(server, tls=tls, ca_file=certificate.ca), mail)
    assert (answer.outcome, caller.begun, server.addresses) == (Outcome.DEFERRED, ["k"], [])


@BOTH
def test_a_certificate_of_another_ca_is_refused_in_one_line(
    serve: Any, connect: Any, caller: Any, mail: Mail, certificate: Certificate, tls: str, tmp_path: Path
) -> None:
    other = make_certificate(tmp_path, "other")
    server = serve(*_options(certificate, tls))
    for ca_file in (other.ca, None):
        with pytest.raises(DeliveryError, match=r"certificate of 127\.0\.0\.1:\d+ is not trusted.*ca_file"):
            caller.hand(connect(server, tls=tls, ca_file=ca_file), mail)
    assert (server.mails, caller.events) == ([], [])


@BOTH
def test_a_certificate_for_another_name_is_refused(
    serve: Any, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tls: Any
) -> None:
    server = serve(*_options(certificate, tls))
    backend = SmtpBackend(SmtpServer("127.0.0.2", server.port, tls, certificate.ca, timeout=5))
    real = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda _, *a, **k: real(("127.0.0.1", server.port), *a, **k)
    )
    with pytest.raises(DeliveryError, match=r"certificate of 127\.0\.0\.2.*not trusted"):
        backend.open()


def test_a_certificate_that_has_run_out_is_refused(
    serve: Any, connect: Any, tmp_path: Path, certificate: Certificate
) -> None:
    old = make_certificate(tmp_path, "old", days=-2)
    with pytest.raises(DeliveryError, match="certificate has expired"):
        connect(serve(*_options(old, "implicit")), tls="implicit", ca_file=old.ca).open()


def test_starttls_is_never_left_out_silently(
    serve: Any, connect: Any, caller: Any, mail: Mail, certificate: Certificate
) -> None:
    """A server, or someone between, that does not offer STARTTLS gets no mail."""
    server = serve()
    with pytest.raises(DeliveryError, match="does not offer STARTTLS"):
        caller.hand(connect(server, tls="starttls", ca_file=certificate.ca), mail)
    assert server.mails == []


@pytest.mark.parametrize("word", ["454 4.7.0 not now", "502 5.5.1 what?", "drop"])
def test_a_refused_starttls_is_told_in_one_line(
    serve: Any, connect: Any, certificate: Certificate, word: str
) -> None:
    server = serve(*_options(certificate, "starttls"), script={"starttls": {"": word}})
    with pytest.raises(DeliveryError, match="the mail server 127"):
        connect(server, tls="starttls", ca_file=certificate.ca).open()


def test_what_somebody_between_says_in_the_clear_is_not_taken_for_the_servers_word(
    serve: Any, connect: Any, caller: Any, mail: Mail, certificate: Certificate
) -> None:
    """CVE-2011-0411: an answer put in behind the one to STARTTLS would be read as the answer to EHLO."""
    injected = "inject:250-evil.example|250-AUTH LOGIN PLAIN|250 SIZE 1"
    server = serve(*_options(certificate, "starttls"), script={"starttls": {"": injected}})
    with pytest.raises(
        DeliveryError, match=r"cannot encrypt|more came in the clear than the answer to STARTTLS"
    ):
        caller.hand(connect(server, tls="starttls", ca_file=certificate.ca), mail)
    assert (server.mails, caller.events) == ([], [])


def test_injected_words_are_refused_though_they_come_with_the_answer_itself(certificate: Certificate) -> None:
    """All in one piece, so that they lie in our buffer when the handshake would begin; nothing more is said then."""
    said_after: list[bytes] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def play() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as lines:
                peer.sendall(b"220 x\r\n")
                lines.readline()
                peer.sendall(b"250-x\r\n250 STARTTLS\r\n")
                lines.readline()
                peer.sendall(b"220 go on\r\n250 evil.example\r\n")
                said_after.append(lines.read())

        thread = threading.Thread(target=play)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(DeliveryError, match="more came in the clear than the answer to STARTTLS"):
            SmtpBackend(SmtpServer("127.0.0.1", port, "starttls", certificate.ca, timeout=5)).open()
        thread.join()
    assert said_after == [b""]


def test_what_was_offered_in_the_clear_is_forgotten(
    serve: Any, connect: Any, caller: Any, mail: Mail, certificate: Certificate
) -> None:
    """The login is offered only after the handshake, and is made there."""
    server = serve(*_options(certificate, "starttls"), "--user", "shop:s3cret", "--auth-after-tls")
    backend = connect(server, tls="starttls", ca_file=certificate.ca, username="shop", password="s3cret")
    assert caller.hand(backend, mail)[0].outcome is A


def test_a_server_that_does_not_speak_tls_is_told_in_one_line(
    serve: Any, connect: Any, certificate: Certificate
) -> None:
    with pytest.raises(DeliveryError, match=r"cannot encrypt the connection to .*check delivery\.smtp\.tls"):
        connect(serve(), tls="implicit", ca_file=certificate.ca).open()


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_missing_or_odd_ca_file_is_named(
    connect: Any, serve: Any, tmp_path: Path, content: str | None
) -> None:
    if content:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(DeliveryError, match=r"cannot read the CA file .*ca\.pem"):
        connect(serve(), tls="starttls", ca_file=tmp_path / "ca.pem").open()
