"""The words of an alert: what was heard or read in it, each thing once."""

from __future__ import annotations

import dataclasses

from mmstream.types import Alert, TextSpan

MAX_CHARS = 240
AROUND_S = 10.0
"""Words that tell of a time so near to an alert are told with it: what led up to it was said before it began."""
AFTER_S = 60.0
"""So long after its last unusual window an alert takes up words that come late."""


def joined(text: str, more: str) -> str:
    """``text`` with what is new in ``more``; windows overlap, so one may begin as the other ends.

    >>> joined("help help", "help"), joined("fire at gate 3", "gate 3 now"), joined("", "fire")
    ('help help', 'fire at gate 3 now', 'fire')
    """
    if more in text:
        return text
    if text in more:
        return more[:MAX_CHARS]
    words, new = text.split(), more.split()
    shared = next((size for size in range(min(len(words), len(new)), 0, -1) if words[-size:] == new[:size]), 0)
    return " ".join([text, *new[shared:]]).strip()[:MAX_CHARS]


def gap_s(alert: Alert, span: TextSpan) -> float:
    """How far words are from an alert in time; 0 when they reach into it."""
    return max(0.0, span.start_s - alert.end_s, alert.start_s - span.end_s)


def with_late_words(alert: Alert, span: TextSpan, now_s: float) -> Alert | None:
    """The alert with words of about its time; None when they are not about it, come too late, or say nothing new."""
    if gap_s(alert, span) > AROUND_S or now_s > alert.end_s + AFTER_S:
        return None
    text = joined(alert.text, span.text.strip())
    return dataclasses.replace(alert, text=text) if text != alert.text else None
