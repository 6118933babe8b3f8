"""What the pages for readers share: what they say of the company, work on the store with patience, proof."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from drumbeat.errors import StoreError
from drumbeat.ledger.cap import CapRule
from drumbeat.ledger.reach import MAIL
from drumbeat.store.engine import reading, writing
from drumbeat.web.headers import read_body
from drumbeat.web.site import Site

if TYPE_CHECKING:
    from drumbeat.project.models import ProjectConfig, Topic

PATIENCE_S = 5.0
"""A reader who saves a choice waits no longer than this for the database; then the page says to try again."""

MAX_AGENT = 300
"""Characters of a User-Agent that are kept."""

MAX_FIELDS = 200

USUAL_CAP = CapRule(4, timedelta(days=7))

Form = Mapping[str, Sequence[str]]
T = TypeVar("T")


@dataclass(frozen=True)
class House:
    """What the pages need of project.yaml. `contact`: where readers can write to; `keep_ip`: as part of a proof."""

    brand: str
    topics: Mapping[str, Topic] = field(default_factory=dict)
    language: str = "en"
    time_zone: str = "UTC"
    cap: CapRule = USUAL_CAP
    contact: str | None = None
    keep_ip: bool = False

    @classmethod
    def of(cls, config: ProjectConfig) -> House:
        """Take it from a project's configuration."""
        sender = config.senders[config.default_sender]
        return cls(
            brand=sender.name,
            topics=config.topics,
            language=config.language,
            time_zone=config.time_zone,
            cap=CapRule(config.cap.messages, config.cap.per),
            contact=sender.reply_to or sender.address,
            keep_ip=config.consent.keep_ip,
        )

    def text(self, topic: str) -> str:
        """Return a topic in the readers' words; its name where project.yaml no longer has it."""
        return self.topics[topic].text if topic in self.topics else topic


class Away(HTTPException):
    """The store cannot be used now: answered with 503 and the page that says to try again."""

    def __init__(self) -> None:
        super().__init__(503)


class Desk:
    """Base of the pages' handlers."""

    def __init__(self, site: Site, house: House) -> None:
        self.site, self.house = site, house
        self.links, self.clock, self.pages = site.links, site.clock, site.pages

    async def look(self, work: Callable[[Connection], T], *, patience: float = PATIENCE_S) -> T:
        """Return what `work` finds in the store. Raises Away where that fails or takes longer."""
        return await self._with(reading, work, patience)

    async def store(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` did, in one transaction that is committed by then. Raises Away."""
        return await self._with(writing, work, PATIENCE_S)

    async def _with(self, opened: Any, work: Callable[[Connection], T], patience: float) -> T:
        given_up = Event()

        def run() -> T:
            with opened(self.site.engine) as connection:
                done = work(connection)
                # What the reader was told did not work must not be done a minute later, over a newer choice.
                if given_up.is_set():
                    raise Away
                return done

        try:
            return await asyncio.wait_for(asyncio.to_thread(run), patience)
        except (TimeoutError, StoreError):
            given_up.set()
            raise Away from None

    def language(self, request: Request, else_: str | None = None) -> str:
        """Return the language to answer in: the browser's, else `else_`, else the project's."""
        return self.pages.language(request.headers.get("accept-language", ""), else_)

    def show(self, page: str, language: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Answer with a page in a language."""
        return HTMLResponse(self.pages.render(page, language=language, **values), status_code=status)

    def words(self, page: str, language: str) -> Mapping[str, str]:
        """Return a page's words."""
        return self.pages.words[language][page]

    def named(self, topic: str, language: str) -> str:
        """Return a topic's words, with the channel where that is not mail."""
        found = self.house.topics.get(topic)
        way = self.words("channels", language).get(found.channel) if found is not None else None
        return f"{self.house.text(topic)} ({way})" if way else self.house.text(topic)

    def blocked(self, reason: str, language: str) -> list[str]:
        """Return why no choice brings mail, and whom to write to."""
        words = self.words("blocked", language)
        contact = [words["contact"].format(contact=self.house.contact)] if self.house.contact else []
        return [" ".join([words[reason], *contact])] if reason in words else contact

    def proof(self, request: Request, address: str, language: str, text: str | None) -> dict[str, Any]:
        """Return what the reader saw and did. `address`: of the page, without its token; `text`: as shown."""
        agent = request.headers.get("user-agent", "")[:MAX_AGENT]
        found = {
            "url": f"{self.links.base_url}{address}",
            "text": text,
            "language": language,
            "agent": agent or None,
            "ip": (self.site.caller(request) or None) if self.house.keep_ip else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def mail_topics(self) -> list[str]:
        """Return the topics that reach people by mail."""
        return [name for name, topic in self.house.topics.items() if topic.channel == MAIL]


async def read_form(request: Request) -> Form:
    """Return the fields of a form as browsers send it. Raises HTTPException 400 for what is no such form."""
    try:
        return parse_form(await read_body(request))
    except ValueError:
        raise HTTPException(400) from None


def parse_form(body: bytes) -> Form:
    """Return the fields of a body in the form of application/x-www-form-urlencoded. Raises ValueError."""
    found: dict[str, list[str]] = {}
    fields = parse_qsl(
        body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
    )
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return found


def first(form: Form, name: str, default: str = "") -> str:
    """Return a field's first value."""
    return next(iter(form.get(name, ())), default)
