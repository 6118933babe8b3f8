"""Several servers and several connections: nothing doubled, nothing lost, and the caller sees one mail at a time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest

from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.smtp import SmtpBackend
from drumbeat.delivery.smtp_connect import SmtpServer
from drumbeat.errors import DeliveryError

pytestmark = pytest.mark.smtp

A, U, D = Outcome.ACCEPTED, Outcome.UNCERTAIN, Outcome.DEFERRED


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    """A clock for a backend."""
    return Clock()


def _outcomes(answers: list[Answer]) -> Counter[Outcome]:
    return Counter(answer.outcome for answer in answers)


def test_two_servers_share_the_mails_and_each_answer_says_which_it_was(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    """They come from one queue, so the slow server holds nobody up."""
    quick, slow = serve(log="quick.jsonl"), serve("--delay-ms", "40", log="slow.jsonl")
    backend = connect(quick, slow)
    names = list(backend.servers)
    assert names == [f"127.0.0.1:{quick.port}", f"127.0.0.1:{slow.port}"]
    answers = caller.hand(backend, *make_mails(60))
    assert _outcomes(answers) == {A: 60}
    assert Counter(quick.addresses + slow.addresses) == Counter(mail.envelope_to for mail in make_mails(60))
    said = {f"r{n}@example.com": answer.via for n, answer in enumerate(answers)}
    assert {said[address] for address in quick.addresses} == {names[0]}
    assert {said[address] for address in slow.addresses} == {names[1]}
    assert 0 < len(slow.mails) < len(quick.mails)


def test_several_connections_to_one_server_are_used_at_once(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    server = serve("--delay-ms", "30")
    answers = caller.hand(connect(server, connections=4), *make_mails(24))
    assert _outcomes(answers) == {A: 24}
    assert {mail["connection"] for mail in server.mails} == {1, 2, 3, 4}
    assert len(set(server.addresses)) == 24
    assert not caller.in_order()  # some began before others ended


def test_the_caller_sees_one_call_at_a_time(serve: Any, connect: Any, make_mails: Any) -> None:
    server = serve()
    inside = overlaps = 0
    threads = set()

    def call(*_: object) -> bool:
        nonlocal inside, overlaps
        threads.add(threading.current_thread().name)
        inside += 1
        overlaps += inside > 1
        time.sleep(0.001)
        inside -= 1
        return True

    connect(server, connections=4).hand_over(make_mails(60), call, call)
    assert overlaps == 0
    assert len(server.mails) == 60


def test_one_connection_takes_no_thread(serve: Any, connect: Any, make_mails: Any) -> None:
    """A caller with one connection is called in its own thread."""
    threads = set()

    def call(*_: object) -> bool:
        threads.add(threading.current_thread())
        return True

    connect(serve()).hand_over(make_mails(3), call, call)
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "content"])
def test_a_server_that_dies_in_the_middle_loses_and_doubles_nothing(
    serve: Any, connect: Any, caller: Any, make_mails: Any, step: str
) -> None:
    """The other takes over; only the mail whose content was on its way is uncertain."""
    dying = serve("--delay-ms", "1", script={step: {"r2": "exit"}}, log="dying.jsonl")
    other = serve("--delay-ms", "5", log="other.jsonl")
    mails = [
        Mail(m.key, m.envelope_to.replace("r", "s"), m.envelope_to, m.content) if step != "mail" else
        Mail(m.key, m.envelope_to, m.envelope_to, m.content)
        for m in make_mails(80)
    ]  # fmt: skip
    backend = connect(dying, other)
    answers = caller.hand(backend, *mails)
    arrived = Counter(dying.addresses + other.addresses)
    assert max(arrived.values()) == 1
    for mail, answer in zip(mails, answers, strict=True):
        if answer.outcome is A:
            assert arrived[mail.envelope_to] == 1
        elif answer.outcome is D:
            assert arrived[mail.envelope_to] == 0
    outcomes = _outcomes(answers)
    assert outcomes[A] >= 79
    assert outcomes[U] == (1 if step == "content" and outcomes[A] == 79 else 0)
    assert len(other.mails) > 0


def test_a_server_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    """At whatever moment it is, over several connections."""
    dying, other = serve("--delay-ms", "2", log="dying.jsonl"), serve("--delay-ms", "2", log="other.jsonl")
    killer = threading.Timer(0.25, dying.process.kill)
    killer.start()
    mails = make_mails(300)
    answers = caller.hand(connect(dying, other, connections=3), *mails)
    killer.join()
    arrived = Counter(dying.addresses + other.addresses)
    assert max(arrived.values()) == 1
    for mail, answer in zip(mails, answers, strict=True):
        if answer.outcome is A:
            assert arrived[mail.envelope_to] == 1
        elif answer.outcome is not U:
            assert arrived[mail.envelope_to] == 0
    # What was on its way on each of its three connections.
    assert _outcomes(answers)[U] <= 3
    assert _outcomes(answers)[D] <= 3
    assert len(other.mails) > 0


def test_a_server_that_cannot_be_reached_is_left_out_for_longer_each_time(
    serve: Any, connect: Any, make_caller: Any, make_mails: Any, clock: Clock
) -> None:
    good, gone = serve(), serve(log="gone.jsonl")
    gone.process.kill()
    gone.process.wait()
    backend = connect(good, gone, now=clock)
    backend.open()
    name = f"127.0.0.1:{gone.port}"
    tried = []
    for _ in range(200):
        if name not in backend.faults:
            tried.append(clock.at)
            # Enough mails that both are tried.
            assert _outcomes(make_caller().hand(backend, *make_mails(4))) == {A: 4}
            assert backend.faults[name].startswith(f"cannot reach the mail server {name}: Connection refused")
        clock.at += 1.0
    assert tried == [5, 15, 35, 75, 155]


def test_a_server_that_says_421_at_the_greeting_is_left_out_and_comes_back(
    serve: Any, connect: Any, make_caller: Any, make_mails: Any, clock: Clock
) -> None:
    good = serve()
    busy = serve(script={"once": True, "greeting": {"": "421 4.3.2 too busy"}}, log="busy.jsonl")
    backend = connect(good, busy, now=clock)
    backend.open()
    assert list(backend.faults) == [f"127.0.0.1:{busy.port}"]
    assert _outcomes(make_caller().hand(backend, *make_mails(4))) == {A: 4}
    assert (len(good.mails), len(busy.mails)) == (4, 0)
    clock.at += 5
    assert backend.faults == {}
    for _ in range(4):
        make_caller().hand(backend, *make_mails(1))
    assert (len(good.mails), len(busy.mails)) == (6, 2)


def test_only_when_no_server_can_be_used_it_is_an_error(
    serve: Any, connect: Any, caller: Any, make_mails: Any, clock: Clock
) -> None:
    """It says why, of each; nothing was begun, so nothing is lost."""
    one, two = serve(script={"greeting": {"": "421 4.3.2 too busy"}}), serve(log="two.jsonl")
    two.process.kill()
    two.process.wait()
    backend = connect(one, two, now=clock)
    for call in (backend.open, lambda: caller.hand(backend, *make_mails(5))):
        with pytest.raises(
            DeliveryError,
            match=r"none of 2 mail servers can be used: .*421 4\.3\.2 too busy.* \| cannot reach .*refused",
        ) as raised:
            call()
        assert "\n" not in str(raised.value)
        clock.at += 60
    assert caller.events == []


def test_a_server_that_refuses_our_sender_leaves_its_mails_to_the_other(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    strict = serve(script={"mail": {"": "550 5.7.1 not your domain"}}, log="strict.jsonl")
    backend = connect(strict, serve())
    assert _outcomes(caller.hand(backend, *make_mails(10))) == {A: 10}
    assert "refuses the sender" in backend.faults[f"127.0.0.1:{strict.port}"]


def test_a_server_that_takes_no_more_connections_is_used_over_those_it_took(
    serve: Any, connect: Any, make_caller: Any, make_mails: Any, clock: Clock
) -> None:
    """421 at the greeting of a further connection is no reason to leave the open ones."""
    server = serve("--max-connections", "2", "--delay-ms", "10")
    backend = connect(server, connections=5, now=clock)
    assert _outcomes(make_caller().hand(backend, *make_mails(30))) == {A: 30}
    assert len({mail["connection"] for mail in server.mails}) == 2
    assert "too many concurrent" in backend.faults[f"127.0.0.1:{server.port}"]
    assert _outcomes(make_caller().hand(backend, *make_mails(10))) == {A: 10}


def test_what_may_be_used_can_be_said(serve: Any, connect: Any, make_caller: Any, make_mails: Any) -> None:
    """The limits live in the database; the backend obeys."""
    one, two = serve("--delay-ms", "5"), serve("--delay-ms", "5", log="two.jsonl")
    backend = connect(one, two, connections=3)
    first, second = backend.servers
    backend.open()

    backend.allow({first: 2})
    assert _outcomes(make_caller().hand(backend, *make_mails(20))) == {A: 20}
    assert (len({mail["connection"] for mail in one.mails}), len(two.mails)) == (2, 0)

    backend.allow({second: 1, "elsewhere:25": 9})
    assert _outcomes(make_caller().hand(backend, *make_mails(10))) == {A: 10}
    assert (len(one.mails), len({mail["connection"] for mail in two.mails})) == (20, 1)

    backend.allow({first: 99, second: 0})
    assert _outcomes(make_caller().hand(backend, *make_mails(30))) == {A: 30}
    assert len({mail["connection"] for mail in one.mails[20:]}) == 3
    assert len(two.mails) == 10

    backend.allow({})
    caller = make_caller()
    with pytest.raises(DeliveryError, match="no mail server may take more now"):
        caller.hand(backend, *make_mails(2))
    assert caller.events == []


def test_how_many_mails_a_server_may_take_can_be_said(
    serve: Any, connect: Any, make_caller: Any, make_mails: Any
) -> None:
    """Rates live in the database; what a server may not take any more stays as it was."""
    one, two = serve(), serve("--delay-ms", "5", log="two.jsonl")
    backend = connect(one, two, connections=2)
    first, second = backend.servers
    both = {first: 2, second: 2}

    backend.allow(both, {first: 3})
    assert _outcomes(make_caller().hand(backend, *make_mails(20))) == {A: 20}
    assert len(one.mails) == 3

    backend.allow(both, {first: 4, second: 5})
    caller = make_caller()
    with pytest.raises(DeliveryError, match="no mail server may take more now"):
        caller.hand(backend, *make_mails(12))
    assert _outcomes(list(caller.answers.values())) == {A: 9}
    assert (len(one.mails), len(two.mails)) == (7, 22)

    backend.allow(both)
    assert _outcomes(make_caller().hand(backend, *make_mails(20))) == {A: 20}


def test_a_mail_that_goes_over_to_another_connection_counts_once(
    serve: Any, connect: Any, caller: Any, make_mail: Any
) -> None:
    server = serve(script={"once": True, "mail": {"late@": "drop"}})
    backend = connect(server)
    backend.open()
    backend.allow(dict.fromkeys(backend.servers, 1), dict.fromkeys(backend.servers, 2))
    mails = [make_mail(key="a", sender="late@example.com"), make_mail(key="b")]
    assert _outcomes(caller.hand(backend, *mails)) == {A: 2}


def test_connections_that_may_not_be_used_any_more_are_closed_at_once(
    serve: Any, connect: Any, caller: Any, make_mails: Any, tmp_path: Any
) -> None:
    """Another worker waits for the slot."""
    server = serve("--delay-ms", "10", "--trace", str(tmp_path / "trace"))
    backend = connect(server, connections=3)
    caller.hand(backend, *make_mails(12))
    backend.allow(dict.fromkeys(backend.servers, 1))
    said_quit = [line for line in (tmp_path / "trace").read_text().splitlines() if line.endswith("QUIT")]
    assert len(said_quit) == 2


def test_an_error_of_the_caller_ends_all_connections(serve: Any, connect: Any, make_mails: Any) -> None:
    """Each ends the mail that it is at; what arrived was told, or was being told."""
    server = serve("--delay-ms", "5")
    ended: list[str] = []

    def done(mail: Mail, _: Answer) -> None:
        ended.append(mail.key)
        if len(ended) == 10:
            raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        connect(server, connections=3).hand_over(make_mails(200), lambda _: True, done)
    assert len(server.mails) == len(ended)
    assert 10 <= len(ended) <= 12
    assert [thread for thread in threading.enumerate() if thread.name == "smtp"] == []


def test_an_interrupt_ends_all_connections_at_once(serve: Any, connect: Any, make_mails: Any) -> None:
    """Ctrl-C: what was on its way is uncertain, and told to be, before the error comes out."""
    server = serve(script={"content": {"": "sleep:30"}})
    ended: dict[str, Outcome] = {}
    begun: list[str] = []

    def begin(mail: Mail) -> bool:
        begun.append(mail.key)
        if len(begun) == 3:
            timer.start()
        return True

    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    backend = connect(server, connections=3, content_timeout=60)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        backend.hand_over(make_mails(9), begin, lambda m, a: ended.__setitem__(m.key, a.outcome))
    timer.join()
    assert time.monotonic() - started < 10
    assert sorted(ended) == sorted(begun)
    # On a machine that is busy the interrupt may come between `begin` and the content.
    assert set(ended.values()) <= {U, D}
    assert U in ended.values()


def test_a_temporary_refusal_of_one_mail_keeps_its_scope_and_server(
    serve: Any, connect: Any, caller: Any, make_mails: Any
) -> None:
    server = serve(script={"rcpt": {"r1@": "421 4.7.0 [TSS04] Messages temporarily deferred+drop"}})
    answer = caller.hand(connect(server), *make_mails(3))[1]
    assert (answer.outcome, answer.scope, answer.via) == (D, Scope.DOMAIN, f"127.0.0.1:{server.port}")


def test_no_mails_need_no_connection(caller: Any) -> None:
    backend = SmtpBackend(SmtpServer("192.0.2.1", timeout=1))
    assert caller.hand(backend) == []
    assert not backend.eight_bit
    backend.close()
