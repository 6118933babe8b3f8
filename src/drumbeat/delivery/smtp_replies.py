"""What a server's reply means: the table that turns step, code, enhanced status and words into an Answer.

The first rule that fits decides. Sources: RFC 5321 section 4.2 (codes), RFC 3463 and the IANA registry of enhanced
status codes, and what large receivers and relays publish or are known to say:

    Gmail       https://support.google.com/a/answer/3726730
    Yahoo       https://senders.yahooinc.com/smtp-error-codes/
    Microsoft   https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online/
    Amazon SES  https://docs.aws.amazon.com/ses/latest/dg/smtp-response-codes.html
    Yandex      https://www.yandex.com/support/mail/bounces/other.html

A temporary refusal that no rule knows holds for the mail alone: to try one mail again too early costs less than to
hold back all others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from drumbeat.delivery import Answer, Outcome, Scope

LONGEST_TEXT = 500
"""Characters of a reply that are kept."""

GREYLIST_WAIT = timedelta(minutes=5)
"""Postgrey, the widest used, opens after five minutes."""

LONGEST_WAIT = timedelta(hours=6)


class Step(StrEnum):
    """What a reply answers; the words that people know."""

    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "the content"


class About(StrEnum):
    """Whom a refusal is about, where it is not the mail: then no mail is to be burnt for it."""

    SENDER = "sender"
    LOGIN = "login"
    RELAY = "relay"


class Reply(NamedTuple):
    """A reply, read: `text` is all of it as one line."""

    code: int
    status: str | None
    text: str


@dataclass(frozen=True)
class Rule:
    """One row: it fits where step and codes fit and, if it has any, `status` or `words` do, but not `but_not`."""

    means: str
    codes: str
    outcome: Outcome = Outcome.DEFERRED
    scope: Scope = Scope.MESSAGE
    steps: frozenset[Step] = frozenset(Step)
    status: str | None = None
    words: str | None = None
    but_not: str | None = None
    wait: timedelta | None = None
    dead: bool = False
    about: About | None = None

    def fits(self, step: Step, reply: Reply) -> bool:
        """Say whether this row speaks of the reply."""
        if step not in self.steps or not re.match(self.codes, str(reply.code)):
            return False
        if self.but_not and re.search(self.but_not, reply.text, re.IGNORECASE):
            return False
        by_status = self.status and reply.status and re.fullmatch(self.status, reply.status)
        by_words = self.words and re.search(self.words, reply.text, re.IGNORECASE)
        return bool(by_status or by_words or not (self.status or self.words))


BEFORE_CONTENT = frozenset({Step.MAIL, Step.RCPT, Step.DATA})
AFTER_MAIL = frozenset({Step.RCPT, Step.DATA, Step.CONTENT})
TO_US = (
    r"sender (address )?(verif|reject|unknown|domain|denied)|verif\w+ failed|verify fail|block|black ?list|spam|dnsbl"
    r"|reputation|polic(y|ies)|banned|\bspf\b|\bdkim\b|\bdmarc\b|rejected due|suspicious|abus"
)
"""Words of a refusal that is about us or our mail, whatever else it says of the address."""

RULES: tuple[Rule, ...] = (
    Rule(
        "our account at the server has used up its share (Amazon SES, Gmail, Exchange Online, cPanel)",
        r"[45]",
        scope=Scope.SERVER,
        status=r"5\.4\.5",
        words=r"(sending (limit|quota|rate)|message quota|smtp relay limit|submission (rate|quota))\b.{0,60}exceed"
        r"|exceeded .{0,60}(sending (limit|quota|rate)|submission (rate|quota))|throttling failure"
        r"|exceeded the max (emails|defers and failures) per hour|reached a limit for sending",
    ),
    Rule(
        "we have too many connections to the server",
        r"4",
        scope=Scope.SERVER,
        words=r"too many (\w+ ){0,2}(connections|sessions)|concurrent (\w+ )?(connection|session)s? limit",
    ),
    Rule("greylisting, by name", r"4", words=r"gr[ea]y-?\s?list|post-?grey", wait=GREYLIST_WAIT),
    Rule(
        "the mailbox gets mail faster than it may (Gmail, Exchange Online)",
        r"4",
        steps=AFTER_MAIL,
        status=r"4\.2\.1",
        words=r"receiving mail (too|at a rate)|recipient thread limit",
    ),
    Rule(
        "the mailbox is full",
        r"4",
        steps=AFTER_MAIL,
        status=r"4\.2\.2",
        words=r"over ?quota|mailbox (is )?full|(mailbox|storage) quota|quota exceeded",
    ),
    Rule(
        "the domain's rate limit or its doubts about us (Gmail 4.7.28, Yahoo TSS04, Outlook 4.7.650, S3140)",
        r"4",
        scope=Scope.DOMAIN,
        status=r"4\.7\.(0|[2-9]|\d{2,3})",
        words=r"rate.?limit|too many (messages|mails|emails|recipients)|too (quickly|fast|much mail)|throttl"
        r"|unusual rate|unexpected volume|temporarily (deferred|blocked)|user complaints|\[TSS?\d|\bRP-00\d"
        r"|\(S\d{3,4}\)|reputation|block ?list|black ?list|blocked (using|by)|dnsbl|slow down",
    ),
    Rule(
        "greylisting that does not say so",
        r"45[01]",
        status=r"4\.7\.1",
        words=r"^45[01] (?!4\.).*\b(try|come|retry|check)\b.{0,20}\b(again|back|later)\b",
        wait=GREYLIST_WAIT,
    ),
    Rule("the mail is too big for now", r"4", status=r"4\.(3\.4|2\.3)"),
    Rule(
        "there is no way to the domain now",
        r"4",
        scope=Scope.DOMAIN,
        steps=AFTER_MAIL,
        status=r"4\.(4\.[1346]|1\.2)",
    ),
    Rule(
        "the server is busy, full or going down",
        r"4",
        scope=Scope.SERVER,
        status=r"4\.(3\.[12]|4\.5)",
        words=r"insufficient (system|disk)|too busy|server busy|shutting down|going down",
    ),
    Rule("the server closes the connection", r"421", scope=Scope.SERVER),
    Rule("the server takes no mail of ours now", r"4", scope=Scope.SERVER, steps=frozenset({Step.MAIL})),
    Rule("the mail, for now", r"4"),
    Rule(
        "a login, or encryption, comes first (RFC 4954 section 6)",
        r"53[0458]",
        Outcome.REFUSED,
        steps=BEFORE_CONTENT,
        about=About.LOGIN,
    ),
    Rule("the mail is too big", r"5", Outcome.REFUSED, status=r"5\.(3\.4|2\.3)", words=r"^552 "),
    Rule("an address beyond ASCII", r"5", Outcome.REFUSED, status=r"5\.6\.7", words=r"smtputf8"),
    Rule("our sender's address", r"5", Outcome.REFUSED, steps=frozenset({Step.MAIL}), about=About.SENDER),
    Rule(
        "the server hands nothing on for us",
        r"5",
        Outcome.REFUSED,
        steps=BEFORE_CONTENT,
        words=r"relay(ing)? (access )?(is )?(denied|not permitted|not allowed|prohibited)|unable to relay"
        r"|not permitted to relay|do not relay|authentication (is )?required|\bauth\w*( command)? first",
        about=About.RELAY,
    ),
    Rule(
        "there is no such mailbox or domain, by status",
        r"5",
        Outcome.REFUSED,
        steps=AFTER_MAIL,
        status=r"5\.1\.([1236]|10)",
        but_not=TO_US,
        dead=True,
    ),
    Rule(
        "there is no such mailbox, in clear words (Yandex says it with 5.7.1, Yahoo after the content)",
        r"55",
        Outcome.REFUSED,
        steps=AFTER_MAIL,
        words=r"user unknown|unknown user|no such (user|mailbox|recipient|address|person|account)"
        r"|(user|mailbox|recipient|account|address)\b[^.;]{0,60}\b(does not|doesn'?t) exist"
        r"|(user|mailbox|recipient|account) (was )?not found|doesn'?t have an? \S+ account|no mailbox here"
        r"|unknown (recipient|mailbox|local.?part|account)|recipientnotfound",
        but_not=TO_US,
        dead=True,
    ),
    Rule(
        "there is no such mailbox, in words that mean it at RCPT (Outlook.com, Exchange Online, GMX, Exim)",
        r"55",
        Outcome.REFUSED,
        steps=frozenset({Step.RCPT}),
        words=r"^550 (?!5\.[27]\.).*mailbox unavailable|recipient address rejected: access denied"
        r"|unrout(e)?able address|invalid (recipient|mailbox|user)|not a (valid|known) (user|mailbox|recipient)"
        r"|address unknown|unknown address",
        but_not=TO_US,
        dead=True,
    ),
    Rule("the mail, for good", r"5", Outcome.REFUSED),
)
"""From top to bottom; each reply of 4xx or 5xx fits one of the last rows."""


class Verdict(NamedTuple):
    """What a refusal comes to; `about` says that it is not for the mail's sake."""

    answer: Answer
    about: About | None


def judge(step: Step, raw: bytes, via: str) -> Verdict:
    """Return what a reply of 4xx or 5xx to `step` of one mail means. Total over such replies."""
    reply = read(raw)
    rule = next(rule for rule in RULES if rule.fits(step, reply))
    scope = rule.scope
    if scope is Scope.DOMAIN and step is Step.MAIL:
        # The server does not know yet whom the mail is for.
        scope = Scope.SERVER
    wait = (asked_wait(reply.text) or rule.wait) if rule.outcome is Outcome.DEFERRED else None
    answer = Answer(
        rule.outcome,
        reply.text,
        code=reply.code,
        status=reply.status,
        retry_after=wait,
        scope=scope,
        dead_address=rule.dead,
        via=via,
    )
    return Verdict(answer, rule.about)


def accepted(raw: bytes, via: str) -> Answer:
    """Return the answer for a 2xx to the content."""
    code, status, text = read(raw)
    return Answer(Outcome.ACCEPTED, text, code=code, status=status, via=via)


_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?=\s|$)")


def read(raw: bytes) -> Reply:
    """Take a reply apart. The enhanced status, which servers repeat in each line, stands once in the text."""
    if raw.find(b"\n") == len(raw) - 1 <= LONGEST_TEXT and raw.isascii():
        text = raw.decode().rstrip()
        if not text.isprintable() or "  " in text:
            text = clean(raw)
        found = _STATUS.match(text, 4)
        status = found.group(1) if found is not None and text[4] == text[0] else None
        return Reply(int(text[:3]), status, text)
    code = raw[:3].decode("ascii")
    lines = [line[4:].decode("utf-8", "replace") for line in raw.split(b"\n")]
    found = _STATUS.match(lines[0])
    status = found.group(1) if found is not None and lines[0][0] == code[0] else None
    if status is not None:
        lines = [status, *(line.removeprefix(status) for line in lines)]
    return Reply(int(code), status, clean(" ".join([code, *lines]).encode()))


def clean(raw: bytes) -> str:
    """Return foreign bytes as one line of printable text, at most LONGEST_TEXT characters."""
    text = raw[: 4 * LONGEST_TEXT].decode("utf-8", "replace")
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())[:LONGEST_TEXT]


_WAIT = re.compile(
    r"\b(?:in|after|for|wait|within)\s+(?:about |at least |another )?"
    r"(?:(?:(\d{1,2}):)?(\d{1,2}):(\d{2})\b"
    r"|(\d{1,6})\s*(?:(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?|(h)(?:(?:ou)?rs?)?)\b)",
    re.IGNORECASE,
)


def asked_wait(text: str) -> timedelta | None:
    """Return the wait that a reply asks for, at most LONGEST_WAIT: `in 300 seconds`, `for 5 min`, `in 00:04:59`."""
    if (found := _WAIT.search(text)) is None:
        return None
    hours, minutes, seconds, count, as_seconds, as_minutes, _ = found.groups()
    if count:
        total = int(count) * (1 if as_seconds else 60 if as_minutes else 3600)
    else:
        total = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return min(timedelta(seconds=total), LONGEST_WAIT) if total else None
