"""Delivery status notifications: RFC 3464, with addresses beyond ASCII RFC 6533."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from drumbeat.responses.bounces.addresses import field_address, header_addresses, unique
from drumbeat.responses.bounces.fields import groups_in
from drumbeat.responses.bounces.findings import Finding
from drumbeat.responses.bounces.mime import Headers, Mail
from drumbeat.responses.bounces.prose import Told
from drumbeat.responses.bounces.reply import (
    Reply,
    best_status,
    judge,
    one_line,
    read_prose,
    read_reply,
    statuses_in,
)
from drumbeat.responses.bounces.statuses import meaning
from drumbeat.responses.kinds import Kind

MOST_RECIPIENTS = 100
_REPORTS = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RECIPIENT_FIELDS = ("final-recipient", "original-recipient", "x-actual-recipient")
_FIELD_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,40}\s*")
_HAS_FIELDS = re.compile(r"^(?:Final|Original)-Recipient:", re.MULTILINE | re.IGNORECASE)
_WARNS = re.compile(r"delay|warning|verzöger|retard|задерж", re.IGNORECASE)

_KINDS: Mapping[str, Kind] = {
    # The values of Action, and what servers write in their place.
    "fail": Kind.BOUNCED,
    "error": Kind.BOUNCED,
    "bounce": Kind.BOUNCED,
    "delay": Kind.DEFERRED,
    "deliver": Kind.DELIVERED,
    "relay": Kind.DELIVERED,  # handed to a system that sends no reports
    "expand": Kind.DELIVERED,  # a list took it
}


def read_report(mail: Mail) -> list[Finding]:
    """Return what a report says of each recipient; nothing where the mail is none."""
    groups = [group for group in _groups(mail) if any(group.get(name) for name in _RECIPIENT_FIELDS)]
    named = [address for group in groups[:MOST_RECIPIENTS] for address in _names(group)]
    told = Told.of(mail.text)
    found = [_finding(group, mail, told, named, alone=len(groups) == 1) for group in groups[:MOST_RECIPIENTS]]
    return [finding for finding in found if finding is not None]


def _names(group: Headers) -> list[str]:
    """Return what a group calls its recipient, the address that was written to first."""
    fields = ("original-recipient", "final-recipient", "x-actual-recipient")
    return unique(address for name in fields if (address := field_address(group.get(name))))


def _groups(mail: Mail) -> Iterator[Headers]:
    """Give the groups of fields of every report in the mail.

    Some gateways show the report as text, others lose the part's type on the way.
    """
    texts = [part.text for part in mail.parts if part.kind in _REPORTS]
    if not any(_HAS_FIELDS.search(text) for text in texts):
        texts += [part.text for part in mail.parts if part.kind.startswith("text/")]
    for text in texts:
        if _HAS_FIELDS.search(text):
            for group in groups_in(text):
                yield from _parted(group)


def _parted(group: Headers) -> Iterator[Headers]:
    """Part a group that tells of several recipients without blank lines between them (AOL)."""
    start = 0
    names = [name for name, _ in group.rows]
    for place, name in enumerate(names):
        if name in ("final-recipient", "original-recipient") and name in names[start:place]:
            yield Headers(group.rows[start:place])
            start = place
    yield Headers(group.rows[start:])


def _finding(group: Headers, mail: Mail, told: Told, named: list[str], *, alone: bool) -> Finding | None:
    final = field_address(group.get("final-recipient"))
    names = _names(group)
    recipient = names[0] if names else None
    if recipient is None and alone:
        # A pipe, a file, a local name: whom the returned mail went to says who that is.
        went_to = header_addresses(*mail.original.all("to"))
        recipient = went_to[0] if len(went_to) == 1 else None
    status = best_status(statuses_in(group.get("status")))
    kind = _kind(group.get("action"), status, mail.headers.words("subject"))
    if kind is None:
        return None
    more = {"action": group.get("action")[:40]}
    if final and recipient and final.lower() != recipient.lower():
        more["final_recipient"] = final
    if group.get("remote-mta"):
        more["remote"] = one_line(group.get("remote-mta").partition(";")[2] or group.get("remote-mta"))[:200]
    label, _, rest = group.get("diagnostic-code").partition(";")
    diagnosis = (rest if _FIELD_TYPE.fullmatch(label) else group.get("diagnostic-code")).strip()
    if kind is Kind.DELIVERED:
        return Finding(kind, "dsn", recipient, status=status, text=one_line(diagnosis), more=more)
    said = read_reply(diagnosis)
    beside, shown = read_prose(told, names, [name for name in named if name not in names])
    # Beside a reply without a status code, a vague one of policy is the reporting server's own guess at it.
    guessed = bool(said.code and not said.statuses and status and status[2:4] in ("7.", "2."))
    own = None if status is None or (guessed and not meaning(status[2:])[1]) else status
    candidates = said.statuses + ((own,) if own else ()) + beside.statuses
    verdict = judge(
        Reply(said.code or beside.code, step=beside.step or said.step),
        candidates,
        [diagnosis, group.get("status").partition("(")[2], *shown],
        final or recipient,
    )
    return Finding(
        kind,
        "dsn",
        recipient,
        verdict,
        best_status(candidates),
        one_line(diagnosis or beside.words.strip().partition("\n\n")[0]),
        more,
    )


def _kind(action: str, status: str | None, subject: str) -> Kind | None:
    """Return what happened: by Action, else by the status code's class; None where neither is there."""
    action = action.strip().lower()
    found = next((kind for word, kind in _KINDS.items() if action.startswith(word)), None)
    if found is not None:
        return found
    match (status or "")[:1]:
        case "2":
            return Kind.DELIVERED
        case "4":
            return Kind.DEFERRED if _WARNS.search(subject) else Kind.BOUNCED
        case "5":
            return Kind.BOUNCED
    return None
