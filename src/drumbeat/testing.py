"""Fakes for tests of your own project and of Drumbeat: a backend that plays a script and remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drumbeat.delivery import Answer, Begin, Done, Mail, Note, Outcome
from drumbeat.errors import DeliveryError

__all__ = ["RecordingBackend"]


@dataclass
class RecordingBackend:
    """A backend that accepts every mail and keeps it in `accepted`, unless told otherwise.

    `script`: answers given one after the other, then everything is accepted. `by_address`: the answer for
    an address, always. REFUSED and DEFERRED come before `begin`, as at RCPT; with
    `late=True` after it, as at the final dot. UNCERTAIN always comes after it. `unusable`: the text of a
    DeliveryError that `open` raises. `unusable_after`: after how many hand-overs it is raised. `before_each`
    is called before anything else at each hand-over.
    """

    script: Iterable[Outcome] = ()
    by_address: Mapping[str, Outcome] = field(default_factory=dict)
    late: bool = False
    unusable: str | None = None
    unusable_after: int = 0
    before_each: Callable[[Any], None] | None = None
    accepted: list[Any] = field(default_factory=list)
    tried: list[Any] = field(default_factory=list)
    name: str = "recording"
    eight_bit: bool = False
    is_open: bool = False

    def __post_init__(self) -> None:
        self._script = iter(self.script)

    @property
    def addresses(self) -> list[str]:
        """The recipients of the accepted mails, in the order they were handed over."""
        return [_to(parcel) for parcel in self.accepted]

    def open(self) -> None:
        """Get ready. Raises DeliveryError where the fake is told to be unusable."""
        self._check()
        self.is_open = True

    def hand_over(self, parcels: Sequence[Mail | Note], begin: Begin, done: Done) -> None:
        """Play the script, one mail after the other."""
        for mail in parcels:
            self._check()
            done(mail, self._one(mail, begin))

    def _one(self, mail: Mail | Note, begin: Begin) -> Answer:
        self.tried.append(mail)
        if self.before_each is not None:
            self.before_each(mail)
        outcome = self.by_address.get(_to(mail)) or next(self._script, Outcome.ACCEPTED)
        if outcome in (Outcome.REFUSED, Outcome.DEFERRED) and not self.late:
            return Answer(outcome, f"{outcome} by the script")
        if not begin(mail):
            return Answer(Outcome.WITHDRAWN, "withdrawn")
        if outcome is Outcome.ACCEPTED:
            self.accepted.append(mail)
        return Answer(outcome, f"{outcome} by the script")

    def close(self) -> None:
        """Note that it was closed."""
        self.is_open = False

    def _check(self) -> None:
        if self.unusable is not None and len(self.tried) >= self.unusable_after:
            raise DeliveryError(self.unusable)


def _to(parcel: Mail | Note) -> str:
    return parcel.envelope_to if isinstance(parcel, Mail) else parcel.to
