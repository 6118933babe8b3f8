"""Double opt-in: the form, and the confirmation.

    GET  /subscribe   a plain form, to link to
    POST /subscribe   notes who asks: the form's fields (ours, or one on the company's own page), or JSON
    GET  /y/{token}   a page with a button; changes nothing (scanners follow every link)
    POST /y/{token}   confirms

Whether an address is known here makes no difference to the answer, nor to how long it takes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response as Answer
from starlette.routing import BaseRoute, Route

from drumbeat.ingest.people import email_key, normal_address
from drumbeat.responses.opt_ins import OptIn, Standing, ask, confirm, find
from drumbeat.web.desk import Desk, Form, House, first, parse_form
from drumbeat.web.headers import read_body
from drumbeat.web.site import MoreRoutes, Site

TRAP = "website"
"""A field that no reader sees: whoever fills it in is a program."""

ANSWER_AFTER_S = 0.25
"""Asking is answered after so long, whatever was done: a quick answer must not tell that an address is known."""

LONGEST_NAME, LONGEST_ADDRESS, LONGEST_TEXT = 60, 254, 2_000

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,2}")
_NO_NAME = re.compile(r"[:/@<>{}\[\]\\|=&%#$]|www\.|\.\w{2,}", re.IGNORECASE)


@dataclass(frozen=True)
class Wish:
    """What a form says, as it was typed. `text` and `page`: what the company's own form showed, and where it stands."""

    email: str
    topics: tuple[str, ...]
    language: str
    first_name: str
    trap: str
    form: str
    text: str
    page: str

    @classmethod
    def of_form(cls, form: Form) -> Wish:
        """Read a form's fields."""
        topics = tuple(topic for name in ("topic", "topics") for topic in form.get(name, ()))
        names = ("email", "language", "first_name", TRAP, "form", "text", "page")
        email, language, first_name, trap, marked, text, page = (
            _storable(first(form, name)).strip() for name in names
        )
        return cls(email, topics, language, first_name, trap, marked, text, page)

    @classmethod
    def of_json(cls, body: bytes) -> Wish:
        """Read a JSON object. Raises ValueError for what is none."""
        found = json.loads(body)
        if not isinstance(found, dict):
            raise TypeError("expected a JSON object")
        topics = found.get("topics", ())
        listed = [topics] if isinstance(topics, str) else topics
        if not isinstance(listed, list | tuple):
            raise TypeError("topics: expected a list of names")
        plain = {name: [value] for name, value in found.items() if isinstance(value, str)}
        return cls.of_form({**plain, "topics": [topic for topic in listed if isinstance(topic, str)]})


def _storable(text: str) -> str:
    """Return a text without what no database takes or no line should hold: NUL, lone surrogates, other controls."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")


class SignUp(Desk):
    """The handlers."""

    async def form(self, request: Request) -> Answer:
        """Show the form."""
        language = self.language(request)
        offered = self.mail_topics()
        return self._form(language, offered if len(offered) == 1 else ())

    async def subscribe(self, request: Request) -> Answer:
        """Note who asks. 202 (JSON) or a page; 400 for no address or no topic; the same for everybody else."""
        began = asyncio.get_running_loop().time()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await read_body(request)
        as_json = kind == "application/json"
        if not as_json and kind not in ("application/x-www-form-urlencoded", ""):
            raise HTTPException(415)
        try:
            wish = Wish.of_json(body) if as_json else Wish.of_form(parse_form(body))
        except (ValueError, TypeError, RecursionError):
            return self._fault_json("this is no JSON object") if as_json else self._refused()
        language = self.pages.known(wish.language) or self.language(request)
        topics, faults = self._judge(wish)
        if faults:
            return self._faulty(wish, topics, faults, language, as_json=as_json)
        if not wish.trap:
            await self._ask(request, wish, topics, language)
        await asyncio.sleep(max(0.0, began + ANSWER_AFTER_S - asyncio.get_running_loop().time()))
        if as_json:
            return JSONResponse({"status": "asked"}, status_code=202)
        return self.show("asked", language)

    async def ask_to_confirm(self, request: Request) -> Answer:
        """Show what is confirmed, with a button."""
        found = await self._found(request)
        language = self.language(request)
        if found.standing is not Standing.OPEN:
            return self._over(found, language)
        words = self.words("confirm", language)
        return self.show("confirm", language, topics=self._words_of(found), small=words["note"])

    async def confirm(self, request: Request) -> Answer:
        """Grant what was asked for."""
        token = self.site.token(request, "y")
        await read_body(request)
        now, language = self.clock.now(), self.language(request)

        def work(connection: Connection) -> tuple[OptIn | None, str | None]:
            found = find(connection, token.opt_in_id, now)
            if found is None or found.standing is not Standing.OPEN:
                return found, None
            words = self.words("confirm", language)
            topics = [f"- {topic}" for topic in self._words_of(found)]
            text = "\n".join([words["heading"], words["text"], *topics, f"[{words['button']}]"])
            proof = self.proof(request, "/y/", language, text)
            return found, confirm(connection, found, at=now, proof=proof)

        found, blocked = await self.store(work)
        if found is None:
            raise HTTPException(404)
        if found.standing is not Standing.OPEN:
            return self._over(found, language)
        return self.show(
            "confirmed",
            language,
            topics=self._words_of(found),
            notes=self.blocked(blocked, language) if blocked is not None else (),
            links=self._choose(found, self.words("confirmed", language)["choose"]),
        )

    async def _ask(self, request: Request, wish: Wish, topics: Sequence[str], language: str) -> None:
        now, address = self.clock.now(), normal_address(wish.email)
        key = email_key(address)
        proof = {
            **self.proof(request, "/subscribe", language, self._shown(wish, language)),
            "topics": {name: self.house.text(name) for name in topics},
        }
        if (page := wish.page or request.headers.get("referer", "")) and wish.form != self._mark(language):
            proof["url"] = page[:LONGEST_TEXT]
        asked = wish.language if _LANGUAGE.fullmatch(wish.language) else None
        name = wish.first_name if not _NO_NAME.search(wish.first_name) else ""

        def work(connection: Connection) -> None:
            ask(
                connection,
                email=address,
                email_key=key,
                topics=topics,
                external_id=self.links.reader_name(key),
                language=asked,
                first_name=name[:LONGEST_NAME] or None,
                at=now,
                proof=proof,
            )

        await self.store(work)

    def _judge(self, wish: Wish) -> tuple[list[str], set[str]]:
        """Return the topics asked for, of those there are, and which fields are wrong."""
        offered = self.mail_topics()
        topics = [name for name in offered if name in wish.topics]
        if not wish.topics and len(offered) == 1:
            topics = offered
        faults = set() if topics and set(wish.topics) <= set(offered) else {"topics"}
        try:
            if len(wish.email) > LONGEST_ADDRESS:
                raise ValueError("longer than an address can be")
            email_key(normal_address(wish.email))
        except ValueError:
            faults.add("email")
        return topics, faults

    def _faulty(
        self, wish: Wish, topics: Sequence[str], faults: set[str], language: str, *, as_json: bool
    ) -> Answer:
        if not as_json:
            return self._form(language, topics, wish, faults, status=400)
        if "email" in faults:
            return self._fault_json("email: this is no mail address; expected for example name@example.com")
        return self._fault_json(f"topics: expected at least one of {', '.join(self.mail_topics())}")

    def _form(
        self,
        language: str,
        chosen: Sequence[str],
        wish: Wish | None = None,
        faults: set[str] | None = None,
        status: int = 200,
    ) -> Answer:
        topics = [
            {"name": name, "text": self.house.text(name), "chosen": name in chosen}
            for name in self.mail_topics()
        ]
        return self.show(
            "subscribe",
            language,
            status,
            fill={"brand": self.house.brand},
            topics=topics,
            form=self._mark(language),
            email=wish.email if wish is not None else "",
            first_name=wish.first_name if wish is not None else "",
            faults=faults or set(),
        )

    def _text(self, language: str) -> str:
        words = self.words("subscribe", language)
        topics = [f"- {self.house.text(name)}" for name in self.mail_topics()]
        lines = [
            words["heading"],
            words["text"],
            words["topics"],
            *topics,
            f"[{words['button']}]",
            words["note"],
        ]
        return "\n".join(lines).replace("{brand}", self.house.brand)

    def _mark(self, language: str) -> str:
        """Return the name of the form's present words: it comes back with the form and tells what was shown."""
        return blake2b(self._text(language).encode(), digest_size=8).hexdigest()

    def _shown(self, wish: Wish, language: str) -> str | None:
        """Return what the form showed: our own words where it was ours, else what the company says it showed."""
        if wish.form == self._mark(language):
            return self._text(language)
        return wish.text[:LONGEST_TEXT] or None

    async def _found(self, request: Request) -> OptIn:
        token, now = self.site.token(request, "y"), self.clock.now()
        found = await self.look(lambda connection: find(connection, token.opt_in_id, now))
        if found is None:
            raise HTTPException(404)
        return found

    def _over(self, found: OptIn, language: str) -> Answer:
        if found.standing is Standing.CONFIRMED:
            return self.show(
                "used", language, links=self._choose(found, self.words("used", language)["choose"])
            )
        again = self.words("expired", language)["again"]
        return self.show("expired", language, 410, links=[(again, f"{self.links.base_url}/subscribe")])

    def _choose(self, found: OptIn, label: str) -> list[tuple[str, str]]:
        return [(label, self.links.preferences(found.message_id))] if found.message_id is not None else []

    def _words_of(self, found: OptIn) -> list[str]:
        return [found.words.get(name) or self.house.text(name) for name in found.topics]

    def _fault_json(self, fault: str) -> Answer:
        return JSONResponse({"status": "refused", "fault": fault}, status_code=400)

    def _refused(self) -> Answer:
        raise HTTPException(400)


def routes(house: House) -> MoreRoutes:
    """Return the routes of these pages."""

    def made(site: Site) -> list[BaseRoute]:
        page = SignUp(site, house)
        return [
            Route("/subscribe", page.form, methods=["GET"]),
            Route("/subscribe", page.subscribe, methods=["POST"]),
            Route("/y/{token}", page.ask_to_confirm, methods=["GET"]),
            Route("/y/{token}", page.confirm, methods=["POST"]),
        ]

    return made
