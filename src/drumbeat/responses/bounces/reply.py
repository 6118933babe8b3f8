"""Find what an SMTP server said inside text: codes, its own words, and which command it refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from drumbeat.responses.bounces.classify import Step, Verdict, classify, step_in
from drumbeat.responses.bounces.prose import Told
from drumbeat.responses.bounces.statuses import EXACT

_CODE = re.compile(r"(?:^|(?<=[\s:;>\[('\"]))([45]\d\d)(?=[ \-:)\]'\"]|$)", re.MULTILINE)
_STATUS = re.compile(r"(?<![\d.])([245]\.[0-7]\.\d{1,3})(?![\d.]*\d)")
_ASKED = re.compile(r"\s*(?:>>>|Sent <<<|In:)\s*(\S.{0,200})", re.IGNORECASE)
_ANSWERED = re.compile(r"\s*(?:<<<|Received >>>|Out:)\s*([245]\d\d\b.{0,1000})", re.IGNORECASE)
_RCPT_WAS_REFUSED = re.compile(
    r"<<<\s*5\d\d.{0,80}(?:need\s+rcpt|rcpt\s+first|valid\s+rcpt|rcpt\s+command|no\s+(?:valid\s+)?recipients)",
    re.IGNORECASE,
)
_COMMANDS = (
    ("MAIL", Step.MAIL),
    ("RCPT", Step.RCPT),
    ("DATA", Step.DATA),
    ("BDAT", Step.DATA),
    (".", Step.DATA),
    ("EHLO", Step.HELO),
    ("HELO", Step.HELO),
    ("LHLO", Step.HELO),
)
_LETTERS = re.compile(r"[^\W\d]{3}")
LONGEST_SHOWN = 500


@dataclass(frozen=True)
class Reply:
    """What a server said. `words` begins at its code, where it gave one."""

    code: int | None = None
    statuses: tuple[str, ...] = ()
    words: str = ""
    step: Step | None = None


def read_reply(text: str) -> Reply:
    """Return the first refusal that stands in a text: a session's transcript, or a sentence that quotes it."""
    if (found := _from_transcript(text)) is not None:
        return found
    code = _CODE.search(text)
    words = text
    if code is not None:
        words = text[code.start() :].partition("\n\n")[0]
    return Reply(int(code.group(1)) if code else None, tuple(_STATUS.findall(words)), words, step_in(text))


def _from_transcript(text: str) -> Reply | None:
    """Read `>>> RCPT TO:..` and `<<< 550 ..` lines. Some servers leave out what they asked."""
    step: Step | None = None
    words: list[str] = []
    code = ""
    for line in text.split("\n"):
        if (asked := _ASKED.match(line)) is not None:
            if words:
                break
            command = asked.group(1).upper()
            step = next((known for name, known in _COMMANDS if command.startswith(name)), None)
        elif (answered := _ANSWERED.match(line)) is not None:
            if answered.group(1)[0] in "45" and (not words or answered.group(1)[:3] == code):
                code = answered.group(1)[:3]
                words.append(answered.group(1))
        elif words:
            break
    if not words:
        return None
    if step is Step.DATA and _RCPT_WAS_REFUSED.search(text):
        # Commands were pipelined: DATA was sent before the answer to RCPT came.
        step = Step.RCPT
    said = " ".join(words)
    return Reply(int(code), tuple(_STATUS.findall(said)), said, step)


def read_prose(told: Told, names: list[str], others: list[str]) -> tuple[Reply, list[str]]:
    """Return what was said of an address in a mail's prose, and the texts that tell why, the closest first.

    `names`: what the address is called; `others`: the addresses that the mail is about besides.
    """
    section = told.about(names, others)
    line, _, rest = section.partition("\n")
    if rest and _CODE.match(line.strip()):
        section = line  # an old sendmail's `554 <address>... reason`, all in one line
    said = read_reply(section)
    texts = [said.words, section] if said.code else [section]
    if not others and not said.code and told.text != section:
        # Some tell the cause first and whom it concerns after.
        beyond = read_reply(told.text)
        texts += [beyond.words, told.text] if beyond.code else [told.text]
        words = beyond.words if beyond.code else section
        said = Reply(beyond.code, said.statuses or beyond.statuses, words, beyond.step)
    return said, texts


def statuses_in(text: str) -> tuple[str, ...]:
    """Return the enhanced status codes in a text, in order."""
    return tuple(_STATUS.findall(text))


def best_status(candidates: tuple[str, ...]) -> str | None:
    """Return the status code that says most: one with an exact meaning, else any but x.0.0, else the first."""
    exact = [status for status in candidates if status[2:] in EXACT]
    telling = [status for status in candidates if not status.endswith(".0.0")]
    return next(iter(exact or telling or candidates), None)


def judge(said: Reply, candidates: tuple[str, ...], texts: list[str], recipient: str | None) -> Verdict:
    """Return the verdict of the first text that says anything.

    `texts`: the server's own words first; what the reporting system added comes after, since help pages list
    every cause there may be.
    """
    status = best_status(candidates)
    domain = (recipient or "").rpartition("@")[2]
    verdicts = [
        classify(said.code, status, text, step=said.step, domain=domain)
        for text in [*(text for text in texts if _LETTERS.search(text)), ""]
    ]
    return max(verdicts, key=lambda verdict: verdict.certainty)


def one_line(text: str) -> str:
    """Return a text as one line to show, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[: LONGEST_SHOWN - 1]}…"
