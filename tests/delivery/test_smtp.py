"""The SMTP backend against a real server process: every end of a hand-over is told from every other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from servers.smtp import Certificate

from drumbeat.delivery import Mail, Outcome
from drumbeat.delivery.smtp import SmtpBackend
from drumbeat.delivery.smtp_connect import SmtpServer
from drumbeat.errors import DeliveryError

pytestmark = pytest.mark.smtp


class Asked:
    """A `before_content` that counts how often it was asked."""

    def __init__(self, answer: bool = True) -> None:
        self.answer, self.times = answer, 0

    def __call__(self) -> bool:
        self.times += 1
        return self.answer


def test_an_accepted_mail_arrives_byte_for_byte(serve: Any, connect: Any) -> None:
    """Lines that begin with a dot, and one that is only a dot, come out as they went in."""
    server = serve("--keep-content")
    content = b"Subject: dots\r\n\r\n.\r\n..two\r\n.one\r\nmiddle.\r\n\r\n.\r\n"
    asked = Asked()
    answer = connect(server).hand_over(Mail("k", "a@example.com", "b@example.com", content), asked)
    assert (answer.outcome, answer.text) == (Outcome.ACCEPTED, "250 2.0.0 kept")
    assert asked.times == 1
    assert server.content() == content


def test_a_content_without_a_last_line_end_gets_one(serve: Any, connect: Any) -> None:
    server = serve("--keep-content")
    mail = Mail("k", "a@example.com", "b@example.com", b"Subject: x\r\n\r\nno end")
    assert connect(server).hand_over(mail, Asked()).outcome is Outcome.ACCEPTED
    assert server.content().endswith(b"no end\r\n")


def test_a_large_mail_cut_off_before_its_final_dot_certainly_did_not_arrive(serve: Any, connect: Any) -> None:
    """The system's buffers hold a small mail whole, so of that nobody knows; not so 32 MB."""
    server = serve(script={"data": {"b@": "begin+drop"}})
    mail = Mail("k", "a@example.com", "b@example.com", b"Subject: x\r\n\r\n" + b"line\r\n" * 6_000_000)
    asked = Asked()
    answer = connect(server).hand_over(mail, asked)
    assert (answer.outcome, asked.times) == (Outcome.DEFERRED, 1)
    assert answer.text.startswith("connection lost before the content's end")
    assert server.addresses == []


BEFORE, AFTER = 0, 1
STEPS = [
    # step, the server's answer, how it ends, on which side of before_content, whether the server kept it
    ("mail", "drop", Outcome.DEFERRED, BEFORE, 0),
    ("rcpt", "drop", Outcome.DEFERRED, BEFORE, 0),
    ("data", "drop", Outcome.DEFERRED, BEFORE, 0),
    ("data", "begin+drop", Outcome.UNCERTAIN, AFTER, 0),
    ("content", "drop", Outcome.UNCERTAIN, AFTER, 0),
    ("content", "keep+drop", Outcome.UNCERTAIN, AFTER, 1),
    ("mail", "sleep:2", Outcome.DEFERRED, BEFORE, 0),
    ("rcpt", "sleep:2", Outcome.DEFERRED, BEFORE, 0),
    ("data", "sleep:2", Outcome.DEFERRED, BEFORE, 0),
    ("content", "sleep:2", Outcome.UNCERTAIN, AFTER, 1),
    ("mail", "451 4.3.0 later", Outcome.DEFERRED, BEFORE, 0),
    ("mail", "421 4.3.2 going down", Outcome.DEFERRED, BEFORE, 0),
    ("mail", "552 5.3.4 too large", Outcome.REFUSED, BEFORE, 0),
    ("rcpt", "452 4.2.2 mailbox full", Outcome.DEFERRED, BEFORE, 0),
    ("rcpt", "421 4.3.2 going down", Outcome.DEFERRED, BEFORE, 0),
    ("rcpt", "550 5.1.1 no such user", Outcome.REFUSED, BEFORE, 0),
    ("data", "451 4.3.0 later", Outcome.DEFERRED, BEFORE, 0),
    ("data", "554 5.7.1 no", Outcome.REFUSED, BEFORE, 0),
    ("content", "451 4.7.1 greylisted", Outcome.DEFERRED, AFTER, 0),
    ("content", "421 4.3.2 going down", Outcome.DEFERRED, AFTER, 0),
    ("content", "554 5.7.1 looks like spam", Outcome.REFUSED, AFTER, 0),
    ("content", "not SMTP at all", Outcome.UNCERTAIN, AFTER, 0),
    ("content", "354 what", Outcome.UNCERTAIN, AFTER, 0),
]


@pytest.mark.parametrize(
    ("step", "scripted", "outcome", "asked", "kept"), STEPS, ids=[f"{s}: {a}" for s, a, *_ in STEPS]
)
def test_each_step_cut_or_refused_ends_as_it_must(
    serve: Any, connect: Any, mail: Mail, step: str, scripted: str, outcome: Outcome, asked: int, kept: int
) -> None:
    """Before the content: certainly not sent. After it: only the server's reply can say."""
    server = serve(script={step: {"reader@": scripted, "shop@": scripted}})
    before_content = Asked()
    answer = connect(server, timeout=0.5).hand_over(mail, before_content)
    assert answer.outcome is outcome
    assert before_content.times == asked
    assert answer.text
    assert "\n" not in answer.text
    if scripted.startswith("sleep"):
        server.process.kill()
    else:
        assert len(server.mails) == kept


@pytest.mark.parametrize(
    ("step", "scripted"), [(step, scripted) for step, scripted, *_ in STEPS if "sleep" not in scripted]
)
def test_the_next_mail_goes_out_after_any_failure(
    serve: Any, connect: Any, make_mail: Callable[..., Mail], step: str, scripted: str
) -> None:
    """A refused or broken hand-over leaves nothing behind that harms the next mail."""
    server = serve(script={step: {"bad@": scripted}})
    backend = connect(server)
    bad = Mail("bad", "bad@example.com", "bad@example.com", make_mail().content)
    assert backend.hand_over(bad, Asked()).outcome is not Outcome.ACCEPTED
    assert backend.hand_over(make_mail("good@example.com"), Asked()).outcome is Outcome.ACCEPTED
    assert server.addresses[-1] == "good@example.com"


def test_one_connection_serves_many_mails(serve: Any, connect: Any, make_mail: Callable[..., Mail]) -> None:
    server = serve()
    backend = connect(server)
    backend.open()
    first = backend._connection
    for number in range(20):
        assert backend.hand_over(make_mail(f"r{number}@example.com"), Asked()).outcome is Outcome.ACCEPTED
    assert backend._connection is first
    assert server.addresses == [f"r{number}@example.com" for number in range(20)]


@pytest.mark.parametrize("gone", ["drop", "421 4.4.2 idle too long"])
def test_a_connection_that_died_while_idle_is_replaced(
    serve: Any, connect: Any, make_mail: Callable[..., Mail], gone: str
) -> None:
    server = serve(script={"once": True, "mail": {"late@": gone}})
    backend = connect(server)
    assert backend.hand_over(make_mail(), Asked()).outcome is Outcome.ACCEPTED
    late = Mail("late", "late@example.com", "late@example.com", make_mail().content)
    assert backend.hand_over(late, Asked()).outcome is Outcome.ACCEPTED
    assert server.addresses == ["reader@example.com", "late@example.com"]


def test_a_mail_withdrawn_at_the_last_moment_never_arrives(
    serve: Any, connect: Any, mail: Mail, make_mail: Callable[..., Mail]
) -> None:
    server = serve()
    backend = connect(server)
    assert backend.hand_over(mail, Asked(answer=False)).outcome is Outcome.WITHDRAWN
    assert backend.hand_over(make_mail("next@example.com"), Asked()).outcome is Outcome.ACCEPTED
    assert server.addresses == ["next@example.com"]


def test_an_error_in_the_last_check_sends_nothing(serve: Any, connect: Any, mail: Mail) -> None:
    """The database may fail between the 354 and the content."""

    def fails() -> bool:
        raise RuntimeError("the database is gone")

    server = serve()
    backend = connect(server)
    with pytest.raises(RuntimeError, match="the database is gone"):
        backend.hand_over(mail, fails)
    assert server.mails == []
    assert backend.hand_over(mail, Asked()).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mails_travel_encrypted_where_the_certificate_is_trusted(
    serve: Any, connect: Any, mail: Mail, certificate: Certificate, tls: str
) -> None:
    server = serve(*_tls(certificate, tls))
    backend = connect(server, tls=tls, ca_file=certificate.ca)
    assert backend.hand_over(mail, Asked()).outcome is Outcome.ACCEPTED
    assert server.mails[0]["encrypted"] is True


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_certificate_of_another_ca_is_refused_in_one_line(
    serve: Any, connect: Any, mail: Mail, certificate: Certificate, tls: str, tmp_path: Any
) -> None:
    from servers.smtp import make_certificate

    other = make_certificate(tmp_path, "other")
    server = serve(*_tls(certificate, tls))
    for ca_file in (other.ca, None):
        with pytest.raises(DeliveryError, match=r"certificate of 127\.0\.0\.1:\d+ is not trusted.*ca_file"):
            connect(server, tls=tls, ca_file=ca_file).hand_over(mail, Asked())
    assert server.mails == []


def test_a_certificate_for_another_name_is_refused(
    serve: Any, connect: Any, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(*_tls(certificate, "starttls"))
    backend = SmtpBackend(SmtpServer("127.0.0.2", server.port, "starttls", certificate.ca, timeout=5))
    real = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda _, *a, **k: real(("127.0.0.1", server.port), *a, **k)
    )
    with pytest.raises(DeliveryError, match=r"certificate of 127\.0\.0\.2"):
        backend.open()


def test_starttls_is_never_left_out_silently(
    serve: Any, connect: Any, mail: Mail, certificate: Certificate
) -> None:
    """A server, or someone between, that does not offer STARTTLS gets no mail."""
    server = serve()
    with pytest.raises(DeliveryError, match="STARTTLS"):
        connect(server, tls="starttls", ca_file=certificate.ca).hand_over(mail, Asked())
    assert server.mails == []


def test_a_missing_ca_file_is_named(connect: Any, serve: Any, tmp_path: Any) -> None:
    with pytest.raises(DeliveryError, match=r"cannot read the CA file .*none\.pem"):
        connect(serve(), tls="starttls", ca_file=tmp_path / "none.pem").open()


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
def test_the_right_password_opens_the_server(serve: Any, connect: Any, mail: Mail, method: str) -> None:
    server = serve("--user", "shop:s3cret", "--auth", method)
    backend = connect(server, username="shop", password="s3cret")
    assert backend.hand_over(mail, Asked()).outcome is Outcome.ACCEPTED


def test_a_wrong_password_is_told_in_one_line(serve: Any, connect: Any) -> None:
    server = serve("--user", "shop:s3cret")
    with pytest.raises(DeliveryError, match=r"refused the login: 535 5\.7\.8") as raised:
        connect(server, username="shop", password="guess").open()
    assert "\n" not in str(raised.value)
    assert "guess" not in str(raised.value)


def test_a_server_that_wants_a_login_burns_no_mail(serve: Any, connect: Any, mail: Mail) -> None:
    """530 at MAIL speaks of us, not of the mail."""
    with pytest.raises(DeliveryError, match=r"only after a login.*username_env"):
        connect(serve("--user", "shop:s3cret")).hand_over(mail, Asked())


def test_a_server_without_logins_is_told_in_one_line(serve: Any, connect: Any) -> None:
    with pytest.raises(DeliveryError, match="AUTH"):
        connect(serve(), username="shop", password="x").open()


def test_a_password_is_not_sent_in_the_clear_to_another_machine() -> None:
    backend = SmtpBackend(SmtpServer("mail.example.com", username="shop", password="x"))
    with pytest.raises(DeliveryError, match=r"in the clear.*starttls"):
        backend.open()


def test_a_refused_sender_burns_no_mail(serve: Any, connect: Any, mail: Mail) -> None:
    server = serve(script={"mail": {"shop@": "550 5.7.1 not your domain"}})
    with pytest.raises(DeliveryError, match=r"refuses the sender shop@example.com: 550 5\.7\.1"):
        connect(server).hand_over(mail, Asked())


@pytest.mark.parametrize("greeting", ["421 4.3.2 too busy", "554 5.7.1 go away", "drop"])
def test_a_server_that_turns_us_away_is_told_in_one_line(serve: Any, connect: Any, greeting: str) -> None:
    with pytest.raises(DeliveryError, match="the mail server 127"):
        connect(serve(script={"greeting": {"": greeting}})).open()


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        backend = SmtpBackend(SmtpServer("127.0.0.1", unused.getsockname()[1], timeout=2))
        with pytest.raises(
            DeliveryError, match=r"cannot reach the mail server .*: Connection refused; check"
        ):
            backend.open()


def test_a_server_that_says_nothing_is_given_up_after_the_time_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        backend = SmtpBackend(SmtpServer("127.0.0.1", silent.getsockname()[1], timeout=0.3))
        with pytest.raises(DeliveryError, match="timed out"):
            backend.open()


def test_a_local_part_beyond_ascii_needs_smtputf8(
    serve: Any, connect: Any, make_mail: Callable[..., Mail]
) -> None:
    answer = connect(serve()).hand_over(make_mail("почта@example.com"), Asked())
    assert (answer.outcome, "SMTPUTF8" in answer.text) == (Outcome.REFUSED, True)
    server = serve("--smtputf8")
    assert connect(server).hand_over(make_mail("почта@example.com"), Asked()).outcome is Outcome.ACCEPTED
    assert server.addresses == ["почта@example.com"]


def test_a_domain_beyond_ascii_goes_out_in_the_form_of_dns(
    serve: Any, connect: Any, make_mail: Callable[..., Mail]
) -> None:
    server = serve()
    assert connect(server).hand_over(make_mail("info@bücher.example"), Asked()).outcome is Outcome.ACCEPTED
    assert server.addresses == ["info@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "address", ["a@example.com>\r\nRCPT TO:<b@example.com", "a b@example.com", "<a@b.c>"]
)
def test_an_address_cannot_carry_a_command(
    serve: Any, connect: Any, make_mail: Callable[..., Mail], address: str
) -> None:
    server = serve()
    evil = Mail("k", "shop@example.com", address, make_mail().content)
    assert connect(server).hand_over(evil, Asked()).outcome is Outcome.REFUSED
    assert server.mails == []


def test_closing_twice_or_without_a_server_is_quiet(serve: Any, connect: Any) -> None:
    server = serve()
    backend = connect(server)
    backend.open()
    server.process.kill()
    server.process.wait()
    backend.close()
    backend.close()


def test_a_server_that_drips_its_reply_is_read_to_the_end(make_mail: Callable[..., Mail]) -> None:
    """Replies of several lines, in pieces of a few bytes, are one line of text."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def play() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as lines:
                replies = [
                    "220 a",
                    "250-a\r\n250 b",
                    "250 a",
                    "250 a",
                    "354 a",
                    "250-2.0.0 one\r\n250 2.0.0 two",
                ]
                for number, reply in enumerate(replies):
                    for byte in f"{reply}\r\n".encode():
                        peer.sendall(bytes([byte]))
                    if number < len(replies) - 2:
                        lines.readline()
                    elif number == len(replies) - 2:
                        while lines.readline() != b".\r\n":
                            pass
                lines.readline()

        server = threading.Thread(target=play)
        server.start()
        backend = SmtpBackend(SmtpServer("127.0.0.1", listener.getsockname()[1], timeout=5))
        answer = backend.hand_over(make_mail(), Asked())
        backend.close()
        server.join()
    assert (answer.outcome, answer.text) == (Outcome.ACCEPTED, "250 2.0.0 one 2.0.0 two")


def _tls(certificate: Certificate, tls: str) -> list[str]:
    options = ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
    return [*options, "--implicit-tls"] if tls == "implicit" else options
