"""What suppression lists look like: which column holds what, told by the names in the first line.

A table by hand. To read a further tool's export, add a Shape with the names that only it has. Names are compared
without case, blanks and signs: `Email Address` and `email_address` are one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drumbeat.issues import nearest

COLUMNS = ("address", "topic", "reason", "at", "source")
"""Our own list: what is exported, and imported again unchanged."""


@dataclass(frozen=True)
class Shape:
    """A list of one tool. `needs`: names by which it is told; the others: which column holds what, if any does.

    `usual`: the reason of rows that name none. A column of the mail server's
    own text is no `reason`.
    """

    name: str
    needs: frozenset[str]
    address: str
    at: str | None = None
    reason: str | None = None
    topic: str | None = None
    source: str | None = None
    usual: str | None = None


def _shape(name: str, needs: str, address: str, **columns: str | None) -> Shape:
    return Shape(name, frozenset(needs.split()), address, **columns)


SHAPES = (
    _shape(
        "drumbeat",
        "address topic reason at source",
        "address",
        at="at",
        reason="reason",
        topic="topic",
        source="source",
    ),
    _shape(
        "mailchimp unsubscribed",
        "emailaddress unsubtime",
        "emailaddress",
        at="unsubtime",
        usual="unsubscribed",
    ),
    _shape("mailchimp cleaned", "emailaddress cleantime", "emailaddress", at="cleantime", usual="bounced"),
    # Its list of blocks (refused for a while) has the same columns: that one is not to be imported.
    _shape("sendgrid bounces", "email status reason created", "email", at="created", usual="bounced"),
    _shape("sendgrid spam reports", "email ip created", "email", at="created", usual="complained"),
    _shape("sendgrid invalid emails", "email reason created", "email", at="created", usual="bounced"),
    _shape("sendgrid unsubscribes", "email created", "email", at="created", usual="unsubscribed"),
    _shape(
        "postmark",
        "emailaddress suppressionreason",
        "emailaddress",
        at="createdat",
        reason="suppressionreason",
        source="origin",
    ),
    _shape("amazon ses", "emailaddress reason", "emailaddress", at="lastupdatetime", reason="reason"),
    _shape("mailgun bounces", "address code error createdat", "address", at="createdat", usual="bounced"),
    _shape("mailgun unsubscribes", "address tags createdat", "address", at="createdat", usual="unsubscribed"),
    _shape("mailgun complaints", "address createdat", "address", at="createdat", usual="complained"),
)
"""Told in this order: the first whose names are all there."""

ADDRESS = ("address", "email", "emailaddress", "mail", "recipient", "domain")
AT = ("at", "date", "time", "timestamp", "createdat", "created", "suppressedat", "unsubscribedat")
REASON = ("reason", "suppressionreason", "type")

REASONS: Mapping[str, str] = {
    "unsubscribed": "unsubscribed",
    "unsubscribe": "unsubscribed",
    "optout": "unsubscribed",
    "optedout": "unsubscribed",
    "listunsubscribe": "unsubscribed",
    "manual": "manual",
    "manualsuppression": "manual",
    "usersuppressed": "manual",
    "complained": "complained",
    "complaint": "complained",
    "spam": "complained",
    "spamcomplaint": "complained",
    "spamreport": "complained",
    "abuse": "complained",
    "bounced": "bounced",
    "bounce": "bounced",
    "hard": "bounced",
    "hardbounce": "bounced",
    "permanent": "bounced",
    "cleaned": "bounced",
    "invalid": "bounced",
    "invalidemail": "bounced",
    "erased": "erased",
}
"""What tools call a reason, and what it is here."""

SOFT = frozenset({"soft", "softbounce", "transient", "blocked", "block", "deferred"})
"""What says that an address failed this time; no reason to give it up."""


def plain_name(name: str) -> str:
    """Return a column's name, or a reason, as it is compared."""
    return re.sub(r"[\W_]+", "", name).lower()


def shape_of(header: Sequence[str]) -> Shape | None:
    """Return the shape of a list with this first line; None where it names no column with addresses."""
    names = [plain_name(name) for name in header]
    for shape in SHAPES:
        if shape.needs <= set(names):
            return shape
    address = _first(names, ADDRESS)
    if address is None:
        return None
    return Shape(
        "a list",
        frozenset({address}),
        address,
        at=_first(names, AT),
        reason=_first(names, REASON),
        topic=_first(names, ("topic",)),
        source=_first(names, ("source", "origin")),
    )


def _first(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def read_reason(word: str) -> str:
    """Return our reason for a tool's word. Raises ValueError for a soft bounce and for what is not known."""
    name = plain_name(word)
    if name in SOFT:
        raise ValueError(f"'{word}' says that a mail failed once, not that the address is dead")
    if name not in REASONS:
        raise ValueError(f"unknown reason '{word}'. {nearest(name, REASONS)}")
    return REASONS[name]
