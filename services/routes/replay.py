"""What would have been, over HTTP: the last days gone through again with something changed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field

from mmstream.errors import StoreError
from mmstream.replay.whatif import DAY_S, DEFAULT_DAYS, MAX_DAYS, Changes, WhatIf
from mmstream.storage.base import AlertQuery
from mmstream.types import Alert, Severity
from services.problems import Problem
from services.routes.alerts import parse_moment
from services.routes.context import Context

MAX_ALERTS = 50_000
"""Of those days, of all feeds together."""


class Replays(Protocol):
    """What answers. Every method may block, and raises StoreError with a sentence."""

    def run(self, question: WhatIf, own: Mapping[str, float | None], alerts: Sequence[Alert]) -> dict[str, Any]:
        """``own``: feed -> its own budget, None where the site's holds; ``alerts``: of those days."""
        ...

    def report(self, model: str) -> str:
        """What the gate found about SUBJECT@VERSION, in words."""
        ...


class ReplayIn(Changes):
    """A question. Without any change the days are gone through as they were."""

    since: str | float | None = Field(None, description="ISO 8601 or Unix seconds; a week ago when left out")
    until: str | float | None = Field(None, description="ISO 8601 or Unix seconds; now when left out")
    model: str | None = Field(None, max_length=200, description="What the gate found about SUBJECT@VERSION")


class FeedNumbers(BaseModel):
    """Alerts of one feed that were told, or would have been."""

    now: int
    then: int
    kept: int
    appeared: int
    vanished: int
    over_budget: int = 0
    """Would have been raised, but the budget was used up."""


class DayNumbers(BaseModel):
    now: int
    then: int


class ReplayedAlert(BaseModel):
    fate: Literal["kept", "appeared", "vanished"]
    kind: Literal["unusual", "rule"]
    cause: str
    """Of a rule's alert: the rule."""
    alert_id: str | None
    """Of one that there was; None: it would have come."""
    feed_id: str
    start_s: float
    end_s: float
    severity: Severity
    surprise: float
    shares: dict[str, float]
    provisional: bool


class ReplayOut(BaseModel):
    """What would have been told beside what was."""

    since_s: float
    until_s: float
    total: FeedNumbers
    feeds: dict[str, FeedNumbers]
    days: dict[str, DayNumbers]
    """UTC date -> alerts of all feeds."""
    alerts: list[ReplayedAlert]
    """Those that differ first; at most 2000."""
    num_left_out: int
    num_blocks: int
    num_windows: int
    read_s: float
    compute_s: float
    notes: list[str]
    """What this answer cannot know."""


def replay_router(context: Context, replays: Replays | None) -> APIRouter:
    """``replays``: None where no archive is kept."""
    router = APIRouter(tags=["replay"])
    busy = asyncio.Lock()

    @router.post("/replay", summary="Which alerts would have come with another budget, weights or rules")
    async def what_if(asked: Annotated[ReplayIn, Body()]) -> ReplayOut:
        if replays is None:
            raise Problem(503, "archive_off", "No moments are kept: archive.enabled is false in site.yaml.")
        question = _question(asked, context.now())
        if asked.model is not None:
            return await asyncio.to_thread(_of_model, asked, question, replays)
        if busy.locked():
            sentence = "Another replay is running; try again when it has been answered."
            raise Problem(429, "busy", sentence, {"Retry-After": "10"})
        async with busy:
            own, alerts = await asyncio.to_thread(_happened, context, question)
            try:
                answer = await asyncio.to_thread(replays.run, question, own, alerts)
            except StoreError as error:
                raise Problem(503, "replay_failed", f"{error}.", {"Retry-After": "10"}) from None
        return ReplayOut(since_s=question.since_s, until_s=question.until_s, **answer)

    return router


def _question(asked: ReplayIn, now_s: float) -> WhatIf:
    until_s = parse_moment(None if asked.until is None else str(asked.until), "until")
    until_s = now_s if until_s is None else until_s
    since_s = parse_moment(None if asked.since is None else str(asked.since), "since")
    since_s = until_s - DEFAULT_DAYS * DAY_S if since_s is None else since_s
    if not 0 < until_s - since_s <= MAX_DAYS * DAY_S:
        raise Problem(422, "wrong_request", f"since: must be before until, by at most {MAX_DAYS:g} days.")
    changes = asked.model_dump(exclude={"since", "until", "model"})
    return WhatIf.model_validate({**changes, "since_s": since_s, "until_s": until_s})


def _happened(context: Context, question: WhatIf) -> tuple[dict[str, float | None], list[Alert]]:
    """Feed -> budget of its own; the alerts of those days."""
    own = {record.feed_id: record.settings.get("budget_alerts_per_day") for record in context.reader.feeds()}
    unknown = sorted({*question.feeds, *question.budgets} - own.keys())
    if unknown:
        raise Problem(422, "no_such_feed", f"There is no feed {unknown[0]!r}; GET /api/v1/feeds lists them.")
    alerts: list[Alert] = []
    cursor: str | None = None
    while len(alerts) < MAX_ALERTS:
        query = AlertQuery(since_s=question.since_s, until_s=question.until_s, limit=500, cursor=cursor)
        page = context.reader.alerts(query)
        alerts += map(_slim, page.alerts)
        cursor = page.next_cursor
        if cursor is None:
            return own, alerts
    raise Problem(422, "too_many_alerts", f"There are more than {MAX_ALERTS} alerts in those days; ask about fewer.")


def _slim(alert: Alert) -> Alert:
    """Without what is only shown: tens of thousands are held, and handed to another process."""
    return dataclasses.replace(
        alert, channels={}, regions={}, normal=(), sentence="", sentences={}, text="", narration="", note="", models=()
    )


def _of_model(asked: ReplayIn, question: WhatIf, replays: Replays) -> ReplayOut:
    """Another model sees otherwise, which nothing that is kept of windows can tell: what the gate has found stands."""
    if asked.model_fields_set - {"model", "since", "until"}:
        raise Problem(422, "wrong_request", "model: a model is asked about by itself; leave the other changes out.")
    assert asked.model is not None
    try:
        found = replays.report(asked.model)
    except StoreError as error:
        raise Problem(404, "no_such_model", f"{error}.") from None
    nothing = FeedNumbers(now=0, then=0, kept=0, appeared=0, vanished=0)
    return ReplayOut(
        since_s=question.since_s,
        until_s=question.until_s,
        total=nothing,
        feeds={},
        days={},
        alerts=[],
        num_left_out=0,
        num_blocks=0,
        num_windows=0,
        read_s=0.0,
        compute_s=0.0,
        notes=[found],
    )
