"""How fast a project may hand over: the settings of rates, connections and the warm-up of a sender."""

from __future__ import annotations

from pydantic import Field, model_validator

from drumbeat.settings import Duration, Model, Rate


class Limit(Model):
    """How fast messages may go to one domain, over all workers."""

    rate: Rate | None = Field(None, description="At most so many messages in a span, evenly spread")
    connections: int | None = Field(None, ge=1, description="At most so many connections at once")


class Limits(Model):
    """Limits by the recipient's domain; `*` is every domain that has none of its own, each for itself."""

    domains: dict[str, Limit] = Field(default_factory=dict)

    def of(self, domain: str) -> Limit | None:
        """Return the limit of a domain in small letters; None where there is none."""
        return self.domains.get(domain) or self.domains.get("*")


class WarmUp(Model):
    """A new sender begins with few messages a day and sends more each day, so that mailbox providers get to know it.

    Day one: `start`; every further day `factor` times as many, for `days` days; then no limit. A day on which
    nothing was sent does not count.
    """

    start: int = Field(200, ge=1)
    factor: float = Field(1.5, gt=1, le=10)
    days: int = Field(28, ge=1, le=365)

    def allowance(self, day: int) -> int | None:
        """Return how many messages may go out on day `day` (the first is 0); None when it is over."""
        return None if day >= self.days else int(self.start * self.factor**day)


class ChannelCap(Model):
    """A cap of one channel, beside the one over all channels."""

    messages: int = Field(ge=1)
    per: Duration = Field(default="168h", validate_default=True)

    @model_validator(mode="after")
    def _some_time(self) -> ChannelCap:
        if not self.per:
            raise ValueError("per must be longer than 0s, or there is no cap at all")
        return self
