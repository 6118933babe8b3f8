"""Mails over SMTP to a real server process: what arrives, over how many connections, in whose terms."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from drumbeat.delivery import Mail, Outcome
from drumbeat.delivery.smtp import SmtpBackend
from drumbeat.delivery.smtp_connect import SmtpServer
from drumbeat.errors import DeliveryError

pytestmark = pytest.mark.smtp

A, R = Outcome.ACCEPTED, Outcome.REFUSED
CONTENTS = [
    b"Subject: dots\r\n\r\n.\r\n..two\r\n.one\r\nmiddle.\r\n\r\n.\r\n",
    b".at the very start\r\n",
    b"Subject: none\r\n\r\nend\r\n",
    b"Subject: last\r\n\r\n.\r\n",
]


@pytest.mark.parametrize(
    "options", [[], ["--no-pipelining"], ["--helo-only"]], ids=["piped", "plain", "helo"]
)
def test_mails_arrive_byte_for_byte(serve: Any, connect: Any, caller: Any, options: list[str]) -> None:
    """Lines that begin with a dot, and one that is only a dot, come out as they went in."""
    server = serve("--keep-content", *options)
    mails = [Mail(str(n), "a@example.com", "b@example.com", content) for n, content in enumerate(CONTENTS)]
    answers = caller.hand(connect(server), *mails)
    assert {(answer.outcome, answer.text) for answer in answers} == {(A, "250 2.0.0 kept")}
    assert caller.begun == ["0", "1", "2", "3"]
    assert [server.content(n) for n in range(len(CONTENTS))] == CONTENTS
    assert {mail["pipelined"] for mail in server.mails} == {not options}


def test_a_content_without_a_last_line_end_gets_one(serve: Any, connect: Any, caller: Any) -> None:
    server = serve("--keep-content")
    mail = Mail("k", "a@example.com", "b@example.com", b"Subject: x\r\n\r\nno end")
    assert caller.hand(connect(server), mail)[0].outcome is A
    assert server.content().endswith(b"no end\r\n")


def test_the_next_envelope_travels_with_the_final_dot(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    server = serve()
    caller.hand(connect(server), *make_mails(20))
    assert [mail["overlapped"] for mail in server.mails] == [True] * 19 + [False]
    assert {mail["connection"] for mail in server.mails} == {1}
    assert server.addresses == [f"r{number}@example.com" for number in range(20)]
    assert caller.in_order()


def test_one_connection_serves_many_hand_overs(
    serve: Any, connect: Any, make_caller: Any, make_mails: Any
) -> None:
    server = serve()
    backend = connect(server)
    backend.open()
    for mail in make_mails(5):
        assert make_caller().hand(backend, mail)[0].outcome is A
    assert {mail["connection"] for mail in server.mails} == {1}


def test_a_connection_is_renewed_after_so_many_mails(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    """Refused mails count too; servers count them."""
    server = serve(script={"rcpt": {"r1@": "550 5.1.1 no such user"}})
    outcomes = [a.outcome for a in caller.hand(connect(server, mails_per_connection=3), *make_mails(8))]
    assert outcomes == [A, R, A, A, A, A, A, A]
    assert [mail["connection"] for mail in server.mails] == [1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize("gone", ["drop", "421 4.4.2 idle too long", "421 4.4.2 idle too long+drop"])
@pytest.mark.parametrize("opened", ["by open", "by a mail"])
def test_a_connection_that_died_while_idle_is_replaced(
    serve: Any, connect: Any, make_caller: Any, make_mail: Callable[..., Mail], gone: str, opened: str
) -> None:
    server = serve(script={"once": True, "mail": {"late@": gone}})
    backend = connect(server)
    backend.open()
    if opened == "by a mail":
        assert make_caller().hand(backend, make_mail())[0].outcome is A
    late = make_mail("late@example.com", sender="late@example.com")
    assert make_caller().hand(backend, late)[0].outcome is A
    assert server.addresses[-1] == "late@example.com"
    assert server.addresses.count("late@example.com") == 1


def test_a_connection_that_was_closed_by_the_server_meanwhile_is_replaced(
    serve: Any, make_caller: Any, make_mail: Callable[..., Mail], tmp_path: Any
) -> None:
    """The server is restarted between two hand-overs, on the same port."""
    from servers.smtp import smtp_server

    with smtp_server(tmp_path / "one.jsonl") as first:
        backend = SmtpBackend(SmtpServer("127.0.0.1", first.port, timeout=5))
        assert make_caller().hand(backend, make_mail())[0].outcome is A
        port = first.port
    with smtp_server(tmp_path / "two.jsonl", "--port", str(port)) as second:
        assert make_caller().hand(backend, make_mail())[0].outcome is A
        assert len(second.mails) == 1
        backend.close()


def test_letters_beyond_ascii_travel_as_the_server_can(serve: Any, connect: Any, make_caller: Any) -> None:
    """8BITMIME is said in MAIL; to a server without it the mail goes in ASCII."""
    eight, seven = "Subject: x\r\n\r\nпривет\r\n".encode(), b"Subject: x\r\n\r\n=D0=BF\r\n"
    can, cannot = serve("--keep-content"), serve("--keep-content", "--no-8bit", log="cannot.jsonl")
    mail = Mail("k", "a@example.com", "b@example.com", eight, seven_bit=lambda: seven)
    plain = Mail("p", "a@example.com", "b@example.com", seven, seven_bit=lambda: b"not asked for")
    for server, options, content in (
        (can, f"BODY=8BITMIME SIZE={len(eight)}", eight),
        (cannot, f"SIZE={len(seven)}", seven),
    ):
        backend = connect(server)
        assert not backend.eight_bit
        backend.open()
        assert backend.eight_bit is (server is can)
        assert [answer.outcome for answer in make_caller().hand(backend, mail, plain)] == [A, A]
        assert server.mails[0]["options"] == options
        assert [server.content(0), server.content(1)] == [content, seven]
    both = connect(can, cannot)
    both.open()
    assert not both.eight_bit


def test_a_mail_larger_than_the_server_takes_is_refused_here(
    serve: Any, connect: Any, caller: Any, make_mail: Callable[..., Mail]
) -> None:
    server = serve("--size", "1000")
    big = make_mail(body="x" * 70 + "\r\n" * 1000, key="big")
    first, refused, last = caller.hand(connect(server), make_mail(key="a"), big, make_mail(key="b"))
    assert (first.outcome, last.outcome) == (A, A)
    assert refused.outcome is R
    assert refused.text == (
        f"the mail has {len(big.content)} bytes, and 127.0.0.1:{server.port} takes at most 1000 (SIZE)"
    )
    assert (caller.begun, len(server.mails)) == (["a", "b"], 2)


def test_a_local_part_beyond_ascii_needs_smtputf8(
    serve: Any, connect: Any, make_caller: Any, make_mail: Callable[..., Mail]
) -> None:
    mail = make_mail("почта@example.com")
    (answer,) = make_caller().hand(connect(serve()), mail)
    assert (answer.outcome, "SMTPUTF8" in answer.text) == (R, True)
    server = serve("--smtputf8", log="utf8.jsonl")
    assert make_caller().hand(connect(server), mail)[0].outcome is A
    assert server.addresses == ["почта@example.com"]
    assert server.mails[0]["options"].startswith("SMTPUTF8 BODY=8BITMIME")


def test_a_domain_beyond_ascii_goes_out_in_the_form_of_dns(
    serve: Any, connect: Any, caller: Any, make_mail: Callable[..., Mail]
) -> None:
    server = serve()
    assert caller.hand(connect(server), make_mail("info@bücher.example"))[0].outcome is A
    assert server.addresses == ["info@xn--bcher-kva.example"]


EVIL = [
    "a@example.com>\r\nRCPT TO:<b@example.com",
    "a b@example.com",
    "<a@b.c>",
    "a\x00@b.c",
    "\ud800@b.c",
    "a@\udfff.c",
]


@pytest.mark.parametrize("address", EVIL, ids=ascii)
@pytest.mark.parametrize("where", ["to", "sender"])
def test_an_address_cannot_carry_a_command(
    serve: Any, connect: Any, caller: Any, make_mail: Callable[..., Mail], address: str, where: str
) -> None:
    server = serve("--smtputf8")
    content = make_mail().content
    addresses = ("shop@example.com", address) if where == "to" else (address, "r@example.com")
    answers = caller.hand(connect(server), Mail("evil", *addresses, content), make_mail("good@example.com"))
    assert [answer.outcome for answer in answers] == [R, A]
    assert answers[0].text.endswith("is not a mail address")
    assert answers[0].text.encode()
    assert server.addresses == ["good@example.com"]


@pytest.mark.parametrize(
    ("step", "word", "words"),
    [
        ("mail", "550 5.7.1 not your domain", r"refuses the sender shop@example.com: 550 5\.7\.1"),
        ("mail", "530 5.7.0 log in", r"only after a login.*username_env"),
        ("rcpt", "530 5.7.1 log in", r"only after a login.*username_env"),
        ("rcpt", "554 5.7.1 <x>: Relay access denied", r"hands nothing on for us: 554 5\.7\.1.*username_env"),
    ],
)
def test_a_refusal_that_is_about_us_burns_no_mail(
    serve: Any, connect: Any, caller: Any, make_mails: Any, step: str, word: str, words: str
) -> None:
    server = serve(script={step: {"": word}})
    with pytest.raises(DeliveryError, match=words) as raised:
        caller.hand(connect(server), *make_mails(3))
    assert "\n" not in str(raised.value)
    assert (caller.events, server.mails) == ([], [])


def test_a_refused_relay_is_about_one_recipient_where_others_were_taken(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    """A relay that passes on what another server said must not stop everything."""
    server = serve(script={"rcpt": {"r1@": "554 5.7.1 <x>: Relay access denied"}})
    answers = caller.hand(connect(server), *make_mails(3))
    assert [(answer.outcome, answer.dead_address) for answer in answers] == [
        (A, False),
        (R, False),
        (A, False),
    ]


@pytest.mark.parametrize(
    ("step", "word"),
    [
        *(
            ("greeting", word)
            for word in ("421 4.3.2 busy", "554 5.7.1 go away", "drop", "garbage", "250 odd")
        ),
        *(("ehlo", word) for word in ("421 4.3.2 busy", "drop", "garbage", "354 odd")),
    ],
)
def test_a_server_that_turns_us_away_is_told_in_one_line(
    serve: Any, connect: Any, step: str, word: str
) -> None:
    with pytest.raises(DeliveryError, match="the mail server 127") as raised:
        connect(serve(script={step: {"": word}})).open()
    assert "\n" not in str(raised.value)
    assert "Errno" not in str(raised.value)


def test_a_server_that_knows_neither_ehlo_nor_helo_is_told_in_one_line(serve: Any, connect: Any) -> None:
    server = serve("--helo-only", script={"helo": {"": "502 5.5.1 what?"}})
    with pytest.raises(DeliveryError, match=r"does not want us now: 502 5\.5\.1 what\?"):
        connect(server).open()


def test_we_greet_with_our_address_or_the_name_that_is_set(
    serve: Any, connect: Any, make_caller: Any, mail: Mail, tmp_path: Any
) -> None:
    server = serve("--trace", str(tmp_path / "trace"))
    make_caller().hand(connect(server), mail)
    make_caller().hand(connect(server, helo="shop.example.com"), mail)
    said = [line for line in (tmp_path / "trace").read_text().splitlines() if "EHLO" in line]
    assert said == ["1 EHLO [127.0.0.1]", "2 EHLO shop.example.com"]


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


def test_closing_says_quit_and_closing_twice_or_without_a_server_is_quiet(
    serve: Any, connect: Any, tmp_path: Any
) -> None:
    server = serve("--trace", str(tmp_path / "trace"))
    polite, late = connect(server), connect(server)
    polite.open()
    late.open()
    polite.close()
    polite.close()
    assert (tmp_path / "trace").read_text().splitlines()[-1] == "1 QUIT"
    server.process.kill()
    server.process.wait()
    late.close()
    late.close()
