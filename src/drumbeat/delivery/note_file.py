"""Messages of channels beside mail written into a folder: for trying out, and for programs that pick them up.

    notes/sms/<key>.txt          To, Campaign, a blank line, the text
    notes/telegram/<key>.txt
    notes/webhook/<key>.json     the payload and nothing else

Written beside and then renamed, so that nobody sees half a file; a message handed over twice is still one file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from drumbeat.delivery import Answer, Begin, Done, Note, Outcome
from drumbeat.errors import DeliveryError


class NoteFileBackend:
    """Writes each message as one file into `folder`."""

    name = "file"
    eight_bit = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Make the folder. Raises DeliveryError where it cannot be written to."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None

    def close(self) -> None:
        """Nothing to let go of."""

    def hand_over(self, parcels: Sequence[Note], begin: Begin, done: Done) -> None:
        """Write each message, and after `begin` give it its name. Raises DeliveryError."""
        for note in parcels:
            done(note, self._one(note, begin))

    def _one(self, note: Note, begin: Begin) -> Answer:
        ending = "json" if note.channel == "webhook" else "txt"
        finished = self._folder / f"{note.key}.{ending}"
        draft = self._folder / f".{note.key}.tmp"
        try:
            with draft.open("w", encoding="utf-8", newline="") as file:
                file.write(_content(note))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from None
        try:
            go = begin(note)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        if not go:
            draft.unlink(missing_ok=True)
            return Answer(Outcome.WITHDRAWN, "withdrawn before it was put into the folder")
        try:
            draft.replace(finished)
        except OSError as error:
            # A rename happens as a whole or not at all.
            return Answer(Outcome.DEFERRED, f"cannot write {finished}: {error.strerror}")
        return Answer(Outcome.ACCEPTED, f"written to {finished.name}")

    def _unusable(self, error: OSError) -> DeliveryError:
        return DeliveryError(
            f"cannot write to the folder {self._folder}: {error.strerror}; check delivery.file.notes"
        )


def _content(note: Note) -> str:
    if note.channel == "webhook":
        return f"{note.text}\n"
    return f"To: {note.to}\nCampaign: {note.campaign}\n\n{note.text}\n"
