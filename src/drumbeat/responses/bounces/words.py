"""The rules of words.yaml, read once: what mail servers' words mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from drumbeat.document import parse_document
from drumbeat.responses.reasons import BounceReason


@dataclass(frozen=True)
class Rule:
    """Words that give a reason. `name` is shown by `drumbeat bounces --explain`.

    `besides`: subject and detail of the status code that they must stand beside; None: of any, or none.
    """

    name: str
    reason: BounceReason
    words: re.Pattern[str]
    besides: str | None = None


@dataclass(frozen=True)
class Words:
    """The rules by when they are asked; see words.yaml."""

    contradicting: Sequence[Rule]
    telling: Sequence[Rule]
    little: Sequence[Rule]
    carriers: frozenset[str]

    def is_carrier(self, host: str) -> bool:
        """Say whether a host or domain is one that says "user unknown" of filtered mail too."""
        host = host.lower().rstrip(".")
        return any(host == known or host.endswith(f".{known}") for known in self.carriers)

    def named(self, name: str) -> Rule:
        """Return a rule by its name."""
        return next(rule for rule in (*self.contradicting, *self.telling, *self.little) if rule.name == name)


@cache
def known_words() -> Words:
    """Return the rules that come with Drumbeat."""
    text = files("drumbeat.responses.bounces").joinpath("words.yaml").read_text(encoding="utf-8")
    tables = parse_document(text, Path("words.yaml")).value
    carriers = frozenset(tables.pop("carriers"))
    return Words(
        **{name: tuple(_rule(**entry) for entry in entries) for name, entries in tables.items()},
        carriers=carriers,
    )


def _rule(rule: str, reason: str, words: list[str], besides: str | None = None) -> Rule:
    return Rule(rule, BounceReason(reason), re.compile("|".join(f"(?:{word})" for word in words)), besides)


def first(rules: Sequence[Rule], text: str, detail: str) -> Rule | None:
    """Return the first rule that is found in a plain text, beside a status code's subject and detail."""
    return next((rule for rule in rules if rule.besides in (None, detail) and rule.words.search(text)), None)
