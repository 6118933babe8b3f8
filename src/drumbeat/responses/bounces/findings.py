"""What a reader of one format found about one recipient, before it is an Event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drumbeat.responses.bounces.classify import Verdict
from drumbeat.responses.kinds import Kind


@dataclass(frozen=True)
class Finding:
    """One fact. `verdict`: of a bounce or delay. `rule`: what told that it is one, for `--explain`."""

    kind: Kind
    format: str
    recipient: str | None = None
    verdict: Verdict | None = None
    status: str | None = None
    text: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
