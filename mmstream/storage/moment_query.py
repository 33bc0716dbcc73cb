"""What is asked of the archive and what it answers: queries, found moments, ranks, cursors. No database here."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmstream.errors import MmstreamError
from mmstream.storage.archive import quoted
from mmstream.storage.terms import snippet, stored_terms
from mmstream.types import Float32

RRF_K = 60
"""Of reciprocal rank fusion (Cormack, Clarke, Büttcher 2009)."""
MAX_SHOWN_TEXT = 240
"""Characters around the first word asked for."""


class WrongSearch(MmstreamError):
    """The question cannot be answered as it is asked: the cursor is of no search, or there is no such example."""


class NoSuchExample(WrongSearch):
    """There is no moment or alert of that id in the archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentQuery:
    """Which moments. ``like`` and ``words`` rank; without them the newest come first."""

    words: str = ""
    like: str = ""
    """The id of a moment or of an alert."""
    vectors: Mapping[str, tuple[str, Float32]] = field(default_factory=dict)
    """Channel -> (its model, the words in its space)."""
    feed_id: str | None = None
    state: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    limit: int = 20
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMoment:
    """One moment, and why it is among the found."""

    moment_id: str
    feed_id: str
    start_s: float
    end_s: float
    surprise: float
    state: str
    alert_id: str
    text: str
    picture: str
    """Key in the media store, where the picture may have gone by now."""
    pictured: bool
    """A small picture is kept with it in the archive."""
    p: Mapping[str, float]
    models: Mapping[str, str]
    why: tuple[str, ...] = ()
    """``words: smoke, hall``, ``vision: 0.83``: the words that match, the channels with their cosine."""
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentPage:
    moments: Sequence[FoundMoment]
    next_cursor: str | None


def merged(lists: Sequence[tuple[str, list[tuple[str, float]]]]) -> list[tuple[str, float, dict[str, float]]]:
    """(moment id, score, list -> its own measure), best first, by reciprocal rank.

    >>> merged([("words", [("a", 9.0), ("b", 5.0)]), ("vision", [("b", 0.9)])])[0][0]
    'b'
    """
    scores: dict[str, float] = {}
    why: dict[str, dict[str, float]] = {}
    for name, ranked in lists:
        rank, before = 0, None
        for place, (key, measure) in enumerate(ranked, start=1):
            rank, before = (rank if measure == before else place), measure  # equals share a rank
            scores[key] = scores.get(key, 0.0) + 1.0 / (RRF_K + rank)
            why.setdefault(key, {})[name] = measure
    return [(key, score, why[key]) for key, score in sorted(scores.items(), key=lambda item: (-item[1], item[0]))]


def found_moment(row: Mapping[str, Any], why: Mapping[str, float], score: float, terms: Sequence[str]) -> FoundMoment:
    text = row["text"] or ""
    evidence = json.loads(row["evidence"] or "{}")
    reasons = []
    for name, measure in why.items():
        in_text = set(stored_terms(text).split())
        said = ", ".join(term for term in terms if term in in_text) or ", ".join(terms)
        reasons.append(f"words: {said}" if name == "words" else f"{name}: {measure:.2f}")
    return FoundMoment(
        moment_id=row["id"],
        feed_id=row["feed_id"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        surprise=row["surprise"],
        state=row["state"],
        alert_id=row["alert_id"] or "",
        text=snippet(text, terms, MAX_SHOWN_TEXT),
        picture=row["picture"] or "",
        pictured=bool(row["pictured"]),
        p=evidence.get("p", {}),
        models=evidence.get("models", {}),
        why=tuple(reasons),
        score=score,
    )


def where_of(query: MomentQuery) -> str:
    """As SQL, values quoted."""
    parts = []
    if query.feed_id is not None:
        parts.append(f"feed_id = {quoted(query.feed_id)}")
    if query.state is not None:
        parts.append(f"state = {quoted(query.state)}")
    if query.since_s is not None:
        parts.append(f"start_s >= {float(query.since_s)!r}")
    if query.until_s is not None:
        parts.append(f"start_s < {float(query.until_s)!r}")
    return " AND ".join(parts)


def offset_of(cursor: str | None) -> int:
    if cursor is None:
        return 0
    skip = unpacked(cursor).get("skip")
    if not isinstance(skip, int) or skip < 0:
        raise WrongSearch("the cursor is not one that this search gave; start again without it")
    return skip


def packed(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unpacked(cursor: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        value = None
    if not isinstance(value, dict):
        raise WrongSearch("the cursor is not one that this search gave; start again without it")
    return value
