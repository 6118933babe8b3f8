"""Say why a mail was refused, and whether its address is dead, from reply code, status code and words.

The order: words that contradict any code; exact status codes; telling words; vague status codes; the step of
the SMTP session; the bare reply code; words that say little. The first that knows an answer gives it.

Hard, the address is dead, is said only where nothing speaks against it. A reader who is suppressed by mistake
is lost for good and nobody notices; an address that is dead and taken for alive costs a few more mails, since
soft bounces in a row suppress as well. So these never are hard:
- a temporary code (4xx, 4.x.x), whatever the words;
- "unknown user" after the content was sent, without a code 5.1.x: RFC 5321 has recipients refused at RCPT, and
  Japanese mobile carriers (words.yaml) answer so where the reader's own filter refused the mail;
- "unknown user" beside a code that says another thing: there is a mailbox (5.2.0), or policy (5.7.x);
- what was said before the reader was named, in answer to HELO or MAIL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from drumbeat.responses.bounces.statuses import meaning
from drumbeat.responses.bounces.words import first, known_words
from drumbeat.responses.reasons import HARD, BounceReason

LONGEST = 2_000
"""Letters of a reply that are read."""


class Step(StrEnum):
    """Where in the SMTP session a refusal came."""

    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"


_CERTAINTY = (
    ("words", 3),
    ("exact status", 3),
    ("code 521", 3),
    ("code 556", 3),
    ("status", 2),
    ("step connect", 2),
    ("step helo", 2),
    ("step mail", 2),
    ("step", 1),
    ("code", 1),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why, whether the address is dead, and which rule said so."""

    reason: BounceReason
    hard: bool
    rule: str

    @property
    def certainty(self) -> int:
        """Return how sure it is: 3 by words or an exact code, 2 by a vague one, 1 a guess, 0 none."""
        return next((value for start, value in _CERTAINTY if self.rule.startswith(start)), 0)


_BY_STEP: Mapping[Step, BounceReason] = {
    # Who refuses to talk at all has something against us, not against a reader.
    Step.CONNECT: BounceReason.BLOCKED,
    Step.HELO: BounceReason.BLOCKED,
    Step.MAIL: BounceReason.REJECTED,
    Step.RCPT: BounceReason.FILTERED,
    Step.DATA: BounceReason.FILTERED,
}

_BEFORE_THE_READER = frozenset({Step.CONNECT, Step.HELO, Step.MAIL})
"""No reader was named yet: whatever the code, the refusal cannot be about one."""

_CLEAR_CODES: Mapping[int | None, BounceReason] = {
    500: BounceReason.PROTOCOL,
    501: BounceReason.PROTOCOL,
    502: BounceReason.PROTOCOL,
    503: BounceReason.PROTOCOL,
    504: BounceReason.PROTOCOL,
    530: BounceReason.POLICY,  # log in first (RFC 4954)
    535: BounceReason.POLICY,
    541: BounceReason.SPAM,
    551: BounceReason.RELAYING_DENIED,  # "user not local"
    552: BounceReason.MAILBOX_FULL,  # "exceeded storage allocation"
    571: BounceReason.POLICY,
}

_VAGUE_CODES: Mapping[int | None, BounceReason] = {
    421: BounceReason.SYSTEM,
    450: BounceReason.SYSTEM,
    451: BounceReason.SYSTEM,
    452: BounceReason.SYSTEM,
    550: BounceReason.FILTERED,  # "mailbox unavailable": not found, no access, or policy (RFC 5321)
    553: BounceReason.FILTERED,
    554: BounceReason.FILTERED,
}

# How mail servers write which command was refused. The first that is found in a reply tells.
_STEPS: Sequence[tuple[Step, re.Pattern[str]]] = tuple(
    (step, re.compile(pattern, re.IGNORECASE))
    for step, pattern in (
        # Postfix
        (
            Step.CONNECT,
            r"refused\s+to\s+talk\s+to\s+me|while\s+receiving\s+the\s+initial\s+server\s+greeting",
        ),
        (
            Step.DATA,
            r"in\s+reply\s+to\s+(?:the\s+)?(?:end\s+of\s+)?(?:DATA|BDAT)|while\s+sending\s+(?:end\s+of\s+data|message\s+body)",
        ),
        (Step.RCPT, r"in\s+reply\s+to\s+(?:the\s+)?RCPT"),
        (Step.MAIL, r"in\s+reply\s+to\s+(?:the\s+)?MAIL"),
        (Step.HELO, r"in\s+reply\s+to\s+(?:the\s+)?(?:HELO|EHLO|LHLO)"),
        # Exim
        (Step.CONNECT, r"after\s+initial\s+connection"),
        (Step.HELO, r"after\s+(?:EHLO|HELO)\b"),
        (Step.MAIL, r"after\s+(?:pipelined\s+)?MAIL\s+FROM"),
        (Step.RCPT, r"after\s+(?:pipelined\s+)?RCPT\s+TO"),
        (Step.DATA, r"after\s+(?:end\s+of\s+data|(?:pipelined\s+)?DATA\b|sending\s+data)"),
        # qmail
        (Step.HELO, r"my\s+name\s+was\s+rejected"),
        (Step.MAIL, r"(?:but\s+)?sender\s+was\s+rejected"),
        (Step.RCPT, r"does\s+not\s+like\s+recipient"),
        (Step.DATA, r"failed\s+(?:after\s+I\s+sent\s+the\s+message|on\s+DATA\s+command)"),
        # DragonFly, Yahoo, SendGrid and others
        # Oracle's Messaging Server (iCloud)
        (Step.RCPT, r"remote\s+SMTP\s+server\s+has\s+rejected\s+address"),
        (Step.DATA, r"SMTP\s+transmission\s+failure\s+has\s+occurred"),
        (Step.MAIL, r"did\s+not\s+like\s+our\s+MAIL|\[MAIL_FROM\]|\bin\s+MAIL\s+FROM"),
        (Step.RCPT, r"did\s+not\s+like\s+our\s+RCPT|\[RCPT_TO\]|\bin\s+RCPT\s+TO|SMTP:RCPT\b"),
        (Step.DATA, r"did\s+not\s+like\s+our\s+DATA|SMTP\s+command\s+DATA\b|\bin\s+DATA\b"),
    )
)

_URL = re.compile(r"(?:https?://|www\.)([\w.-]{1,100})([^\s<>\"')\]]{0,300})", re.IGNORECASE)
# What a sending service puts before every refusal, whatever it was.
_LABELS = re.compile(r"5\.1\.0 - unknown address error(?= 5\d\d)")  # Amazon SES
_GOOGLE_SAYS = re.compile(r"[?&]p=(\w{1,40})")
_ADDRESS = re.compile(r"<?[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w.-]{1,255}>?")
_CODES = re.compile(
    r"(?<![\w.])[245]\d\d(?:[ \-:]+|$)(?:#?[245]\.\d{1,3}\.\d{1,3}\b)?|(?<![\w.])\(?#?[245]\.\d{1,3}\.\d{1,3}\b(?!\.\d)\)?"
)


def classify(
    code: int | None, status: str | None, text: str, *, step: Step | None = None, domain: str = ""
) -> Verdict:
    """Return why a mail was refused. Never raises.

    `code`: the SMTP reply code; `status`: the enhanced status code, such as `5.1.1`; `text`: the server's or
    provider's words; `step`: where it was refused, where that is known and does not stand in the text;
    `domain`: the recipient's.
    """
    text = text[:LONGEST]
    words = plain(text)
    step = step or step_in(text)
    group, _, detail = (status or "").partition(".")
    temporary = code is not None and 400 <= code < 500
    if step is None and domain and known_words().is_carrier(domain):
        step = Step.DATA
    reason, rule = _reason(code, detail, words, step)
    if reason in HARD and step in _BEFORE_THE_READER and not rule.startswith("code"):
        # "Unknown host" in answer to HELO or MAIL is said of us.
        reason, rule = _BY_STEP[step], f"step {step}, not {rule}"
    hard = reason in HARD and not temporary and group != "4"
    return Verdict(reason, hard, rule)


def _reason(code: int | None, detail: str, words: str, step: Step | None) -> tuple[BounceReason, str]:
    known = known_words()
    if (found := first(known.contradicting, words, detail)) is not None:
        return found.reason, f"words: {found.name}"
    if code in (521, 556):
        return BounceReason.NOT_ACCEPTING, f"code {code}"  # RFC 7504: no mail for anybody here
    meant, exact = meaning(detail)
    if meant is not None and exact:
        return _weighed(meant, detail, words)
    if (found := first(known.telling, words, detail)) is not None:
        return _in_time(found.reason, found.name, detail, step)
    if step in _BEFORE_THE_READER:
        return _BY_STEP[step], f"step {step}"
    if meant is not None:
        return meant, f"status x.{detail}"
    if code in _CLEAR_CODES:
        return _CLEAR_CODES[code], f"code {code}"
    if (found := first(known.little, words, detail)) is not None:
        return _in_time(found.reason, found.name, detail, step)
    if step is not None and not (code is not None and 400 <= code < 500):
        return _BY_STEP[step], f"step {step}"
    if code in _VAGUE_CODES:
        return _VAGUE_CODES[code], f"code {code}"
    return BounceReason.OTHER, "nothing known"


def _in_time(reason: BounceReason, name: str, detail: str, step: Step | None) -> tuple[BounceReason, str]:
    """Take "unknown user" for a filter's answer where the time or the code speaks against it."""
    rule = f"words: {name}"
    if name in ("unknown_user", "unknown_host", "recipient_rejected") and step is Step.DATA:
        return BounceReason.FILTERED, f"{rule}, but after the content"
    if name == "unknown_user" and (detail == "2.0" or detail.startswith("7.")):
        return BounceReason.FILTERED, f"{rule}, but status x.{detail}"
    return reason, rule


def _weighed(meant: BounceReason, detail: str, words: str) -> tuple[BounceReason, str]:
    """Return what an exact status code means, where words beside it say something else of the address."""
    rule = f"exact status x.{detail}"
    found = first(known_words().telling, words, detail)
    if found is None:
        return meant, rule
    if found.name in ("unknown_user", "no_account") and detail in ("1.10", "2.1"):
        # A mailbox that is disabled for good, and unknown by now: dead either way.
        return found.reason, f"words: {found.name}, {rule}"
    if found.name == "unknown_host" and detail.startswith("4."):
        return found.reason, f"words: {found.name}, {rule}"
    return meant, rule


def step_in(text: str) -> Step | None:
    """Return the step that a mail server's words name; None where they name none."""
    return next((step for step, pattern in _STEPS if pattern.search(text)), None)


def plain(text: str) -> str:
    """Return text as the patterns of words.py expect it: what says nothing of the reason is left out."""
    text = _LABELS.sub(" ", text[:LONGEST].lower().replace("’", "'"))
    text = _URL.sub(_shortened, text)
    text = _ADDRESS.sub(" @ ", text)
    text = _CODES.sub(" ", text)
    return " ".join(re.sub(r"[\"“”<>*]", " ", text).split())


def _shortened(match: re.Match[str]) -> str:
    host, rest = match.groups()
    told = _GOOGLE_SAYS.search(rest) if "google" in host else None
    return f" url:{host.rstrip('.')} " + (f"p:{told.group(1)} " if told else "")
