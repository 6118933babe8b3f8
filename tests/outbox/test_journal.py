"""What a killed worker leaves behind is settled by its journal at the next start, without waiting for its lease."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from servers.shop import fill, make_shop, message, states, story, waiting
from sqlalchemy import Engine, select

from drumbeat.clock import FixedClock
from drumbeat.delivery import Answer, Outcome, Scope
from drumbeat.errors import DeliveryError, StoreError
from drumbeat.ledger.cap import CapRule
from drumbeat.ledger.handover import Wanted, begin
from drumbeat.outbox import journal as module
from drumbeat.outbox.aftermath import settle_abandoned
from drumbeat.outbox.claim import claim
from drumbeat.outbox.deliver import Delivered, deliver
from drumbeat.outbox.journal import Journal, abandoned, read
from drumbeat.outbox.recover import recover
from drumbeat.project.load import Project, load_project
from drumbeat.store.engine import reading
from drumbeat.store.tables import outbox
from drumbeat.testing import RecordingBackend

RULES = [CapRule(4, timedelta(hours=168))]
LEASE = timedelta(minutes=10)
OK = Answer(Outcome.ACCEPTED, "250 2.0.0 kept", code=250, status="2.0.0", remote_id="q1", via="mx:25")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "shop"


def journal_of(root: Path, *lines: str, worker: str = "dead", boot: str | None = None) -> None:
    """Leave a journal as a dead worker does."""
    own = Journal(root, worker)
    own.open()
    if boot is not None:
        text = own.path.read_text().replace(module.boot_id(), boot)
        own.path.write_text(text)
    with own.path.open("a") as file:
        file.write("".join(lines))
    own.abandon()


def half_done(
    store: Engine, project: Project, now: datetime, *lines: str, boot: str | None = None, count: int = 4
) -> None:
    """Leave the store as a worker does that is killed within a chunk of `count` messages."""
    fill(store, count, now)
    claimed = claim(store, worker="dead", at=now, lease=LEASE, limit=count)
    wanted = [Wanted(c.message_id, "shop") for c in claimed]
    reasons = begin(store, wanted, worker="dead", at=now, rules=RULES)
    assert set(reasons.values()) == {None}
    journal_of(project.root, *lines, boot=boot)


def end_line(message_id: int, answer: Answer, at: datetime) -> str:
    """Return the journal's line of an answer."""
    import json

    return f"e {message_id} {json.dumps(module._plain(answer, at))}\n"


def test_killed_within_a_chunk_each_message_ends_as_its_journal_says(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """Answered: sent at that time. Begun: uncertain. Neither: it never left, and goes out at once."""
    at = now + timedelta(seconds=1)
    half_done(store, project, now, "c [1, 2, 3, 4]\n", "b 1\n", end_line(1, OK, at), "b 2\n")
    clock.advance(timedelta(seconds=5))
    backend = RecordingBackend()
    assert deliver(store, project, clock=clock, backend=backend) == Delivered(sent=3, uncertain=1)
    assert backend.addresses == ["r3@example.com", "r4@example.com"]
    first = message(store, 1)
    assert (first.state, first.sent_at, first.answer) == ("sent", at, OK.text)
    assert (first.via, first.remote_id) == ("mx:25", "q1")
    assert (message(store, 2).state, message(store, 2).sent_at) == ("uncertain", now + timedelta(seconds=5))
    assert story(store, 3) == ["planned", "sent"]
    assert waiting(store) == []
    assert list((project.root / module.FOLDER).iterdir()) == []


def test_a_refusal_in_the_journal_counts_as_one(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    lines = [
        "c [1, 2]\n",
        end_line(1, Answer(Outcome.REFUSED, "550 5.1.1 no"), now),
        end_line(2, Answer(Outcome.DEFERRED, "451 later", retry_after=timedelta(minutes=7)), now),
    ]
    half_done(store, project, now, *lines, count=2)
    assert deliver(store, project, clock=clock, backend=RecordingBackend()) == Delivered(
        refused=1, deferred=1
    )
    (row,) = waiting(store)
    assert (row.message_id, row.attempts, row.due_at) == (2, 1, now + timedelta(minutes=7))
    assert (row.lease_owner, message(store, 2).handing_over_at) == (None, None)


def test_after_a_power_cut_what_has_no_answer_is_uncertain(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """The journal's last lines may be missing: nothing of it may be sent again."""
    half_done(store, project, now, "c [1, 2, 3, 4]\n", end_line(1, OK, now), boot="another boot")
    backend = RecordingBackend()
    assert deliver(store, project, clock=clock, backend=backend) == Delivered(sent=1, uncertain=3)
    assert backend.tried == []


def test_without_a_boot_id_nothing_counts_as_never_begun(
    store: Engine, project: Project, clock: FixedClock, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "boot_id", lambda: "")
    half_done(store, project, now, "c [1, 2, 3, 4]\n")
    assert deliver(store, project, clock=clock, backend=RecordingBackend()) == Delivered(uncertain=4)


def test_what_the_dead_had_only_claimed_goes_out_at_once(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 3, now)
    claim(store, worker="dead", at=now, lease=LEASE, limit=3)
    assert deliver(store, project, clock=clock, backend=RecordingBackend()) == Delivered()
    journal_of(project.root)
    assert deliver(store, project, clock=clock, backend=RecordingBackend()) == Delivered(sent=3)


def test_a_journal_corrects_what_another_machine_had_to_call_uncertain(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    half_done(store, project, now, "c [1, 2, 3, 4]\n", "b 1\n", end_line(1, OK, now), "b 2\n")
    clock.advance(LEASE)
    assert recover(store, at=clock.now()) == 4
    assert states(store) == {"uncertain": 4}
    backend = RecordingBackend()
    # The second one stays uncertain, and is told again.
    assert deliver(store, project, clock=clock, backend=backend) == Delivered(sent=3)
    assert states(store) == {"sent": 3, "uncertain": 1}
    assert message(store, 1).sent_at == now
    assert backend.addresses == ["r3@example.com", "r4@example.com"]


def test_a_chunk_that_was_never_marked_needs_nothing(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """Killed between the journal's line and the store's commit."""
    fill(store, 2, now)
    claim(store, worker="dead", at=now, lease=LEASE, limit=2)
    journal_of(project.root, "c [1, 2]\n")
    assert deliver(store, project, clock=clock, backend=RecordingBackend()) == Delivered(sent=2)
    assert story(store, 1) == ["sent"]


def test_a_chunk_that_was_recorded_is_not_recorded_again(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """Killed between the store's commit and the clearing of the journal."""
    fill(store, 1, now)
    deliver(store, project, clock=clock, backend=RecordingBackend())
    journal_of(project.root, "c [1]\n", "b 1\n", end_line(1, Answer(Outcome.REFUSED, "550"), now))
    assert deliver(store, project, clock=clock, backend=RecordingBackend()) == Delivered()
    assert story(store, 1) == ["sent"]


def test_the_journal_of_a_live_worker_is_left_alone(root: Path) -> None:
    live = Journal(root, "live")
    live.open()
    live.chunk([1])
    assert list(abandoned(root)) == []
    assert live.path.exists()
    live.abandon()
    (left,) = list(abandoned(root))
    assert (left.worker, left.chunk, left.same_boot) == ("live", {1}, True)
    assert not live.path.exists()


def test_a_cleared_journal_holds_nothing_but_its_worker(root: Path) -> None:
    own = Journal(root, "host:1:ab")
    own.open()
    own.chunk([7, 5])
    own.begin(5)
    own.end(5, OK, datetime.fromisoformat("2011-12-05T09:00:00+00:00"))
    own.clear()
    left = read(own.path.read_bytes())
    assert left is not None
    assert (left.worker, left.chunk, left.begun, left.ended) == ("host:1:ab", set(), set(), {})
    own.close()
    assert not own.path.exists()


def test_an_answer_comes_back_from_the_journal_as_it_was(now: datetime) -> None:
    answer = Answer(
        Outcome.DEFERRED,
        "451 4.7.1 ünwanted\nline",
        code=451,
        status="4.7.1",
        retry_after=timedelta(seconds=90),
        scope=Scope.DOMAIN,
        dead_address=True,
    )
    head = '{"worker": "w", "boot": "x"}\n'
    left = read((head + end_line(3, answer, now)).encode())
    assert left is not None
    assert left.ended == {3: (answer, now)}


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_line_that_was_cut_off_counts_for_nothing(cut: int, now: datetime) -> None:
    """However much of the last line is missing, what stands before it is read."""
    last = end_line(2, OK, now)
    text = '{"worker": "w", "boot": "x"}\nc [1, 2]\nb 1\nb 2\n' + last[:-cut]
    left = read(text.encode())
    assert left is not None
    assert (left.chunk, left.begun, left.ended) == ({1, 2}, {1, 2}, {})


@pytest.mark.parametrize("rubbish", [b"", b"\n", b"x" * 99, b"\x00\xff\n\n", b"[]\n", b'{"worker": 1}\n'])
def test_rubbish_in_the_folder_stops_nobody(
    store: Engine, project: Project, clock: FixedClock, now: datetime, rubbish: bytes
) -> None:
    fill(store, 1, now)
    folder = project.root / module.FOLDER
    folder.mkdir(parents=True)
    (folder / "odd.jsonl").write_bytes(rubbish)
    assert deliver(store, project, clock=clock, backend=RecordingBackend()).sent == 1


def test_without_a_journal_nothing_is_handed_over(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    project = load_project(make_shop(tmp_path / "shop"))
    fill(store, 1, now)
    (project.root / ".drumbeat").mkdir()
    (project.root / module.FOLDER).write_text("a file, where a folder is needed")
    backend = RecordingBackend()
    with pytest.raises(DeliveryError, match=r"cannot write the journal .*nothing is handed over without it"):
        deliver(store, project, clock=clock, backend=backend)
    assert backend.tried == []
    assert states(store) == {"planned": 1}


def test_where_backend_and_store_fail_together_the_journal_is_left_for_the_next_start(
    store: Engine, project: Project, clock: FixedClock, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 3, now)

    def away(*_: object, **__: object) -> None:
        raise StoreError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr("drumbeat.outbox.chunk.record", away)
        with pytest.raises(DeliveryError, match="gone"):
            deliver(store, project, clock=clock, backend=RecordingBackend(unusable="gone", unusable_after=2))
    assert states(store) == {"handing_over": 3}
    assert deliver(store, project, clock=clock, backend=RecordingBackend()) == Delivered(sent=3)
    assert story(store, 1) == ["sent"], "its answer was in the journal"


def test_two_that_start_at_once_settle_each_journal_once(
    store: Engine, project: Project, now: datetime
) -> None:
    half_done(store, project, now, "c [1, 2, 3, 4]\n", "b 1\n")
    counts: list[Counter[str]] = [settle_abandoned(store, project.root, at=now, attempts=4) for _ in range(2)]
    assert counts == [Counter(uncertain=1), Counter()]
    with reading(store) as connection:
        owners = set(connection.execute(select(outbox.c.lease_owner)).scalars())
    assert owners == {None}
