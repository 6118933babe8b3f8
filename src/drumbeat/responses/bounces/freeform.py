"""Bounces in nobody's format: qmail, Exim, old Postfix and sendmail, Gmail, Notes, firewalls and the rest.

Who failed is found by flufl.bounce where it knows the sender's habits, else here. What the other server said
is read here, as flufl.bounce keeps addresses alone.
"""

from __future__ import annotations

import email
import logging
import re

from drumbeat.responses.bounces.addresses import (
    ADDRESS,
    addresses_in,
    first_address,
    header_addresses,
    unique,
)
from drumbeat.responses.bounces.findings import Finding
from drumbeat.responses.bounces.mime import Headers, Mail
from drumbeat.responses.bounces.prose import Told, split_original
from drumbeat.responses.bounces.reply import best_status, judge, one_line, read_prose, read_reply
from drumbeat.responses.kinds import Kind

MOST_RECIPIENTS = 50
_FOR_FLUFL_BYTES = 100_000
_FOR_FLUFL_LINE = 1_000
_FOR_FLUFL_LINES = 1_000

_MACHINE = re.compile(
    r"^(?:mailer[._-]?daemon|post[._-]?master|mail[._-]?delivery\S*|mail[._-]?system|mailmaster|mdaemon|"
    r"(?:no-?reply-)?bounces?\S*|daemon|mail[._-]?administrator|system[._-]?administrator|microsoftexchange\S*)$",
    re.IGNORECASE,
)
# Senders that write all sorts of things, bounces among them.
_NOBODY = re.compile(r"(?:no|do[._-]?not)[._-]?reply\S*@", re.IGNORECASE)
_FAILED = re.compile(
    r"undeliver|non-?deliver|returned (?:mail|message|e-?mail)|failure notice|returning (?:message|mail) to sender|"
    r"delivery[\s\S]{0,30}(?:fail|status|error|problem|delay|impossible|notification)|"
    r"(?:mail|message) (?:delivery )?(?:failure|failed|error|system error|could not be|was not|rejected|delayed)|"
    r"(?:unable|failed|could not|couldn't|cannot|can't|not able) (?:to )?(?:be )?deliver|"
    r"(?:could not|couldn't|cannot|can't|wasn't|was not|not(?: yet)?) (?:be |been )?(?:delivered|relayed|sent)|"
    r"did not reach|mailbox is full|over quota|blocked by|mail system error|errors? from|address(?:es)? failed|"
    r"unzustellbar|nicht zugestellt|non remis|[ée]chec de (?:la )?(?:remise|distribution)|"
    r"no (?:se )?(?:ha podido )?entrega|n[aã]o (?:foi )?entregue|mancato recapito|"
    r"недоставлен|не доставлен|не может быть доставлено|配信|送信できません|退信|无法投递",
    re.IGNORECASE,
)
_STILL_TRYING = re.compile(
    r"warning message only|has been delayed|is delayed|not yet been delivered|temporary failure report|"
    r"delivery attempts will (?:be )?continue|will (?:be retried|keep trying|continue to (?:try|attempt))|still trying|"
    r"delay reason|you do(?: not|n't) need to re-?send",
    re.IGNORECASE,
)
# A list that refuses a stranger writes in its own name, with no sign of a bounce.
_NOT_A_MEMBER = re.compile(
    rf"not (?:a )?member of (?:this|the) (?:mailing )?list\W{{0,3}}({ADDRESS.pattern})", re.IGNORECASE
)

_AT_LINE_START = re.compile(
    rf"^\s{{0,8}}<?({ADDRESS.pattern})>?(?:\s+\(expanded[^)]{{0,200}}\))?(?:\s*:|\.\.\.|\s{{1,4}}\[|\s+on\s+\d)",
    re.MULTILINE,
)
_AFTER_A_CODE = re.compile(
    rf"^\s{{0,8}}[45]\d\d[ -](?:[45]\.\d\.\d{{1,3}} )?<?({ADDRESS.pattern})>?\s*(?::|\.\.\.)", re.MULTILINE
)
_SENT_TO = r"(?:deliver\w{0,9}|undeliverable|message|mail|sent)(?: \w{1,20}){0,4} to:?"
_INLINE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:recipients?|failed addresses?|intended for|addressed to)(?: address)?\s*:\s*<?({ADDRESS.pattern})",
        rf"rcpt to:\s*<?({ADDRESS.pattern})",
        rf"{_SENT_TO}\s+(?:the following \w+:?\s+)?<?({ADDRESS.pattern})",
        rf"(?:delivery failed|failed recipient)(?: to| for)?:\s*<?({ADDRESS.pattern})",
        rf"(?:mailbox is full|over quota)\W{{1,4}}({ADDRESS.pattern})",
    )
)
_LINE_OF_ITS_OWN = re.compile(
    rf"^[\s*•>-]{{0,12}}<?({ADDRESS.pattern})>?(?:\s*<mailto:[^>]{{0,200}}>)?\s*$", re.MULTILINE
)


def read_freeform(mail: Mail) -> list[Finding]:
    """Return what a bounce or delay in words says; nothing where the mail is none."""
    told, below = split_original(mail.text)
    if (listed := _NOT_A_MEMBER.search(told)) is not None:
        return [_finding(Told.of(mail.text), listed.group(1), [], Kind.BOUNCED, "list")]
    named = header_addresses(*mail.headers.all("x-failed-recipients"))
    subject = mail.headers.words("subject")
    failed = _FAILED.search(subject) or _FAILED.search(told)
    nobody = bool(_NOBODY.match(first_address(mail.headers.get("from")) or ""))
    if not named and not (
        (from_machine(mail.headers) and (failed or read_reply(told).code)) or (nobody and failed)
    ):
        return []
    named, by = _who(mail, told, below, named)
    if nobody and not named:
        return []
    kind = (
        Kind.DEFERRED
        if _STILL_TRYING.search(told) and not re.search(r"fail", subject, re.IGNORECASE)
        else Kind.BOUNCED
    )
    all_of_it = Told.of(mail.text)
    if not named:
        return [_finding(all_of_it, None, [], kind, "words")]
    named = named[:MOST_RECIPIENTS]
    return [
        _finding(all_of_it, name, [other for other in named if other != name], kind, by) for name in named
    ]


def _who(mail: Mail, told: str, below: Headers, listed: list[str]) -> tuple[list[str], str]:
    """Return the addresses that failed, and what found them."""
    if listed and any(name.lower() in told.lower() for name in listed):
        return listed, "x-failed-recipients"
    if found := _by_flufl(mail, told):
        return found, "flufl.bounce"
    if listed and not _AT_LINE_START.search(told) and not _LINE_OF_ITS_OWN.search(told):
        # A header that the text says nothing of: an alias was resolved on the way.
        return listed, "x-failed-recipients"
    return _by_ourselves(told, mail, below) or listed, "words"


def _finding(told: Told, recipient: str | None, others: list[str], kind: Kind, by: str) -> Finding:
    said, texts = read_prose(told, [recipient] if recipient else [], others)
    verdict = judge(said, said.statuses, texts, recipient)
    return Finding(
        kind,
        "words",
        recipient,
        verdict,
        best_status(said.statuses),
        one_line(said.words.strip()),
        {"found_by": by},
    )


def from_machine(headers: Headers) -> bool:
    """Say whether a mail program wrote the mail: its sender is empty, or a name that programs bear."""
    sender = headers.get("from")
    found = addresses_in(sender)
    if not found:
        return not sender or "<>" in sender or "mailer-daemon" in sender.lower()
    if _MACHINE.match(found[0].rpartition("@")[0]):
        return True
    return headers.get("return-path").strip() == "<>" and bool(_FAILED.search(headers.words("subject")))


def _by_flufl(mail: Mail, told: str) -> list[str]:
    """Return the addresses that flufl.bounce finds.

    It gets the mail rebuilt, with our limits: the standard library's parser under it, and some of its
    patterns, take their time over long lines and many parts.
    """
    from flufl.bounce import all_failures

    # It needs a sender: without one a pattern of its fails, and those after it are not asked.
    sender = first_address(mail.headers.get("from")) or "mailer-daemon@invalid"
    lines = [f"from: {sender}"]
    lines += [
        f"{name}: {value[:_FOR_FLUFL_LINE]}" for name, value in mail.headers.rows if name not in _REBUILT
    ]
    several = mail.kind.startswith("multipart/")
    if several:
        lines.append(f'content-type: {mail.kind}; boundary="=_drumbeat"')
    lines.append("")
    for part in mail.parts:
        if not part.kind.startswith("text/"):
            continue
        if several:
            lines += ["--=_drumbeat", f"content-type: {part.kind}", ""]
        lines += [line[:_FOR_FLUFL_LINE] for line in part.text.split("\n")[:_FOR_FLUFL_LINES]]
    if several:
        lines += ["--=_drumbeat--", ""]
    # It logs its faults with a traceback and raises them as well; once is enough.
    logging.getLogger("flufl.bounce").disabled = True
    source = "\n".join(lines[:_FOR_FLUFL_LINES])[:_FOR_FLUFL_BYTES].encode("ascii", "replace")
    try:
        passing, lasting = all_failures(email.message_from_bytes(source))
    except Exception:  # noqa: BLE001 - a fault of its patterns on foreign input must not lose the mail
        return []
    names = sorted(name.decode("ascii", "replace") for name in passing | lasting)
    return [name for name in names if ADDRESS.fullmatch(name) and name.lower() in told.lower()]


_REBUILT = frozenset({"from", "content-type", "content-transfer-encoding", "mime-version"})


def _by_ourselves(told: str, mail: Mail, below: Headers) -> list[str]:
    """Return the addresses that the text names as failed; where it names none, whom the returned mail went to.

    Our own addresses stand there too ("your message from ..."), and are left out where others remain.
    """
    ours = {
        name.lower()
        for headers in (mail.headers, mail.original, below)
        for name in header_addresses(*headers.all("from", "return-path", "sender", "reply-to"))
    } | {name.lower() for name in header_addresses(*mail.headers.all("to", "delivered-to"))}
    guesses = [
        [*_AT_LINE_START.findall(told), *_AFTER_A_CODE.findall(told)],
        *(pattern.findall(told) for pattern in _INLINE),
        _LINE_OF_ITS_OWN.findall(told),
        header_addresses(*mail.original.all("to"), *below.all("to")),
    ]
    for found in guesses:
        named = unique(name for raw in found for name in addresses_in(raw))
        if others := [name for name in named if name.lower() not in ours]:
            return others
    return next((unique(found) for found in guesses if found), [])
