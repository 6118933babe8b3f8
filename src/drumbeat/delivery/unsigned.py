"""Settings of webhooks whose provider signs nothing: a password in the URL, and how old an event may be."""

from __future__ import annotations

from pydantic import Field

from drumbeat.settings import Duration, Model, Variable


class UnsignedWebhookSettings(Model):
    """What stands behind `https://USER:PASSWORD@.../hooks/<provider>`. null: go without it."""

    webhook_username_env: Variable | None = None
    webhook_password_env: Variable | None = None
    webhook_max_age: Duration = Field(
        default="7d",
        validate_default=True,
        description="Refuse a call whose newest event is older; providers repeat a call for up to a day",
    )
