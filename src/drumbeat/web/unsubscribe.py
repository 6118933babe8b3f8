"""The page to unsubscribe: all of it, or the mail's topic alone.

    GET  /u/{token}   buttons; changes nothing (scanners follow every link)
    POST /u/{token}   unsubscribes: a mail program's one click (RFC 8058) or one of the buttons

Neither needs the database: without it the page has one button less, and what is pressed goes to the spill.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response as Answer
from starlette.routing import BaseRoute, Route

from drumbeat.ledger.reach import MAIL
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.preferences import topic_of
from drumbeat.responses.record import Response, hit_key
from drumbeat.responses.suppress import ONLY_TOPIC
from drumbeat.web.desk import Away, Desk, House, first, parse_form
from drumbeat.web.headers import read_body
from drumbeat.web.site import PATIENCE_S as LOOK_S
from drumbeat.web.site import MoreRoutes, Site
from drumbeat.web.writer import Kept

ONE_CLICK = b"List-Unsubscribe"
ALL, ONLY_TOPIC_OF = "all:", "topic:"
"""What the buttons say: all of a channel, or a topic. They are named for the page that follows, which must not need
the database; what ends is decided by the message."""


class Unsubscribe(Desk):
    """The handlers."""

    async def ask(self, request: Request) -> Answer:
        """Show what can be ended."""
        token = self.site.token(request, "u")
        language = self.language(request)
        topic = await self._topic(token.message_id)
        known = self.house.topics.get(topic or "")
        channel = known.channel if known is not None else MAIL
        topics = [one.text for one in self.house.topics.values() if one.channel == channel]
        words = self._words("unsubscribe", language, channel)
        actions = [{"label": words["button"], "value": f"{ALL}{channel}"}]
        if topic is not None and len(topics) > 1:
            actions[0]["label"] = words["all"]
            only = words["only"].format(topic=self.house.text(topic))
            actions.append({"label": only, "value": f"{ONLY_TOPIC_OF}{topic}"})
        return self.show(
            "unsubscribe",
            language,
            words=words,
            topics=topics,
            actions=actions,
            links=self._choose(words["choose"], token.message_id),
        )

    async def unsubscribe(self, request: Request) -> Answer:
        """Honour a POST, whoever sends it; 503 where it could not be kept durably."""
        token = self.site.token(request, "u")
        body = await read_body(request)
        language = self.language(request)
        one_click = ONE_CLICK in body
        pressed = ALL if one_click else _pressed(body)
        only = pressed.startswith(ONLY_TOPIC_OF)
        hit = self.hit(
            request,
            token.message_id,
            scope=ONLY_TOPIC if only else None,
            one_click=one_click,
            language=language,
            text=None if one_click else self._shown(language, pressed),
        )
        if await self.site.keep(hit) is Kept.NOWHERE:
            raise Away
        page = "unsubscribed_topic" if only else "unsubscribed"
        words = self._words(page, language, pressed.removeprefix(ALL))
        return self.show(
            page,
            language,
            words=words,
            fill={"topic": self.house.text(pressed.removeprefix(ONLY_TOPIC_OF))},
            links=self._choose(words["choose"], token.message_id),
        )

    def hit(
        self,
        request: Request,
        message_id: int,
        *,
        scope: str | None,
        one_click: bool,
        language: str,
        text: str | None,
        page: str = "/u/",
    ) -> Response:
        """Return the response, with what the reader saw as its proof."""
        now = self.clock.now()
        actor, rule = self.site.machines.judge(
            Kind.UNSUBSCRIBED, request.method, request.headers, self.site.caller(request)
        )
        if not one_click and actor is Actor.UNKNOWN:
            actor, rule = Actor.HUMAN, "pressed_button"
        key = hit_key(message_id, Kind.UNSUBSCRIBED, now)
        seen = {"rule": rule, "scope": scope, **self.proof(request, page, language, text)}
        return Response(
            message_id=message_id,
            kind=Kind.UNSUBSCRIBED,
            at=now,
            dedupe_key=f"{key}:{scope}" if scope else key,
            actor=actor,
            raw={"one_click": one_click, **{name: value for name, value in seen.items() if value}},
        )

    def _shown(self, language: str, pressed: str) -> str:
        words = self._words("unsubscribe", language, pressed.removeprefix(ALL))
        only = words["only"].format(topic=self.house.text(pressed.removeprefix(ONLY_TOPIC_OF)))
        button = only if pressed.startswith(ONLY_TOPIC_OF) else words["button"]
        return "\n".join([words["heading"], words["text"], f"[{button}]"])

    def _words(self, page: str, language: str, channel: str) -> Mapping[str, str]:
        """Return a page's words, in those for messages that are no mails where the channel is another."""
        words = self.words(page, language)
        way = self.words("channels", language).get(channel)
        if way is None:
            return words
        other = {
            name.removeprefix("other_"): text for name, text in words.items() if name.startswith("other_")
        }
        return {name: text.replace("{way}", way) for name, text in {**words, **other}.items()}

    def _choose(self, label: str, message_id: int) -> list[tuple[str, str]]:
        return [(label, self.links.preferences(message_id))]

    async def _topic(self, message_id: int) -> str | None:
        """Return the message's topic; None where the database does not say so in time."""
        try:
            return await self.look(lambda connection: topic_of(connection, message_id), patience=LOOK_S)
        except Away:
            return None


def _pressed(body: bytes) -> str:
    """Return the button that was pressed: all of it, unless the form clearly says less."""
    try:
        value = first(parse_form(body), "confirm")
    except ValueError:
        return ALL
    return value if value.startswith((ALL, ONLY_TOPIC_OF)) else ALL


def routes(house: House) -> MoreRoutes:
    """Return the routes of this page."""

    def made(site: Site) -> list[BaseRoute]:
        page = Unsubscribe(site, house)
        return [
            Route("/u/{token}", page.ask, methods=["GET"]),
            Route("/u/{token}", page.unsubscribe, methods=["POST"]),
        ]

    return made
