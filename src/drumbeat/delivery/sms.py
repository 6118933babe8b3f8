"""SMS in project.yaml: who takes them, and what each must keep to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drumbeat.delivery.sms_http import SmsHttpSettings
from drumbeat.settings import Model


class SmsSettings(Model):
    """`delivery.sms` of project.yaml."""

    backend: Literal["file", "twilio", "http"] = Field("file", description="`file` writes SMS into a folder")
    max_segments: int = Field(
        3, ge=1, le=10, description="The most parts that an SMS may be sent and billed in"
    )
    opt_out: tuple[str, ...] = Field(
        ("STOP",), description="Marketing must contain one of these words, or {{ unsubscribe_url }}"
    )
    http: SmsHttpSettings = Field(default_factory=SmsHttpSettings)
