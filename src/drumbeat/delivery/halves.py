"""A batch that the provider refused as a whole is halved until it is known which mail is at fault.

Providers check a call's form before they look at its messages: one mail that cannot be read, or that makes
the call too large, has 499 others refused with it. Nothing of a refused call was sent, so its halves may be
sent; one bad mail among 500 costs 18 further calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from drumbeat.delivery import Answer, Outcome, Scope
from drumbeat.delivery.http import HttpBackend


class HalvingBackend(HttpBackend):
    """Base of providers with a batch call: `refusal` returns `self.by_halves(answer, parcels)`."""

    def by_halves(self, answer: Answer, parcels: Sequence[Any]) -> Sequence[Answer]:
        """Return the answer for a single parcel, else what the parcels' halves get when sent on their own.

        After an answer that holds for the whole provider the rest is not tried. Raises DeliveryError where
        the account is refused before any of the parcels was taken.
        """
        if len(parcels) == 1:
            return [answer]
        middle = len(parcels) // 2
        first, error = self._answers(parcels[:middle])
        if error:
            raise error
        for one in first:
            if one.outcome is Outcome.DEFERRED and one.scope is Scope.SERVER:
                return [*first, *[replace(one, text=f"not tried: {one.text}")] * (len(parcels) - middle)]
        # An error of the second half is in its answers too; raised, it would hide those of the first.
        second, _ = self._answers(parcels[middle:])
        return [*first, *second]


def later(text: str, code: int | None = None) -> Answer:
    """Return: certainly not sent, and the provider as a whole has to wait."""
    return Answer(Outcome.DEFERRED, text, code=code, scope=Scope.SERVER)


def refused(text: str, code: int | None = None, *, dead: bool = False) -> Answer:
    """Return: certainly not sent, for good; `dead`: the provider says that the address does not work."""
    return Answer(Outcome.REFUSED, text, code=code, dead_address=dead)
