"""Why a mail came back: one vocabulary for bounces, refusals and providers' events, each with its meaning.

HARD says which of them mean that the address is dead, so that it is suppressed at once; the others are soft.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class BounceReason(StrEnum):
    """What the receiving side had against it."""

    USER_UNKNOWN = "user_unknown"
    HOST_UNKNOWN = "host_unknown"
    HAS_MOVED = "has_moved"
    NOT_ACCEPTING = "not_accepting"
    SUSPENDED = "suspended"
    MAILBOX_FULL = "mailbox_full"
    FILTERED = "filtered"
    SPAM = "spam"
    VIRUS = "virus"
    BLOCKED = "blocked"
    POLICY = "policy"
    AUTHENTICATION = "authentication"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    RELAYING_DENIED = "relaying_denied"
    MESSAGE_TOO_BIG = "message_too_big"
    CONTENT = "content"
    NETWORK = "network"
    PROTOCOL = "protocol"
    SYSTEM = "system"
    EXPIRED = "expired"
    UNSUBSCRIBED = "unsubscribed"
    OTHER = "other"


MEANING: Mapping[BounceReason, str] = {
    BounceReason.USER_UNKNOWN: "there is no such mailbox",
    BounceReason.HOST_UNKNOWN: "there is no such domain, or it has no mail server",
    BounceReason.HAS_MOVED: "the mailbox has moved to another address",
    BounceReason.NOT_ACCEPTING: "the domain or host takes no mail at all (null MX, RFC 7505)",
    BounceReason.SUSPENDED: "the mailbox is switched off for now",
    BounceReason.MAILBOX_FULL: "the mailbox is full",
    BounceReason.FILTERED: "the reader's own rules refused it, or the server says no more than that",
    BounceReason.SPAM: "it was taken for spam",
    BounceReason.VIRUS: "it was taken for malware",
    BounceReason.BLOCKED: "our server's address, name or reputation is refused",
    BounceReason.POLICY: "the receiving side's policy refuses it",
    BounceReason.AUTHENTICATION: "SPF, DKIM or DMARC failed",
    BounceReason.REJECTED: "our sender address is refused",
    BounceReason.RATE_LIMITED: "too many mails or connections in too short a time",
    BounceReason.RELAYING_DENIED: "the server does not take mail for that domain",
    BounceReason.MESSAGE_TOO_BIG: "it is larger than the mailbox or server takes",
    BounceReason.CONTENT: "the message's form is refused",
    BounceReason.NETWORK: "the receiving server could not be reached, or routing loops",
    BounceReason.PROTOCOL: "the two mail servers did not understand each other",
    BounceReason.SYSTEM: "the receiving server has a fault of its own",
    BounceReason.EXPIRED: "it could not be handed on in time",
    BounceReason.UNSUBSCRIBED: "the provider keeps the address on its own list of refusals",
    BounceReason.OTHER: "nothing that is known here",
}
"""Every reason in one line."""

HARD = frozenset(
    {
        BounceReason.USER_UNKNOWN,
        BounceReason.HOST_UNKNOWN,
        BounceReason.HAS_MOVED,
        BounceReason.NOT_ACCEPTING,
    }
)
"""The address is dead."""
