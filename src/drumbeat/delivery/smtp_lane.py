"""One mail after the other over one connection: where each hand-over ends, and how.

With PIPELINING the envelope is one write, and the next mail's envelope goes out behind the final dot of the one
before: one round trip a mail. What is known of a mail at each point:

    before its content's first byte        certainly not sent        DEFERRED, or the server's own answer
    content and final dot not all out      certainly not sent        DEFERRED
    final dot out, no answer               nobody knows              UNCERTAIN
    the answer to the final dot            the server says           ACCEPTED, DEFERRED, REFUSED

The next mail's content waits until `done` was called with the answer of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drumbeat.delivery import Answer, Outcome
from drumbeat.delivery.smtp_pool import Job, PoolServer, Stopped, UnusableServerError, Work
from drumbeat.delivery.smtp_replies import About, Step, accepted, judge, read
from drumbeat.delivery.smtp_session import Envelope, Session
from drumbeat.delivery.smtp_wire import Lost
from drumbeat.errors import DeliveryError

ENVELOPE_STEPS = (Step.MAIL, Step.RCPT, Step.DATA)


@dataclass(slots=True, eq=False)
class Turn:
    """A mail whose turn it is.

    `ahead`: its envelope went out behind the content of the mail before. `replies`: what that was answered,
    where it was read already, and what cut it off.
    """

    job: Job
    envelope: Envelope
    ahead: bool = False
    replies: tuple[list[bytes], Lost | None] | None = None


class Lane:
    """Hands over what waits through one connection to one server, renewed when it breaks."""

    def __init__(self, place: PoolServer, work: Work, now: Callable[[], float]) -> None:
        self._place, self._work, self._now = place, work, now
        self._session: Session | None = None

    def run(self) -> None:
        """Work until nothing waits, the server is of no use, or the hand-over ends. Never raises."""
        try:
            self._run()
        except Stopped:
            self._drop()
        except DeliveryError as error:
            self._drop()
            self._place.failed(error, self._now())
        except BaseException as error:  # noqa: BLE001 - raised again by hand_over, in the caller's thread
            self._drop()
            self._work.stop(error)

    def abort(self) -> None:
        """Cut the connection off, from another thread."""
        if (session := self._session) is not None:
            session.wire.shutdown()

    def _run(self) -> None:
        turn = self._next()
        while turn is not None:
            turn = self._hand_over(turn) or self._next()
        if self._session is not None:
            self._place.put_back(self._session)

    def _next(self) -> Turn | None:
        """Take the next mail that can go over a connection, and open one where there is none."""
        session = self._session
        if session is not None and session.served >= self._limit:
            self._drop(politely=True)
        while (job := self._place.take(self._work)) is not None:
            try:
                if self._session is None:
                    self._session = self._place.connection()
                envelope = self._session.envelope(job.mail)
            except BaseException:
                self._place.give_back(self._work, job)
                raise
            if isinstance(envelope, Envelope):
                return Turn(job, envelope)
            self._work.done(job, envelope)
        return None

    def _hand_over(self, turn: Turn) -> Turn | None:
        """Hand one mail over; return the next one where its envelope went out already."""
        session = self._session
        assert session is not None  # noqa: S101 - _next opened it
        replies, lost = turn.replies or session.ask(turn.envelope, sent=turn.ahead)
        if lost is not None or not all(map(_went, ENVELOPE_STEPS, replies)):
            self._not_begun(session, turn, replies, lost)
            return None
        if session.wire.pending:
            # More answers than commands: the next would be taken for the one to the content.
            self._drop()
            self._end(turn.job, Outcome.DEFERRED, "more answers than commands before the content")
            return None
        after = self._following(session)
        try:
            answer = self._content(session, turn, after, replies)
        except BaseException:
            self._give_back(after)
            raise
        if self._session is None:
            self._give_back(after)
            after = None
        self._work.done(turn.job, answer)
        try:
            self._place.learn(answer)
        except UnusableServerError:
            self._give_back(after)
            raise
        return after

    @property
    def _limit(self) -> int:
        return self._place.server.mails_per_connection

    def _following(self, session: Session) -> Turn | None:
        """Take the next mail, so that its envelope goes out behind the present one's content."""
        if not session.offers.pipelining or session.served >= self._limit:
            return None
        turn = self._next()
        if turn is not None:
            turn.ahead = True
        return turn

    def _content(self, session: Session, turn: Turn, after: Turn | None, before: list[bytes]) -> Answer:
        """Ask `begin`, send the content, and return how it ended. Drops the connection where it broke."""
        payload = turn.envelope.payload
        whole = len(payload)
        if after is not None:
            payload += after.envelope.commands
        if not self._work.begin(turn.job):
            # After the 354 the only way not to send is not to finish (RFC 5321 section 4.1.1.4).
            self._drop()
            return Answer(Outcome.WITHDRAWN, "withdrawn before the content")
        session.new = False
        try:
            session.wire.send(payload)
        except Lost as lost:
            return self._cut_off(session, lost, all_out=lost.sent >= whole)
        try:
            raw = session.wire.reply(session.patience)
        except Lost as lost:
            return self._cut_off(session, lost, all_out=True)
        if raw[:1] == b"2":
            if after is not None and (raw in before or raw[4:8] == b"2.1.") and self._skipped(session, after):
                self._drop()
                return self._lost(Outcome.UNCERTAIN, "no answer to the content, but to the mail after it")
            return accepted(raw, session.name)
        if raw[:1] in (b"4", b"5"):
            if raw[:3] == b"421":
                self._drop()
            return judge(Step.CONTENT, raw, session.name).answer
        self._drop()
        return self._lost(Outcome.UNCERTAIN, f"an answer out of step to the content: {read(raw).text}")

    def _skipped(self, session: Session, after: Turn) -> bool:
        """Say whether the server left the content's answer out, so that the next mail's was taken for it.

        Asked only of an answer that reads like one to MAIL or RCPT: then the next mail's are read first.
        """
        replies, lost = after.replies = session.ask(after.envelope, sent=True)
        return lost is not None or any(reply[:3] == b"354" for reply in replies[:2])

    def _cut_off(self, session: Session, lost: Lost, *, all_out: bool) -> Answer:
        """Say how a mail ended whose content could not be sent or was not answered."""
        raw = session.wire.last_words() if lost.sent else None
        self._drop()
        if raw is not None and raw[:1] in (b"4", b"5"):
            return judge(Step.CONTENT, raw, session.name).answer
        if all_out:
            if raw is not None and raw[:1] == b"2":
                return accepted(raw, session.name)
            return self._lost(Outcome.UNCERTAIN, f"no answer to the content: {lost}")
        # Not all of it left this machine, so the final dot did not: the server cannot have taken it.
        return self._lost(Outcome.DEFERRED, f"connection lost before the content's end: {lost}")

    def _not_begun(self, session: Session, turn: Turn, replies: list[bytes], lost: Lost | None) -> None:
        """End a mail that got no 354, or whose sender or recipient was refused. Raises DeliveryError."""
        job = turn.job
        refused = next(
            ((step, raw) for step, raw in zip(ENVELOPE_STEPS, replies, strict=False) if not _went(step, raw)),
            None,
        )
        out_of_step = refused is not None and _out_of_step(*refused)
        let_go = refused is not None and refused[0] is Step.MAIL and refused[1][:3] == b"421"
        if (not replies or out_of_step or let_go) and not session.new and not job.renewed:
            # It is the fault of a connection that was in use before, and says nothing of this mail.
            job.renewed = True
            self._give_back(turn)
            self._drop()
            return
        if refused is None:
            self._drop()
            self._end(job, Outcome.DEFERRED, f"connection lost before the content: {lost}")
            return
        step, raw = refused
        if out_of_step:
            self._drop()
            self._end(job, Outcome.DEFERRED, f"an answer out of step to {step}: {read(raw).text}")
            return
        answer, about = judge(step, raw, session.name)
        if about in (About.SENDER, About.LOGIN) or (about is About.RELAY and not self._place.proven):
            self._give_back(turn)
            raise UnusableServerError(_ours(about, session.name, turn, answer))
        if lost is not None or not session.settle(replies):
            self._drop()
        self._work.done(job, answer)
        self._place.learn(answer)

    def _end(self, job: Job, outcome: Outcome, text: str) -> None:
        self._work.done(job, self._lost(outcome, text))

    def _lost(self, outcome: Outcome, text: str) -> Answer:
        return Answer(outcome, text, via=self._place.name)

    def _give_back(self, turn: Turn | None) -> None:
        if turn is not None:
            self._place.give_back(self._work, turn.job)

    def _drop(self, *, politely: bool = False) -> None:
        """Disconnect; without a word where the connection is of no use any more."""
        session, self._session = self._session, None
        if session is not None:
            session.quit() if politely else session.wire.close()


def _went(step: Step, raw: bytes) -> bool:
    return raw[:3] == b"354" if step is Step.DATA else raw[:1] == b"2"


def _out_of_step(step: Step, raw: bytes) -> bool:
    """Say whether an answer cannot be one to this command, so that answers and commands do not go together.

    503 is `bad sequence of commands`; some servers say it to ask for a login.
    """
    if raw[:3] == b"503":
        return step is not Step.MAIL and b"auth" not in raw.lower()
    return raw[:1] not in (b"4", b"5")


def _ours(about: About, server: str, turn: Turn, answer: Answer) -> str:
    """Return one line for a refusal that is not for the mail's sake."""
    if about is About.SENDER:
        return (
            f"the mail server {server} refuses the sender {turn.job.mail.envelope_from}: {answer.text};"
            " check the sender's address in project.yaml"
        )
    if about is About.RELAY:
        return (
            f"the mail server {server} hands nothing on for us: {answer.text};"
            " set username_env and password_env under delivery.smtp, or let the server trust this machine"
        )
    return (
        f"the mail server {server} takes mails only after a login or encryption: {answer.text};"
        " set tls, username_env and password_env under delivery.smtp in project.yaml"
    )
