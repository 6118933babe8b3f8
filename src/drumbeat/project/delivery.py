"""The `delivery` part of project.yaml: how messages leave, and how fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drumbeat.delivery.brevo import BrevoSettings
from drumbeat.delivery.mailgun import MailgunSettings
from drumbeat.delivery.mailjet import MailjetSettings
from drumbeat.delivery.postmark import PostmarkSettings
from drumbeat.delivery.resend import ResendSettings
from drumbeat.delivery.sendgrid import SendgridSettings
from drumbeat.delivery.ses import SesSettings
from drumbeat.delivery.sms import SmsSettings
from drumbeat.delivery.smtp_settings import Smtp
from drumbeat.delivery.sparkpost import SparkPostSettings
from drumbeat.delivery.task import TaskSettings
from drumbeat.delivery.telegram import TelegramSettings
from drumbeat.delivery.twilio import TwilioSettings
from drumbeat.delivery.unisender_go import UnisenderGoSettings
from drumbeat.delivery.webhook import WebhookSettings
from drumbeat.project.limits import Limits
from drumbeat.settings import Duration, Model


class MailFolder(Model):
    """A maildir to write mails into."""

    folder: str = "mailbox"
    notes: str = Field("notes", description="The folder of SMS, Telegram messages and webhooks' payloads")


class Delivery(Model):
    """How mails leave."""

    backend: Literal[
        "smtp",
        "file",
        "console",
        "ses",
        "sendgrid",
        "mailgun",
        "postmark",
        "brevo",
        "mailjet",
        "sparkpost",
        "resend",
        "unisender_go",
    ] = "file"
    smtp: Smtp = Smtp()
    file: MailFolder = MailFolder()
    ses: SesSettings = SesSettings()
    sendgrid: SendgridSettings = SendgridSettings()
    mailgun: MailgunSettings = MailgunSettings()
    postmark: PostmarkSettings = PostmarkSettings()
    brevo: BrevoSettings = BrevoSettings()
    mailjet: MailjetSettings = MailjetSettings()
    sparkpost: SparkPostSettings = SparkPostSettings()
    resend: ResendSettings = ResendSettings()
    unisender_go: UnisenderGoSettings = UnisenderGoSettings()
    sms: SmsSettings = SmsSettings()
    twilio: TwilioSettings = TwilioSettings()
    telegram: TelegramSettings = TelegramSettings()
    webhook: WebhookSettings = WebhookSettings()
    task: TaskSettings = TaskSettings()
    limits: Limits = Limits()
    lease: Duration = Field(default="10m", validate_default=True)
    attempts: int = Field(8, ge=1, description="Give a mail up after this many temporary refusals")
