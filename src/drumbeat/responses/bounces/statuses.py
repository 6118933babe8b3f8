"""What enhanced status codes mean (RFC 3463 and the IANA registry "SMTP Enhanced Status Codes").

Only subject and detail stand here; the class (2 success, 4 for now, 5 for good) is judged apart. EXACT codes
say what is wrong, whatever words follow, save those in words.CONTRADICTING. VAGUE ones are the "other or
undefined" of their subject, or are sent by servers for anything at all; words are asked before them.
"""

from __future__ import annotations

from collections.abc import Mapping

from drumbeat.responses.reasons import BounceReason as R

EXACT: Mapping[str, R] = {
    # Addresses
    "1.1": R.USER_UNKNOWN,  # bad destination mailbox address
    "1.2": R.HOST_UNKNOWN,  # bad destination system address
    "1.3": R.USER_UNKNOWN,  # bad destination mailbox address syntax: such a mailbox cannot exist
    "1.6": R.HAS_MOVED,  # the mailbox has moved, no forwarding address
    "1.7": R.REJECTED,  # bad sender's mailbox address syntax
    "1.8": R.REJECTED,  # bad sender's system address
    # RFC 7505 has 1.10 for a null MX; Exchange Online says 5.1.10 of mailboxes that do not exist. Both are
    # dead addresses, and the words tell them apart.
    "1.10": R.NOT_ACCEPTING,
    # Mailboxes
    "2.1": R.SUSPENDED,  # mailbox disabled, not accepting messages
    "2.2": R.MAILBOX_FULL,
    "2.3": R.MESSAGE_TOO_BIG,  # longer than the mailbox takes
    "2.4": R.SYSTEM,  # a mailing list could not be expanded
    # The system behind the address
    "3.1": R.SYSTEM,  # its disks are full
    "3.2": R.SYSTEM,  # it takes no mail at the moment
    "3.4": R.MESSAGE_TOO_BIG,
    "3.5": R.SYSTEM,  # it is not set up rightly
    "3.6": R.SYSTEM,  # priority changed (RFC 6710)
    # Network and routing
    "4.1": R.NETWORK,  # no answer from the host
    "4.2": R.NETWORK,  # the connection broke
    "4.3": R.NETWORK,  # the directory (DNS) failed
    "4.4": R.NETWORK,  # unable to route
    "4.5": R.RATE_LIMITED,  # congestion
    "4.6": R.NETWORK,  # a loop
    # Protocol
    "5.3": R.RATE_LIMITED,  # too many recipients
    "5.6": R.PROTOCOL,  # authentication exchange line too long (RFC 4954)
    # The message itself
    "6.1": R.CONTENT,  # media not supported
    "6.2": R.CONTENT,  # conversion required and prohibited
    "6.3": R.CONTENT,
    "6.4": R.CONTENT,
    "6.5": R.CONTENT,
    "6.6": R.CONTENT,
    "6.7": R.CONTENT,  # non-ASCII addresses not permitted (RFC 6531)
    "6.8": R.CONTENT,
    "6.9": R.CONTENT,
    "6.10": R.CONTENT,
    # Security and policy
    "7.2": R.POLICY,  # mailing list expansion prohibited
    "7.8": R.POLICY,  # credentials invalid (RFC 4954)
    "7.9": R.POLICY,  # authentication mechanism too weak
    "7.10": R.POLICY,  # encryption needed
    "7.11": R.POLICY,
    "7.12": R.POLICY,
    "7.13": R.SUSPENDED,  # user account disabled (RFC 5248)
    "7.14": R.POLICY,  # trust relationship required
    "7.17": R.HAS_MOVED,  # the mailbox has another owner since (RFC 7293)
    "7.18": R.HAS_MOVED,  # the domain has another owner since (RFC 7293)
    "7.20": R.AUTHENTICATION,  # no passing DKIM signature (RFC 7372)
    "7.21": R.AUTHENTICATION,
    "7.22": R.AUTHENTICATION,
    "7.23": R.AUTHENTICATION,  # SPF failed
    "7.24": R.AUTHENTICATION,
    "7.25": R.BLOCKED,  # reverse DNS failed
    "7.26": R.AUTHENTICATION,  # several checks failed
    "7.27": R.REJECTED,  # the sender's domain has a null MX (RFC 7505)
    "7.28": R.RATE_LIMITED,  # a mail flood
    "7.29": R.AUTHENTICATION,  # ARC failed
    "7.30": R.POLICY,  # REQUIRETLS needed
    # Microsoft's, as its pages on NDR codes list them
    "1.351": R.USER_UNKNOWN,  # the next server does not know the recipient
    "7.64": R.RELAYING_DENIED,
    "7.509": R.AUTHENTICATION,  # DMARC
    "7.515": R.AUTHENTICATION,  # the rules for bulk senders of May 2025
    "7.606": R.BLOCKED,  # banned sending IP; up to 649
    "7.750": R.RATE_LIMITED,
}

VAGUE: Mapping[str, R] = {
    "1.0": R.USER_UNKNOWN,
    "1.4": R.USER_UNKNOWN,  # ambiguous
    "1.5": R.OTHER,  # valid: a code of success
    "1.9": R.CONTENT,  # relayed to a mailer that does not know the protocol (RFC 3886)
    "2.0": R.FILTERED,
    "3.0": R.SYSTEM,
    "3.3": R.SYSTEM,  # cannot do what was asked
    "4.0": R.NETWORK,
    "4.7": R.EXPIRED,  # the time to deliver ran out: how it ended; words may tell why
    "5.0": R.PROTOCOL,
    "5.1": R.PROTOCOL,  # invalid command
    "5.2": R.PROTOCOL,  # syntax
    "5.4": R.PROTOCOL,  # invalid arguments
    "5.5": R.PROTOCOL,  # wrong version
    "6.0": R.CONTENT,
    "7.0": R.POLICY,
    "7.1": R.POLICY,  # delivery not authorised: the code that servers send for anything
    "7.3": R.POLICY,
    "7.4": R.POLICY,
    "7.5": R.POLICY,
    "7.6": R.POLICY,
    "7.7": R.CONTENT,  # message integrity failure
}


def meaning(detail: str) -> tuple[R | None, bool]:
    """Return what `subject.detail` means, and whether exactly; (None, False) for one that is not known."""
    if detail in EXACT:
        return EXACT[detail], True
    if detail.startswith("7.6") and len(detail) == 5:
        return R.BLOCKED, True  # 5.7.606 to 5.7.649 and their neighbours: Microsoft's lists of senders
    return VAGUE.get(detail), False
