"""Tell readers from machines by what one request looks like. What only several tell: responses.evidence.

The rules stand in machines.yaml beside this file; a project's own `machines.yaml` has the same form, and its
rules are asked first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from drumbeat.document import Document, parse_document, read_document
from drumbeat.errors import ProjectError, UsageError
from drumbeat.issues import Issue
from drumbeat.project.faults import issues_of
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.networks import Networks
from drumbeat.settings import Model, Name

FILE = "machines.yaml"
"""In the project's folder: its own rules."""


class Rule(Model):
    """One entry of machines.yaml; see there. All conditions that are given must hold."""

    rule: Name
    actor: Actor = Field(alias="class")
    kind: Kind | None = None
    method: str | None = None
    agent_is: str | None = None
    agent_contains: tuple[str, ...] = ()
    header: dict[str, str] = Field(default_factory=dict)
    network: tuple[str, ...] = ()
    network_file: str | None = None
    source: str | None = Field(None, description="Where this is known from")


class _Ready:
    """A rule in the form in which it is asked: letters made small, networks read."""

    def __init__(self, rule: Rule, root: Path | None) -> None:
        self.actor, self.name = rule.actor, rule.rule
        self.kind, self.method, self.agent_is = rule.kind, rule.method, rule.agent_is
        self.parts = tuple(part.lower() for part in rule.agent_contains)
        self.header = tuple(sorted((name.lower(), value) for name, value in rule.header.items()))
        self.networked = bool(rule.network or rule.network_file)
        self.networks = Networks([*rule.network, *_listed(rule.network_file, root)])

    def fits(self, kind: Kind, method: str, agent: str, headers: Mapping[str, str], ip: str) -> bool:
        return (
            (self.kind is None or self.kind is kind)
            and (self.method is None or self.method == method)
            and (self.agent_is is None or self.agent_is == agent)
            and (not self.parts or any(part in agent.lower() for part in self.parts))
            and all(headers.get(name) == value for name, value in self.header)
            and (not self.networked or ip in self.networks)
        )


class Machines:
    """The rules, in the order in which they are asked. `root`: where files of networks are.

    Raises UsageError for a network, or a file of them, that cannot be read.
    """

    def __init__(self, rules: Iterable[Rule], root: Path | None = None) -> None:
        self._rules = [_Ready(rule, root) for rule in rules]
        # What a provider leaves out says nothing: no rule about the request itself, nor of an agent that is not there.
        self._told = [
            rule
            for rule in self._rules
            if (rule.parts or rule.agent_is or rule.networked) and rule.method is None and not rule.header
        ]
        self.headers = frozenset(name for rule in self._rules for name, _ in rule.header) | {"user-agent"}
        """The headers that a rule looks at, names in small letters."""
        # Agents repeat: asked anew each time the rules cost 12 µs, remembered 1.
        self._judged = lru_cache(maxsize=8192)(self._ask)

    def judge(self, kind: Kind, method: str, headers: Mapping[str, str], ip: str = "") -> tuple[Actor, str]:
        """Return who most likely sent a request, and the name of the rule that says so ('' where none fits).

        `headers`: names in small letters. `ip`: the caller's address; it is remembered for no longer than
        some thousand requests, in memory alone.
        """
        seen = tuple(sorted((name, headers[name]) for name in self.headers if name in headers))
        return self._judged(kind, method, seen, ip)

    def judge_told(self, kind: Kind, agent: str | None, ip: str | None) -> tuple[Actor, str]:
        """Judge an open or click that a provider tells of: not how it was asked for, at most by whom."""
        for rule in self._told:
            if rule.fits(kind, "", (agent or "").strip(), {}, ip or ""):
                return rule.actor, rule.name
        return Actor.UNKNOWN, ""

    def _ask(self, kind: Kind, method: str, seen: tuple[tuple[str, str], ...], ip: str) -> tuple[Actor, str]:
        headers = dict(seen)
        agent = headers.get("user-agent", "").strip()
        for rule in self._rules:
            if rule.fits(kind, method, agent, headers, ip):
                return rule.actor, rule.name
        return Actor.UNKNOWN, ""


@cache
def rules() -> tuple[Rule, ...]:
    """Return the rules that come with Drumbeat, in order."""
    text = files("drumbeat.responses").joinpath(FILE).read_text(encoding="utf-8")
    return _read(parse_document(text, Path(FILE)))


@cache
def shipped() -> Machines:
    """Return the rules that come with Drumbeat, ready to be asked."""
    return Machines(rules())


def judge(kind: Kind, method: str, headers: Mapping[str, str], ip: str = "") -> tuple[Actor, str]:
    """Judge by the rules that come with Drumbeat alone."""
    return shipped().judge(kind, method, headers, ip)


def load_machines(root: Path) -> Machines:
    """Return the project's own rules, where it has some, followed by ours. Raises ProjectError."""
    path = root / FILE
    if not path.exists():
        return shipped()
    document = read_document(path, shown_as=Path(FILE))
    own = _read(document)
    faults = []
    for place, rule in enumerate(own):
        try:
            _Ready(rule, root)
        except UsageError as error:
            faults.append(Issue(document.place((place,)), "DB070", f"{rule.rule}: {error}."))
    if faults:
        raise ProjectError(faults)
    return Machines([*own, *rules()], root)


def _read(document: Document) -> tuple[Rule, ...]:
    if not isinstance(document.value, list):
        raise ProjectError(
            [Issue(document.place(), "DB020", "the file: expected a list of rules, such as [{rule: ...}].")]
        )
    found: list[Rule] = []
    faults: list[Issue] = []
    for place, entry in enumerate(document.value):
        try:
            found.append(Rule.model_validate(entry))
        except ValidationError as error:
            faults += issues_of(error, Rule, document, (place,))
    if faults:
        raise ProjectError(faults)
    return tuple(found)


def _listed(file: str | None, root: Path | None) -> Sequence[str]:
    """Return the networks of a file: the first column of each line; blank lines and # are left out."""
    if file is None:
        return ()
    try:
        lines = ((root or Path()) / file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read {file}: {_words(error)}") from None
    entries = (line.partition("#")[0].partition(",")[0].strip() for line in lines)
    return [entry for entry in entries if entry]


def _words(error: Any) -> str:
    return getattr(error, "strerror", None) or "it is not UTF-8 text"
