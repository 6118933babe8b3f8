"""When a signed call was signed, and whether that is recent enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from drumbeat.responses.webhooks import FRESH, Stale


def unix_time(stamp: object) -> datetime | None:
    """Return whole seconds since 1970, a number or its digits, as a time in UTC; None for anything else."""
    digits = str(stamp) if isinstance(stamp, str | int) and not isinstance(stamp, bool) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 11):
        return None
    return datetime.fromtimestamp(int(digits), UTC)


def check_fresh(signed_at: datetime | None, received_at: datetime, *, oldest: timedelta = FRESH) -> None:
    """Raise Stale where the call was signed longer ago than `oldest`, or more than FRESH ahead of our clock."""
    if signed_at is None:
        raise Stale("the call was signed at a time that cannot be read; it is refused")
    if not -FRESH <= received_at - signed_at <= oldest:
        raise Stale(
            f"the call was signed at {signed_at:%Y-%m-%d %H:%M:%S} UTC and came at {received_at:%Y-%m-%d %H:%M:%S};"
            f" at most {oldest} may lie between. Check this machine's clock"
        )
