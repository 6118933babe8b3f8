"""The trigger kinds of this project, listed by hand: a new kind is one file beside this one and a line here.

How to write one: docs/triggers.md. A name in KINDS is the word a marketer writes under `trigger:`.
"""

from __future__ import annotations

from .abandoned_cart import AbandonedCart
from .anniversary import Anniversary
from .expiring_promo import ExpiringPromo
from .opt_in import OptIn
from .schedule import Schedule

KINDS = {kind.kind: kind for kind in (AbandonedCart, Anniversary, ExpiringPromo, OptIn, Schedule)}
