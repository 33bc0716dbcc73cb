"""Subtitle files as a source: SRT and WebVTT, in whatever encoding they were saved."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from mmstream.config import FeedConfig
from mmstream.types import SourceItem, Status, TextSpan

Cue = tuple[float, float, str]
"""(start_s, end_s, text), seconds from the start of the feed."""

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"</?[A-Za-z][^>]*>|<\d[\d:.]*>|\{\\[^}]*\}|\{/?[biuBIU]\}")
_NOT_A_CUE = re.compile(r"^(WEBVTT|NOTE|STYLE|REGION)\b")
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class CaptionSource:
    """Yields the captions of a file as `TextSpan`, shifted by ``epoch_s``, then a `Status` ``ended``.

    Captions that cannot be read are skipped and counted in ``num_damaged``; a file that cannot be
    read is a `Status` ``failed``.
    """

    def __init__(self, feed: FeedConfig, *, path: str, epoch_s: float) -> None:
        self.feed_id = feed.id
        self.path = path
        self.epoch_s = epoch_s
        self.num_damaged = 0
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[SourceItem]:
        end_s = self.epoch_s
        try:
            cues, self.num_damaged = parse_captions(decode_text(Path(self.path).read_bytes()))
        except OSError as error:
            yield self._status(end_s, "failed", f"cannot read captions {self.path}: {error.strerror}", "not_found")
            return
        for start, end, text in cues:
            if self._stopped.is_set():
                return
            start_s, end_s = self.epoch_s + start, self.epoch_s + end
            yield TextSpan(feed_id=self.feed_id, start_s=start_s, end_s=end_s, text=text, origin="caption")
        sentence = f"captions have ended: {len(cues)} read, {self.num_damaged} damaged"
        yield self._status(end_s, "ended", sentence, "" if cues else "damaged")

    def stop(self) -> None:
        self._stopped.set()

    def _status(self, at_s: float, state: str, sentence: str, code: str) -> Status:
        return Status(
            feed_id=self.feed_id,
            start_s=at_s,
            end_s=at_s,
            state="failed" if state == "failed" else "ended",
            sentence=sentence,
            code=code,
        )


def read_captions(path: str) -> list[Cue]:
    """The captions of an SRT or WebVTT file in order of time; damaged ones are left out.

    Raises:
        OSError: the file cannot be read.
    """
    return parse_captions(decode_text(Path(path).read_bytes()))[0]


def decode_text(data: bytes) -> str:
    """UTF-8, UTF-16 with a byte order mark, else Windows-1252 (with Latin-1 for its five holes).

    >>> decode_text("café".encode("utf-8")), decode_text("café".encode("cp1252"))
    ('café', 'café')
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def parse_captions(text: str) -> tuple[list[Cue], int]:
    r"""-> (captions in order of time, how many were damaged).

    A caption starts at its timing line, whatever stands before it (a number, a name, nothing), and
    ends at an empty line or where the next one begins.

    >>> parse_captions("1\n00:00:01,000 --> 00:00:02,500\n<i>Fire</i> in\nhall 3\n\n2\nbroken --> line\nlost")
    ([(1.0, 2.5, 'Fire in\nhall 3')], 1)
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cues: list[Cue] = []
    num_damaged = 0
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if _NOT_A_CUE.match(line):
            number = _end_of_block(lines, number)
        elif "-->" in line:
            end = _end_of_block(lines, number)
            cue = _cue(line, lines[number:end])
            if cue is not None and cue[2]:
                cues.append(cue)
            num_damaged += cue is None
            number = end
    return sorted(cues, key=lambda cue: cue[0]), num_damaged


def _end_of_block(lines: list[str], number: int) -> int:
    while number < len(lines) and lines[number].strip() and "-->" not in lines[number]:
        number += 1
    if number < len(lines) and "-->" in lines[number] and lines[number - 1].strip().isdigit():
        number -= 1  # no empty line between two captions: that was the next one's number
    return number


def _cue(timing: str, body: list[str]) -> Cue | None:
    match = _TIMING.match(timing)
    if match is None:
        return None
    fields = match.groups()
    start_s, end_s = _seconds(fields[:4]), _seconds(fields[4:])
    if end_s < start_s:
        return None
    words = (html.unescape(_TAG.sub("", line)).strip() for line in body)
    return start_s, end_s, "\n".join(line for line in words if line)


def _seconds(fields: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (field or "0" for field in fields)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
