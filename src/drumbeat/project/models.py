"""The shape of `project.yaml` and of a campaign file. Unknown keys are faults."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from drumbeat.clock import zone
from drumbeat.delivery.mailbox_settings import BounceMailbox
from drumbeat.errors import UsageError
from drumbeat.project.delivery import Delivery
from drumbeat.project.identity import Dkim, Mailbox, SenderId
from drumbeat.project.limits import ChannelCap, WarmUp
from drumbeat.project.privacy import Privacy, Retention
from drumbeat.settings import Duration, Model, Name

Channel = Literal["mail", "sms", "telegram", "webhook", "task"]
"""Every way to reach somebody."""


def _time_zone(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}; expected an IANA name such as Europe/London")
    try:
        zone(value)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return value


TimeZone = Annotated[str, BeforeValidator(_time_zone)]


def _clock_time(value: Any) -> Any:
    if isinstance(value, str) and len(value) == 5 and value[2] == ":":
        return value
    if isinstance(value, time):
        return value
    raise ValueError(f"cannot read {value!r} as a time of day; expected for example 09:00")


ClockTime = Annotated[
    time,
    BeforeValidator(_clock_time),
    WithJsonSchema({"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$"}),
]


class Sender(Model):
    """Who a mail is from; the cap counts per sender."""

    name: str = Field(min_length=1, description="The name readers see")
    address: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", description="The From address")
    reply_to: str | None = None
    postal_address: str = Field(min_length=1, description="Stands in every mail's footer, as CAN-SPAM asks")
    warm_up: WarmUp | None = Field(None, description="For a sender that mailbox providers do not know yet")
    bounces: Mailbox | None = Field(
        None, description="Where bounces go; each mail has an address of its own there, bounces+TOKEN@"
    )
    dkim: Dkim | None = Field(None, description="Sign mails here; left out where the mail server signs them")
    feedback_id: SenderId | None = Field(None, description="This sender in Gmail's feedback loop")
    unsubscribe_mailto: Mailbox | None = Field(
        None, description="An address that takes unsubscribes by mail, beside the link"
    )


class Cap(Model):
    """The most marketing mails that reach a person from one sender in any rolling span."""

    messages: int = Field(4, ge=1)
    per: Duration = Field(default="168h", validate_default=True)
    channels: dict[Channel, ChannelCap] = Field(
        default_factory=dict,
        description="Caps of single channels; the cap above counts all channels together",
    )

    @field_validator("per")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("must be longer than 0s, or there is no cap at all")
        return value


class Topic(Model):
    """What readers consent to, in their words, and the channel it reaches them by."""

    text: str = Field(min_length=1)
    channel: Channel = "mail"

    @model_validator(mode="before")
    @classmethod
    def _bare_words(cls, value: Any) -> Any:
        """Let `offers: Reminders and offers` mean a topic of mails."""
        return {"text": value} if isinstance(value, str) else value


class Tracking(Model):
    """Where readers' clicks and unsubscribes arrive."""

    base_url: str = Field("http://127.0.0.1:8025", pattern=r"^https?://[^\s/]+[^\s]*$")
    secret_env: str = "DRUMBEAT_SECRET"  # noqa: S105 - the name of a variable, not a secret
    hidden_link: bool = Field(
        True, description="Mails carry a link that no reader sees, to tell scanners from readers"
    )


class ResponseRules(Model):
    """What follows from what comes back."""

    soft_bounces: int = Field(
        5, ge=1, description="Suppress an address after so many soft bounces in a row, on as many days"
    )


class ConsentRules(Model):
    """What is kept as proof of a consent."""

    keep_ip: bool = Field(False, description="Keep the reader's IP address with what they saw and did")


class ImportSource(Model):
    """A file that `collect` imports when it changed."""

    file: str
    mapping: str


class ProjectConfig(Model):
    """project.yaml."""

    project: Name
    time_zone: TimeZone = "UTC"
    language: str = "en"
    country: str | None = Field(
        None,
        pattern=r"^[A-Z]{2}$",
        description="Of phone numbers without a country's code, for customers whose country is not known",
    )
    currency: str = "EUR"
    notice: str | None = Field(None, description="Stands under every report, such as what the data is")
    database: str | None = Field(None, description="Database URL; DRUMBEAT_DATABASE_URL wins")
    senders: dict[Name, Sender] = Field(min_length=1)
    cap: Cap = Cap()
    topics: dict[Name, Topic] = Field(min_length=1, description="What readers consent to, topic by topic")
    consent: ConsentRules = ConsentRules()
    delivery: Delivery = Delivery()
    tracking: Tracking = Tracking()
    bounces: BounceMailbox | None = Field(None, description="The mailbox that bounces come back to")
    responses: ResponseRules = ResponseRules()
    privacy: Privacy = Privacy()
    retention: Retention = Retention()
    imports: tuple[ImportSource, ...] = ()

    @property
    def default_sender(self) -> str:
        """Return the name of the first sender."""
        return next(iter(self.senders))


class Message(Model):
    """What is sent, and how."""

    template: Name
    channel: Channel = "mail"
    due: Duration | None = Field(
        None, description="Of a task: how long after it was given it is due; default: delivery.task.due"
    )

    @model_validator(mode="after")
    def _due_of_a_task(self) -> Message:
        if self.due is not None and self.channel != "task":
            raise ValueError(f"due is for tasks; a message of the channel {self.channel} has none")
        return self

    @property
    def reaches_reader(self) -> bool:
        """Say whether the customer gets it, and not one of our own people or systems."""
        return self.channel not in ("webhook", "task")


class Window(Model):
    """The hours of the customer's own day in which mails may go out; `from` after `to` spans midnight."""

    from_: ClockTime = Field(alias="from")
    to: ClockTime

    @model_validator(mode="after")
    def _not_empty(self) -> Window:
        if self.from_ == self.to:
            raise ValueError("from and to are the same time; leave the window out to send at any hour")
        return self


class Defer(Model):
    """Keep a capped message and look at it again until the span is over."""

    defer: Duration


class Send(Model):
    """When and how it may go out."""

    window: Window | None = None
    when_capped: Literal["drop"] | Defer = "drop"

    @field_validator("when_capped", mode="wrap")
    @classmethod
    def _one_of_two(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        """Say what may stand here; a union's own faults speak of each member that did not fit."""
        if value == "drop" or isinstance(value, Defer):
            return read(value)
        if isinstance(value, dict) and set(value) == {"defer"}:
            return Defer.model_validate(value)
        raise ValueError(
            f"cannot read {value!r}; expected drop, or a span to try again in, such as {{defer: 2d}}"
        )


class OrderGoal(Model):
    """An order within the span after the mail."""

    within: Duration = Field(default="5d", validate_default=True)


class Goal(Model):
    """What the campaign is for."""

    order: OrderGoal


class Campaign(Model):
    """One campaign file."""

    campaign: Name
    description: str = Field(min_length=1)
    enabled: bool = True
    kind: Literal["marketing", "service"] = "marketing"
    topic: Name
    sender: Name | None = None
    priority: int = Field(50, ge=0, le=100)
    segment: Name
    trigger: dict[str, Any] = Field(min_length=1, max_length=1)
    message: Message
    send: Send = Send()
    obeys_cap: bool | None = Field(
        None, description="Default: true for marketing that the reader gets, else false"
    )
    counts_toward_cap: bool | None = Field(
        None, description="Default: true for marketing that the reader gets, else false"
    )
    goal: Goal | None = None

    @field_validator("trigger", mode="before")
    @classmethod
    def _bare_kind(cls, value: Any) -> Any:
        """Let `trigger: {abandoned_cart: }` mean the kind with its defaults."""
        if isinstance(value, dict):
            return {key: ({} if params is None else params) for key, params in value.items()}
        return value

    @property
    def is_marketing(self) -> bool:
        """Say whether consent by topic and the cap apply by default."""
        return self.kind == "marketing"
