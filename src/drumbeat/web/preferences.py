"""The preference page: what to get, how often, a break, and an end to all of it.

    GET  /p/{token}   the page; changes nothing
    POST /p/{token}   saves a choice, or undoes it; the token in the address is the authority

No script, no cookie. A choice that cannot be saved is answered with 503; an unsubscribe from everything goes the
way of every unsubscribe, to the spill where the database is away.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response as Answer
from starlette.routing import BaseRoute, Route

from drumbeat.responses.preferences import FOREVER, Choice, Mailbox, find, save
from drumbeat.responses.suppress import EVERYTHING
from drumbeat.web.choices import PAUSES, Spoken, pause_until, read_pause
from drumbeat.web.desk import Away, Desk, Form, House, first, read_form
from drumbeat.web.site import MoreRoutes, Site
from drumbeat.web.unsubscribe import Unsubscribe
from drumbeat.web.writer import Kept

FEWER = (2, 1)
"""The limits that are offered, where the cap allows more."""

AS_NOW = "cap"


class Saved(NamedTuple):
    """What held before a choice and what holds since."""

    before: Mailbox
    after: Mailbox


class Preferences(Desk):
    """The handlers."""

    def __init__(self, site: Site, house: House) -> None:
        super().__init__(site, house)
        self._unsubscribe = Unsubscribe(site, house)

    async def show_choices(self, request: Request) -> Answer:
        """Show what holds now."""
        mailbox = await self._mailbox(request)
        language = self.language(request, mailbox.language)
        return self.show("preferences", language, **self._values(mailbox, language))

    async def choose(self, request: Request) -> Answer:
        """Save a choice and show what holds from now on, with a way back."""
        token = self.site.token(request, "p")
        form = await read_form(request)
        if first(form, "do") == "leave":
            return await self._leave(request, token.message_id)
        now = self.clock.now()

        def work(connection: Connection) -> Saved | None:
            before = find(connection, token.message_id, self.house.topics, now)
            if before is None:
                return None
            choice = self._choice(form, before, now)
            language = self.language(request, before.language)
            text = self._as_shown(before, choice, language, first(form, "do"))
            proof = {**self.proof(request, "/p/", language, text), "message": token.message_id}
            proofs = dict.fromkeys(before.shown, proof)
            save(connection, before, choice, self.house.topics, at=now, proofs=proofs)
            after = find(connection, token.message_id, self.house.topics, now)
            return None if after is None else Saved(before, after)

        saved = await self.store(work)
        if saved is None:
            raise HTTPException(404)
        language = self.language(request, saved.after.language)
        words = self.words("saved", language)
        undone = first(form, "do") == "undo"
        return self.show(
            "saved",
            language,
            heading=words["undone"] if undone else words["heading"],
            facts=self._facts(saved.after, language),
            notes=self._notes(saved.after, language),
            before=() if undone else list(_fields(saved.before)),
            links=[(words["again"], self.links.preferences(token.message_id))],
        )

    async def _leave(self, request: Request, message_id: int) -> Answer:
        """End everything, durably, database or not; what held before can be had back where it is known."""
        try:
            before: Mailbox | None = await self._found(message_id)
        except Away:
            before = None
        language = self.language(request, before.language if before is not None else None)
        words = self.words("preferences", language)
        text = "\n".join([words["heading"], words["leave_text"], f"[{words['leave']}]"])
        hit = self._unsubscribe.hit(
            request, message_id, scope=EVERYTHING, one_click=False, language=language, text=text, page="/p/"
        )
        if await self.site.keep(hit) is Kept.NOWHERE:
            raise Away
        left = self.words("left", language)
        return self.show(
            "left",
            language,
            heading=left["heading"],
            facts=(),
            before=list(_fields(before)) if before is not None and before.choice.topics else (),
            links=[(left["again"], self.links.preferences(message_id))],
        )

    async def _mailbox(self, request: Request) -> Mailbox:
        found = await self._found(self.site.token(request, "p").message_id)
        if found is None:
            raise HTTPException(404)
        return found

    async def _found(self, message_id: int) -> Mailbox | None:
        now = self.clock.now()
        return await self.look(lambda connection: find(connection, message_id, self.house.topics, now))

    def _choice(self, form: Form, before: Mailbox, now: datetime) -> Choice:
        """Read a form. Raises HTTPException 400 for what the page does not offer.

        What the form did not show (a topic that came with a new project.yaml meanwhile) stays as it is.
        """
        shown = set(form.get("shown", before.shown))
        topics = (shown & set(form.get("topic", ()))) | (before.choice.topics - shown)
        often = first(form, "often", AS_NOW)
        if often != AS_NOW and not (often.isascii() and often.isdigit() and 1 <= int(often[:6]) <= 1000):
            raise HTTPException(400)
        if before.email_key is None:
            return Choice(frozenset(topics))
        try:
            until = read_pause(first(form, "pause"), now, before.choice.paused_until)
        except ValueError:
            raise HTTPException(400) from None
        limit = None if often == AS_NOW or int(often) >= self.house.cap.messages else int(often)
        return Choice(frozenset(topics), limit, until)

    def _values(self, mailbox: Mailbox, language: str) -> dict[str, Any]:
        topics = [
            {
                "name": name,
                "text": self.house.text(name),
                "note": self.words("channels", language).get(self.house.topics[name].channel, ""),
                "chosen": name in mailbox.choice.topics,
                "blocked": name in mailbox.blocked,
            }
            for name in mailbox.shown
        ]
        return {
            "topics": topics,
            "groups": self._groups(mailbox, language),
            "notes": self._notes(mailbox, language),
        }

    def _groups(self, mailbox: Mailbox, language: str) -> list[dict[str, Any]]:
        """Return how often and the break, as the page offers them; nothing without a mailbox."""
        if mailbox.email_key is None:
            return []
        spoken = self._spoken(mailbox, language)
        words, choice = spoken.words, mailbox.choice
        limits = sorted(
            {
                *(n for n in FEWER if n < self.house.cap.messages),
                *([choice.max_messages] if choice.max_messages is not None else []),
            },
            reverse=True,
        )
        often = [(AS_NOW, words["as_now"], choice.max_messages is None)]
        often += [(str(n), spoken.at_most(n), choice.max_messages == n) for n in limits]
        until = choice.paused_until
        pause = [("none", words["no_pause"], True)]
        if until is not None:
            pause = [("keep", spoken.kept(until), True), ("none", words["go_on"], False)]
        pause += [(value, words[name], False) for value, name in PAUSES if not _same(until, value)]
        return [
            {"legend": words[legend], "name": legend, "options": [_option(*one) for one in options]}
            for legend, options in (("often", often), ("pause", pause))
            if len(options) > 1
        ]

    def _facts(self, mailbox: Mailbox, language: str) -> list[tuple[str, list[str], str]]:
        words, spoken = self.words("saved", language), self._spoken(mailbox, language)
        yes = [self.named(name, language) for name in mailbox.shown if name in mailbox.choice.topics]
        no = [self.named(name, language) for name in mailbox.shown if name not in mailbox.choice.topics]
        choice = mailbox.choice
        rest = [spoken.at_most(choice.max_messages)] if choice.max_messages is not None else []
        if choice.paused_until is not None:
            rest.append(
                words["paused_always"]
                if choice.paused_until >= FOREVER
                else words["paused"].format(date=spoken.day(choice.paused_until))
            )
        facts = [(words["yes"], yes, "yes"), (words["no"], no, "no"), (words["limit"], rest, "limit")]
        return [fact for fact in facts if fact[1]]

    def _notes(self, mailbox: Mailbox, language: str) -> list[str]:
        reasons = sorted(set(mailbox.blocked.values()))
        return self.blocked(reasons[0], language) if reasons else []

    def _as_shown(self, mailbox: Mailbox, choice: Choice, language: str, pressed: str) -> str:
        """Return the page's words as text, with what was ticked when the button was pressed."""
        spoken = self._spoken(mailbox, language)
        words = spoken.words
        ticks = [
            f"{'[x]' if name in choice.topics else '[ ]'} {self.named(name, language)}"
            for name in mailbox.shown
        ]
        limit = words["as_now"] if choice.max_messages is None else spoken.at_most(choice.max_messages)
        button = self.words("saved", language)["undo"] if pressed == "undo" else words["button"]
        return "\n".join(
            [
                words["heading"],
                words["text"],
                words["topics"],
                *ticks,
                f"{words['often']}: {limit}",
                f"[{button}]",
            ]
        )

    def _spoken(self, mailbox: Mailbox, language: str) -> Spoken:
        return Spoken(
            self.words("preferences", language),
            language,
            mailbox.country,
            self.house.cap.per,
            mailbox.time_zone,
            self.house.time_zone,
        )


def _same(until: datetime | None, value: str) -> bool:
    return value == "always" and until is not None and until >= FOREVER


def _option(value: str, label: str, chosen: bool) -> dict[str, Any]:
    return {"value": value, "label": label, "chosen": chosen}


def _fields(mailbox: Mailbox) -> Iterator[tuple[str, str]]:
    """Yield the fields of a form that brings back what held: the way to undo."""
    choice = mailbox.choice
    for name in mailbox.shown:
        yield "shown", name
        if name in choice.topics:
            yield "topic", name
    yield "often", AS_NOW if choice.max_messages is None else str(choice.max_messages)
    yield "pause", pause_until(choice.paused_until)


def routes(house: House) -> MoreRoutes:
    """Return the routes of this page."""

    def made(site: Site) -> list[BaseRoute]:
        page = Preferences(site, house)
        return [
            Route("/p/{token}", page.show_choices, methods=["GET"]),
            Route("/p/{token}", page.choose, methods=["POST"]),
        ]

    return made
