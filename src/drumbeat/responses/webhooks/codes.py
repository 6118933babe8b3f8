"""Why a mail was refused, by the enhanced status code alone, for providers that pass on no more than that.

The codes are those of RFC 3463 and its registry; of each only subject and detail count, `1.1` of `5.1.1`.
"""

from __future__ import annotations

from collections.abc import Mapping

from drumbeat.responses.reasons import BounceReason

BY_DETAIL: Mapping[str, BounceReason] = {
    "1.1": BounceReason.USER_UNKNOWN,
    "1.2": BounceReason.HOST_UNKNOWN,
    "1.3": BounceReason.USER_UNKNOWN,
    "1.6": BounceReason.HAS_MOVED,
    "1.10": BounceReason.NOT_ACCEPTING,
    "1.8": BounceReason.REJECTED,
    "2.1": BounceReason.SUSPENDED,
    "2.2": BounceReason.MAILBOX_FULL,
    "2.3": BounceReason.MESSAGE_TOO_BIG,
    "3.4": BounceReason.MESSAGE_TOO_BIG,
    "4.7": BounceReason.EXPIRED,
    "7.20": BounceReason.AUTHENTICATION,
    "7.23": BounceReason.AUTHENTICATION,
    "7.25": BounceReason.BLOCKED,
    "7.26": BounceReason.AUTHENTICATION,
    "7.28": BounceReason.RATE_LIMITED,
    "7.515": BounceReason.AUTHENTICATION,  # Microsoft's rules for bulk senders
}

BY_SUBJECT: Mapping[str, BounceReason] = {
    "3": BounceReason.SYSTEM,
    "4": BounceReason.NETWORK,
    "6": BounceReason.CONTENT,
    "7": BounceReason.POLICY,
}


def exact_reason_of(status: str | None) -> BounceReason | None:
    """Return what `status` says is wrong, where it names one thing."""
    return BY_DETAIL.get((status or "").partition(".")[2])


def reason_of(status: str | None) -> BounceReason | None:
    """Return what `status` says is wrong, if only roughly; None where it says nothing."""
    subject = (status or "").partition(".")[2].partition(".")[0]
    return exact_reason_of(status) or BY_SUBJECT.get(subject)
