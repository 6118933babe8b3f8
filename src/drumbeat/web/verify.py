"""Check calls beside the event loop, those that arrive together in one go.

Each provider has a thread of its own: fetching a certificate of one keeps no other's calls waiting. A step from
the loop to a thread and back costs 60 µs, more than most signatures; a crowd of calls pays it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from drumbeat.responses.webhooks import Verified, Webhook, WebhookCall

AT_ONCE = 100
"""Calls that are checked in one go."""

Outcome = Verified | Exception


class _Waiting(NamedTuple):
    call: WebhookCall
    done: asyncio.Future[Outcome]


class Verifier:
    """Checks the calls of one provider. Used on one event loop."""

    def __init__(self, webhook: Webhook) -> None:
        self.webhook = webhook
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._thread = ThreadPoolExecutor(1, f"drumbeat-verify-{webhook.name}")

    async def verify(self, call: WebhookCall) -> Verified:
        """Say that a call is genuine and fresh. Raises what the provider's check raises."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(call, done))
        self._push()
        outcome = await done
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _push(self) -> None:
        if self._busy or not self._waiting:
            return
        batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
        self._busy = True
        loop = asyncio.get_running_loop()
        checked = loop.run_in_executor(self._thread, self._check, [waiting.call for waiting in batch])
        checked.add_done_callback(partial(self._checked, batch))

    def _checked(self, batch: Sequence[_Waiting], checked: asyncio.Future[list[Outcome]]) -> None:
        self._busy = False
        for waiting, outcome in zip(batch, checked.result(), strict=True):
            if not waiting.done.done():
                waiting.done.set_result(outcome)
        self._push()

    def _check(self, calls: Sequence[WebhookCall]) -> list[Outcome]:
        return [self._one(call) for call in calls]

    def _one(self, call: WebhookCall) -> Outcome:
        try:
            return self.webhook.verify(call)
        except Exception as error:  # noqa: BLE001 - raised again where the call waits
            return error
