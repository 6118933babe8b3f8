"""The settings of mail servers under `delivery.smtp` in project.yaml. Light: `validate` imports it.

One server stands directly under `smtp`, several as a list `servers`. Secrets are named environment variables.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator, model_validator

from drumbeat.settings import Duration, Model, Rate, Variable

Tls = Literal["none", "starttls", "implicit"]
Auth = Literal["auto", "plain", "login", "xoauth2"]


class SmtpHost(Model):
    """A mail server to hand over to."""

    host: str = Field("127.0.0.1", pattern=r"^[^\s/@]+$")
    port: int = Field(25, ge=1, le=65535)
    tls: Tls = Field("none", description="starttls (mostly port 587 or 25) or implicit (mostly port 465)")
    ca_file: str | None = Field(
        None, description="Trust this CA instead of the system's, for a private server"
    )
    username_env: Variable | None = None
    password_env: Variable | None = None
    auth: Auth = Field("auto", description="auto: the best of XOAUTH2, PLAIN and LOGIN that both sides can")
    token_env: Variable | None = Field(None, description="An OAuth 2 access token, for XOAUTH2")
    token_file: str | None = Field(
        None,
        description="A file with the access token, read at each login, so that another program renews it",
    )
    helo: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9.\-\[\]:]+$",
        description="The name we greet with; default: our address, such as [192.0.2.1]",
    )
    connections: int = Field(1, ge=1, le=100, description="At most so many connections of one worker")
    total_connections: int | None = Field(
        None, ge=1, description="At most so many connections of all workers together"
    )
    rate: Rate | None = Field(None, description="At most so many messages in a span, over all workers")

    @property
    def name(self) -> str:
        """Return `host:port`, the name under which the server is known everywhere."""
        return server_name(self.host, self.port)

    @model_validator(mode="after")
    def _login_is_whole(self) -> SmtpHost:
        if self.token_env and self.token_file:
            raise ValueError("token_env and token_file are two places for one token; give one of them")
        has_token = self.token_env or self.token_file
        if self.username_env and not (self.password_env or has_token):
            raise ValueError("username_env without password_env, token_env or token_file; a login needs both")
        if (self.password_env or has_token) and not self.username_env:
            raise ValueError("a password or token without username_env; a login needs both")
        if self.auth == "xoauth2" and not has_token:
            raise ValueError("auth xoauth2 needs token_env or token_file")
        if self.auth in ("plain", "login") and not self.password_env:
            raise ValueError(f"auth {self.auth} needs username_env and password_env")
        if self.username_env and self.tls == "none" and not is_loopback(self.host):
            raise ValueError(
                f"the login at {self.host} would travel in the clear; set tls to starttls or implicit"
            )
        if self.ca_file and self.tls == "none":
            raise ValueError("ca_file without tls; set tls to starttls or implicit")
        return self


class Smtp(SmtpHost):
    """One mail server, or several as `servers`, and how patient to be with them."""

    servers: tuple[SmtpHost, ...] = ()
    timeout: Duration = Field(
        default="60s", validate_default=True, description="For connecting and for each answer"
    )
    content_timeout: Duration = Field(
        default="10m",
        validate_default=True,
        description="For the answer to a mail's content; a mail without one is uncertain",
    )
    mails_per_connection: int = Field(1000, ge=1, description="Then a new connection is made")

    @property
    def hosts(self) -> tuple[SmtpHost, ...]:
        """Return every server there is: those of the list, or the one that stands here."""
        return self.servers or (self,)

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("must be longer than 0s, or no server could answer in time")
        return value

    @model_validator(mode="after")
    def _one_way_to_name_servers(self) -> Smtp:
        if self.servers:
            both = sorted(self.model_fields_set & SmtpHost.model_fields.keys())
            if both:
                raise ValueError(f"{', '.join(both)} beside servers; put them into each server of the list")
            names = [server.name for server in self.servers]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{twice[0]} stands twice in servers; give it more connections instead")
        if self.content_timeout < self.timeout:
            raise ValueError("content_timeout is shorter than timeout; it must be at least as long")
        return self


def server_name(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Say whether a host, by its name alone, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
