"""The kinds of response, each with its meaning. What a provider calls it is mapped to one of these.

The words are those of django-anymail's normalised tracking events (https://anymail.dev), so that whoever
knows one knows the other. What no mapping knows is kept as `unknown`, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What happened to a message after it was handed over."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    BOUNCED = "bounced"
    FAILED = "failed"
    AUTORESPONDED = "autoresponded"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SUBSCRIBED = "subscribed"
    UNKNOWN = "unknown"


MEANING: Mapping[Kind, str] = {
    Kind.QUEUED: "the provider took the mail and will send it",
    Kind.SENT: "the provider sent the mail on; what the reader's mail server said is not known yet",
    Kind.DELIVERED: "the reader's mail server took the mail; it may still end in the junk folder",
    Kind.DEFERRED: "the reader's mail server asked to wait; the provider goes on trying",
    Kind.REJECTED: "the provider took the mail and then chose not to send it on",
    Kind.BOUNCED: "the reader's mail server refused the mail; a hard bounce says that the address is dead",
    Kind.FAILED: "the provider could not send the mail, for a reason of ours or its own",
    Kind.AUTORESPONDED: "a machine answered for the reader, such as an out-of-office note",
    Kind.OPENED: "the mail's pictures were fetched, by the reader or by a machine on the way",
    Kind.CLICKED: "a link of the mail was followed, by the reader or by a machine on the way",
    Kind.COMPLAINED: "the reader reported the mail as spam",
    Kind.UNSUBSCRIBED: "the reader asked for no more marketing mail",
    Kind.SUBSCRIBED: "the reader asked for mail again",
    Kind.UNKNOWN: "something Drumbeat has no word for; the provider's own words are in `raw`",
}
"""Every kind in one line."""


class Actor(StrEnum):
    """Who most likely caused a response: the column `class`. A judgement by rule, not a fact."""

    HUMAN = "human"  # signs that only a reader at a screen leaves
    MACHINE = "machine"  # a scanner, prefetcher or preview
    UNKNOWN = "unknown"  # nothing speaks for either; reports count it with the humans
