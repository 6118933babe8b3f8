"""Every step of a transaction, refused, cut off, slow or nonsensical: the mail ends as it must, and the next goes out.

Each row is played three times: over a fresh connection with PIPELINING; with its envelope sent ahead behind the
content of another mail; and one command at a time, to a server without PIPELINING.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from servers.smtp import RunningServer, smtp_server

from drumbeat.delivery import Mail, Outcome, Scope
from drumbeat.errors import DeliveryError

pytestmark = pytest.mark.smtp

STALLED_S, CONTENT_STALLED_S = 0.3, 0.6
"""How long a backend waits in the rows where nothing comes; longer for the content, which the server syncs."""


@dataclass(frozen=True)
class Row:
    """A misbehaviour at a step and the one answer that is right."""

    step: str
    word: str
    outcome: Outcome
    begun: bool = False
    kept: int = 0
    code: int | None = None
    status: str | None = None
    scope: Scope = Scope.MESSAGE
    dead: bool = False
    text: str = ""

    @property
    def name(self) -> str:
        """Return what pytest shows."""
        return f"{self.step}: {self.word}"

    @property
    def stalls(self) -> bool:
        """Say whether the backend has to wait in vain."""
        return self.word.startswith(("sleep", "silent"))


D, R, A, U = Outcome.DEFERRED, Outcome.REFUSED, Outcome.ACCEPTED, Outcome.UNCERTAIN
SERVER, DOMAIN = Scope.SERVER, Scope.DOMAIN

ROWS = [
    # The connection goes before the content: certainly not sent.
    *(Row(step, "drop", D, text="connection lost before the content") for step in ("mail", "rcpt", "data")),
    Row("data", "begin+drop", U, begun=True, text="no answer to the content"),
    Row("content", "drop", U, begun=True, text="no answer to the content"),
    Row("content", "keep+drop", U, begun=True, kept=1, text="no answer to the content"),
    # No answer in time.
    *(Row(step, "sleep:1.5", D, text="timed out") for step in ("mail", "rcpt", "data")),
    Row("content", "sleep:1.5", U, begun=True, kept=1, text="timed out"),
    # Fewer answers than commands, and more.
    *(Row(step, "silent", D) for step in ("mail", "rcpt", "data")),
    Row("content", "silent", U, begun=True, kept=1),
    *(Row(step, "twice", D) for step in ("mail", "rcpt", "data")),
    Row("content", "twice", A, begun=True, kept=1, code=250, status="2.0.0"),
    # In pieces, or no SMTP.
    *(Row(step, "drip:0.001", A, begun=True, kept=1, code=250, status="2.0.0") for step in ("mail", "rcpt", "data", "content")),
    *(Row(step, "garbage", D, text=r"\x00\xff") for step in ("mail", "rcpt", "data")),
    Row("content", "garbage", U, begun=True),
    *(Row(step, "endless", D, text="a line of more than 8192 bytes") for step in ("mail", "rcpt", "data")),
    Row("content", "endless", U, begun=True, text="a line of more than 8192 bytes"),
    Row("mail", "354 go on", D, text="out of step"),
    Row("rcpt", "354 go on", D, text="out of step"),
    Row("data", "250 ok", D, text="out of step"),
    Row("content", "354 what", U, begun=True, text="out of step"),
    Row("content", "250-one|450 two", U, begun=True, kept=1, text="one reply with two codes"),
    Row("rcpt", "503 5.5.1 MAIL first", D, text="out of step"),
    Row("data", "503 5.5.1 RCPT first", D, text="out of step"),
    # Not now.
    Row("mail", "451 4.3.0 later", D, code=451, status="4.3.0", scope=SERVER),
    Row("mail", "421 4.3.2 going down", D, code=421, status="4.3.2", scope=SERVER),
    Row("mail", "421 4.3.2 going down+drop", D, code=421, status="4.3.2", scope=SERVER),
    Row("rcpt", "452 4.2.2 mailbox full", D, code=452, status="4.2.2"),
    Row("rcpt", "450 4.1.1 try another", D, code=450, status="4.1.1"),
    Row("rcpt", "421 4.3.2 going down", D, code=421, status="4.3.2", scope=SERVER),
    Row("rcpt", "421-4.7.28 unusual rate|421 4.7.28 of mail+drop", D, code=421, status="4.7.28", scope=DOMAIN),
    Row("data", "451 4.3.0 later", D, code=451, status="4.3.0"),
    Row("data", "421 4.3.2 going down+drop", D, code=421, status="4.3.2", scope=SERVER),
    Row("content", "451 4.7.1 greylisted", D, begun=True, code=451, status="4.7.1"),
    Row("content", "421 4.3.2 going down", D, begun=True, code=421, status="4.3.2", scope=SERVER),
    Row("content", "421 4.3.2 going down+drop", D, begun=True, code=421, status="4.3.2", scope=SERVER),
    Row("content", "452 4.3.1 insufficient system storage", D, begun=True, code=452, status="4.3.1", scope=SERVER),
    # Never.
    Row("mail", "552 5.3.4 too large", R, code=552, status="5.3.4"),
    Row("rcpt", "550 5.1.1 no such user", R, code=550, status="5.1.1", dead=True),
    Row("rcpt", "550-5.7.1 blocked|550 5.7.1 for spam", R, code=550, status="5.7.1"),
    Row("rcpt", "550 5.1.1 no such user+drop", R, code=550, status="5.1.1", dead=True),
    Row("data", "554 5.7.1 no", R, code=554, status="5.7.1"),
    Row("content", "554 5.7.1 looks like spam", R, begun=True, code=554, status="5.7.1"),
    Row("content", "554 5.7.1 looks like spam+drop", R, begun=True, code=554, status="5.7.1"),
]  # fmt: skip

MODES = ("fresh", "ahead", "one by one")
CASES = [
    pytest.param(mode, number, id=f"{mode} · {row.name}")
    for mode, (number, row) in itertools.product(MODES, enumerate(ROWS))
]


def _script() -> dict[str, dict[str, str]]:
    """Return one script for all rows: each row has a sender and a recipient of its own."""
    script: dict[str, dict[str, str]] = {}
    for number, row in enumerate(ROWS):
        script.setdefault(row.step, {})[f"row{number}@"] = row.word
    return script


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that offers PIPELINING and plays all rows."""
    with smtp_server(tmp_path_factory.mktemp("piped") / "mails.jsonl", script=_script()) as server:
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same without PIPELINING; it throws out who does not wait for its answers."""
    log = tmp_path_factory.mktemp("plain") / "mails.jsonl"
    with smtp_server(log, "--no-pipelining", script=_script()) as server:
        yield server


@pytest.mark.parametrize(("mode", "number"), CASES)
def test_each_step_refused_or_cut_off_ends_as_it_must(
    piped: RunningServer,
    plain: RunningServer,
    connect: Any,
    caller: Any,
    make_mail: Callable[..., Mail],
    mode: str,
    number: int,
) -> None:
    """Before the content: certainly not sent. After it: only the server can say. Other mails are not harmed."""
    row = ROWS[number]
    server = plain if mode == "one by one" else piped
    backend = connect(
        server,
        timeout=STALLED_S if row.stalls else 10,
        content_timeout=CONTENT_STALLED_S if row.stalls and row.step == "content" else 10,
    )
    name = f"row{number}@{mode.replace(' ', '')}.example"
    bad = make_mail(name, key="bad", sender=name)
    other = f"{name.replace('@', '.at.')}@example.com"
    before = [make_mail(f"before.{other}", key="before")] if mode == "ahead" else []
    after = make_mail(f"after.{other}", key="after")

    caller.hand(backend, *before, bad, after)

    answer = caller.answers["bad"]
    assert (answer.outcome, answer.code, answer.status) == (row.outcome, row.code, row.status), answer.text
    assert (answer.scope, answer.dead_address) == (row.scope, row.dead)
    assert answer.via == f"127.0.0.1:{server.port}"
    assert row.text in answer.text
    assert answer.text.isprintable()
    assert ("bad" in caller.begun) is row.begun
    assert caller.answers["after"].outcome is A
    assert caller.in_order()
    mails = server.mails
    over = {mail["to"]: mail["connection"] for mail in mails}
    if before and row.code == 421:  # RFC 5321 section 3.8: nothing more is said over it
        assert over[before[0].envelope_to] != over[after.envelope_to]
    arrived = [mail["to"] for mail in mails]
    assert arrived.count(name) == row.kept
    assert [arrived.count(mail.envelope_to) for mail in (*before, after)] == [1] * len([*before, after])


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "content"])
@pytest.mark.parametrize("ahead", [False, True], ids=["fresh", "ahead"])
def test_a_server_that_dies_leaves_the_other_mails_as_they_were(
    serve: Any, connect: Any, caller: Any, make_mail: Callable[..., Mail], step: str, ahead: bool
) -> None:
    """Killed at a step, the mail at hand is deferred or uncertain; what was not begun is not told to have ended."""
    server = serve(script={step: {"bad@": "exit"}})
    bad = make_mail("bad@example.com", key="bad", sender="bad@example.com")
    before = [make_mail("before@example.com", key="before")] if ahead else []
    with pytest.raises(DeliveryError, match="cannot reach the mail server"):
        caller.hand(connect(server), *before, bad, make_mail("after@example.com", key="after"))
    ended = {key: answer.outcome for key, answer in caller.answers.items()}
    if step == "content":
        assert ended.pop("bad") is U
    elif step == "mail" and ahead:
        pass  # a connection that was in use went: the mail waits for another server
    else:
        assert ended.pop("bad") is D
    assert ended == ({"before": A} if ahead else {})
    assert server.addresses == (["before@example.com"] if ahead else [])


@pytest.mark.parametrize("step", ["mail", "rcpt"])
def test_content_that_is_asked_for_though_nobody_is_to_get_it_is_ended_by_a_lone_dot(
    serve: Any, connect: Any, caller: Any, make_mail: Callable[..., Mail], step: str
) -> None:
    """RFC 2920 allows 354 after a refused RCPT; the connection stays good, and nothing arrives."""
    word = {"mail": "451 4.3.0 later", "rcpt": "550 5.1.1 no such user"}[step]
    server = serve("--eager-data", script={step: {"bad@": word}})
    bad = make_mail("bad@example.com", key="bad", sender="bad@example.com")
    others = [make_mail(f"r{n}@example.com", key=f"r{n}") for n in range(2)]
    first, answer, last = caller.hand(connect(server), others[0], bad, others[1])
    assert (first.outcome, answer.text, last.outcome) == (A, word, A)
    assert caller.begun == ["r0", "r1"]
    assert [(mail["to"], mail["connection"]) for mail in server.mails] == [
        ("r0@example.com", 1),
        ("r1@example.com", 1),
    ]


def test_a_large_mail_cut_off_before_its_final_dot_certainly_did_not_arrive(
    serve: Any, connect: Any, caller: Any
) -> None:
    """The system's buffers hold a small mail whole, so of that nobody knows; not so 32 MB."""
    server = serve(script={"data": {"b@": "begin+drop"}})
    mail = Mail("k", "a@example.com", "b@example.com", b"Subject: x\r\n\r\n" + b"line\r\n" * 6_000_000)
    (answer,) = caller.hand(connect(server), mail)
    assert answer.outcome is D
    assert answer.text.startswith("connection lost before the content's end")
    assert (caller.begun, server.addresses) == (["k"], [])


def test_a_large_mail_refused_before_its_end_is_refused_by_the_servers_word(
    serve: Any, connect: Any, caller: Any
) -> None:
    """Some servers say 552 in the midst of the content and close; it need not be tried again."""
    server = serve(script={"data": {"b@": "begin+552 5.3.4 too large"}})
    mail = Mail("k", "a@example.com", "b@example.com", b"Subject: x\r\n\r\n" + b"line\r\n" * 6_000_000)
    (answer,) = caller.hand(connect(server), mail)
    # Whether the answer overtakes the reset of the connection is up to the system.
    assert (answer.outcome, answer.code) in [(R, 552), (D, None)]
    assert server.addresses == []


@pytest.mark.parametrize("options", [[], ["--no-pipelining"]], ids=["pipelined", "one by one"])
def test_a_mail_withdrawn_at_the_last_moment_never_arrives(
    serve: Any, connect: Any, make_caller: Any, make_mails: Any, options: list[str]
) -> None:
    """After the 354 only dropping the connection helps; the others go on over a new one."""
    server = serve(*options)
    caller = make_caller(withdraw=["1", "4"])
    started = time.monotonic()
    answers = caller.hand(connect(server, timeout=30), *make_mails(5))
    assert time.monotonic() - started < 25  # nobody waits for an answer to what was not sent
    assert [answer.outcome for answer in answers] == [A, Outcome.WITHDRAWN, A, A, Outcome.WITHDRAWN]
    assert server.addresses == ["r0@example.com", "r2@example.com", "r3@example.com"]
    assert caller.begun == ["0", "1", "2", "3", "4"]
    assert caller.in_order()


@pytest.mark.parametrize("where", ["begin", "done"])
@pytest.mark.parametrize("options", [[], ["--no-pipelining"]], ids=["pipelined", "one by one"])
def test_an_error_of_the_caller_ends_the_hand_over_at_once(
    serve: Any, connect: Any, caller: Any, make_mails: Any, where: str, options: list[str]
) -> None:
    """The database may fail between the 354 and the content, or when the answer is recorded."""

    def fails(mail: Mail, *_: object) -> bool:
        if mail.key == "1":
            raise RuntimeError("the database is gone")
        return True

    server = serve(*options)
    backend = connect(server)
    begin = fails if where == "begin" else caller.begin
    done = caller.done if where == "begin" else fails
    with pytest.raises(RuntimeError, match="the database is gone"):
        backend.hand_over(make_mails(4), begin, done)
    arrived = ["r0@example.com"] + (["r1@example.com"] if where == "done" else [])
    assert server.addresses == arrived
    caller = type(caller)()
    assert caller.hand(backend, *make_mails(4))[3].outcome is A
    assert server.addresses[len(arrived) :] == [f"r{n}@example.com" for n in range(4)]


def test_done_is_called_before_the_next_content_is_on_its_way(
    serve: Any, connect: Any, make_mails: Any
) -> None:
    """Even where the next envelope is already answered, the server has nothing of that mail before `begin`."""
    server = serve()
    seen: list[tuple[str, str, int]] = []

    def begin(mail: Mail) -> bool:
        seen.append(("begin", mail.key, len(server.mails)))
        return True

    connect(server).hand_over(
        make_mails(6), begin, lambda m, _: seen.append(("done", m.key, len(server.mails)))
    )
    assert seen == [event for n in range(6) for event in (("begin", str(n), n), ("done", str(n), n + 1))]
    assert [mail["overlapped"] for mail in server.mails] == [True] * 5 + [False]


@pytest.mark.parametrize("step", ["mail", "rcpt", "content"])
def test_a_server_that_takes_nothing_now_does_not_use_up_every_mail(
    serve: Any, connect: Any, caller: Any, make_mails: Any, step: str
) -> None:
    """Two mails in a row learn it; the others stay as they were."""
    server = serve(script={step: {"": "421 4.3.2 going down+drop"}})
    with pytest.raises(DeliveryError, match=r"does not want us now: 421 4\.3\.2 going down"):
        caller.hand(connect(server), *make_mails(20))
    assert list(caller.answers) == ["0", "1"]
    assert {answer.outcome for answer in caller.answers.values()} == {D}
