"""Two hundred and twenty-nine real mails: how often Drumbeat and Sisimai say the same, and why not where not.

`expected.json` comes with the set: what Sisimai's own tests expect for each recipient. Their addresses stand in
`addresses.json` here: what Sisimai 5.1.0p3, run over the set, finds (its verdicts are those of expected.json, all
237 of them). `differences.yaml` explains every difference.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from drumbeat.responses.bounces import read_mail
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event

AT_LEAST = 0.95

REASONS: Mapping[str, str] = {
    # Sisimai's reason: ours that means the same.
    "authfailure": "authentication",
    "blocked": "blocked",
    "contenterror": "content",
    "exceedlimit": "message_too_big",
    "expired": "expired",
    "filtered": "filtered",
    "hasmoved": "has_moved",
    "hostunknown": "host_unknown",
    "mailboxfull": "mailbox_full",
    "networkerror": "network",
    "norelaying": "relaying_denied",
    "notaccept": "not_accepting",
    "notcompliantrfc": "content",
    "policyviolation": "policy",
    "rejected": "rejected",
    "requireptr": "blocked",
    "securityerror": "policy",
    "spamdetected": "spam",
    "speeding": "rate_limited",
    "suspend": "suspended",
    "syntaxerror": "protocol",
    "systemerror": "system",
    "undefined": "other",
    "userunknown": "user_unknown",
    "virusdetected": "virus",
}
KINDS: Mapping[str, Kind] = {"vacation": Kind.AUTORESPONDED, "delivered": Kind.DELIVERED}
FEEDBACK: Mapping[str, Kind] = {
    "abuse": Kind.COMPLAINED,
    "auth-failure": Kind.UNKNOWN,
    "opt-out": Kind.UNSUBSCRIBED,
}


@dataclass(frozen=True)
class Compared:
    """One recipient of one mail."""

    name: str
    reason: str
    address: bool
    hard: bool
    same_reason: bool
    ours: str

    @property
    def differs(self) -> list[str]:
        """What is not the same."""
        facts = {"address": self.address, "hard": self.hard, "reason": self.same_reason}
        return [fact for fact, same in facts.items() if not same]


def compare(name: str, address: str, theirs: Mapping[str, Any], event: Event | None) -> Compared:
    """Compare what is said of one recipient."""
    if event is None:
        return Compared(name, theirs["reason"], False, not theirs["hard"], False, "nothing")
    reason, ours = theirs["reason"], event.reason or str(event.kind)
    if reason == "feedback":
        same = event.kind is FEEDBACK[theirs["feedback_type"]]
    elif reason in KINDS:
        same = event.kind is KINDS[reason]
    else:
        same = event.kind in (Kind.BOUNCED, Kind.DEFERRED) and event.reason == REASONS[reason]
    return Compared(
        name,
        reason,
        (event.recipient or "").lower() == address.lower(),
        (event.bounce == "hard") == theirs["hard"],
        same,
        ours,
    )


def pairs(events: Sequence[Event], addresses: Sequence[str]) -> Iterator[Event | None]:
    """Give the event for each address: the one that names it, else the next that is left."""
    left = list(events)
    for address in addresses:
        named = [e for e in left if address.lower() in (e.recipient, e.raw.get("final_recipient"))]
        found = next(iter(named or left), None)
        if found is not None:
            left.remove(found)
        yield found


@pytest.fixture(scope="module")
def compared(shared: Path, here: Path) -> list[Compared]:
    """Every recipient of the set."""
    expected = json.loads((shared / "expected.json").read_text(encoding="utf-8"))
    addresses = json.loads((here / "addresses.json").read_text(encoding="utf-8"))
    now = datetime.fromisoformat("2026-11-01T12:00:00+00:00")
    return [
        compare(name, address, theirs, event)
        for name, all_of_them in expected.items()
        for events in [read_mail((shared / "messages" / name).read_bytes(), now)]
        for address, theirs, event in zip(
            addresses[name], all_of_them, pairs(events, addresses[name]), strict=True
        )
    ]


def test_agreement_is_reported_by_reason(compared: list[Compared], show_table: Callable[[str], None]) -> None:
    by_reason: dict[str, list[Compared]] = defaultdict(list)
    for one in compared:
        by_reason[one.reason].append(one)
    rows = ["Sisimai's reason   recipients  address  hard/soft  reason   ours where it differs"]
    for reason, ones in [*sorted(by_reason.items()), ("all", compared)]:
        others = Counter(one.ours for one in ones if not one.same_reason)
        shown = "" if reason == "all" else ", ".join(f"{ours} {n}" for ours, n in others.most_common())
        rows.append(
            f"{reason:<18} {len(ones):>10}  {sum(one.address for one in ones):>7}  "
            f"{sum(one.hard for one in ones):>9}  {sum(one.same_reason for one in ones):>6}   {shown}".rstrip()
        )
    show_table(
        f"Bounces: agreement with Sisimai on {len({c.name for c in compared})} mails\n" + "\n".join(rows)
    )
    assert len(compared) == 237


@pytest.mark.parametrize("fact", ["address", "hard"])
def test_ninety_five_of_a_hundred_agree(compared: list[Compared], fact: str) -> None:
    """On the recipient's address, and on hard against soft."""
    same = sum(getattr(one, fact) for one in compared)
    assert same >= AT_LEAST * len(compared), [one.name for one in compared if not getattr(one, fact)]


def test_every_difference_is_explained_and_every_explanation_holds(
    compared: list[Compared], here: Path
) -> None:
    """One line in differences.yaml for each mail: what differs, what ours is, and why."""
    explained = yaml.safe_load((here / "differences.yaml").read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = {}
    for one in compared:
        if one.differs and one.name not in found:
            found[one.name] = {"differs": one.differs, "ours": one.ours}
    stated = {name: {"differs": why["differs"], "ours": why["ours"]} for name, why in explained.items()}
    assert found == stated
    assert all(len(why["because"]) > 30 for why in explained.values())
