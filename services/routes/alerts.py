"""Alerts over HTTP: list, answer, clip, pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field
from starlette.responses import FileResponse

from mmstream.errors import StoreError
from mmstream.storage.base import AlertQuery
from mmstream.types import Alert, AlertState, Severity, Verdict
from services.problems import Problem
from services.routes.context import Context, no_such_alert

CUTTING_S = 120.0
"""A clip that is not there so long after the alert's end is not coming."""

AlertIdPath = Annotated[str, Path(description="The alert's id", examples=["gate-3:1700000000250"])]
Moment = Annotated[str | None, Query(description="ISO 8601 or Unix seconds", examples=["2026-02-01T08:00:00Z"])]
MediaField = Literal["clip", "thumbnail", "spectrogram"]
MEDIA: tuple[tuple[MediaField, str, str], ...] = (
    ("clip", "clip.mp4", "video/mp4"),
    ("thumbnail", "thumbnail.jpg", "image/jpeg"),
    ("spectrogram", "spectrogram.png", "image/png"),
)


class AlertsPage(BaseModel):
    alerts: list[Alert]
    next_cursor: str | None
    """Give it as ``cursor`` for the page of older alerts; null on the last page."""


class Closing(BaseModel):
    """What the operator thinks of an alert; kept with it."""

    verdict: Verdict = Field(examples=["false_alarm"])
    note: str = Field("", max_length=2000, examples=["The sweeper, every Tuesday."])
    by: str = Field("", max_length=100, description="Who says so", examples=["night shift"])


def parse_moment(text: str | None, name: str) -> float | None:
    """Unix seconds of an ISO 8601 time (UTC when it names no zone) or a number.

    >>> parse_moment("1700000000.5", "since"), parse_moment("2023-11-14T22:13:20Z", "since")
    (1700000000.5, 1700000000.0)
    """
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        sentence = f"{name}: want ISO 8601 such as 2026-02-01T08:00:00Z or Unix seconds, got {text!r}."
        raise Problem(422, "wrong_request", sentence) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def alerts_router(context: Context) -> APIRouter:
    router = APIRouter(prefix="/alerts", tags=["alerts"])
    _add_reading(router, context)
    _add_answers(router, context)
    for field, file_name, media_type in MEDIA:
        _add_media(router, context, field, file_name, media_type)
    _add_normal_moments(router, context)
    return router


def _add_reading(router: APIRouter, context: Context) -> None:
    @router.get("", summary="Alerts, newest first", response_model=AlertsPage)
    def list_alerts(
        feed: str | None = None,
        state: AlertState | None = None,
        severity: Severity | None = None,
        since: Moment = None,
        until: Moment = None,
        quiet: Annotated[
            bool, Query(description="Those that were told to nobody instead: notices, suppressed")
        ] = False,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: str | None = None,
    ) -> Mapping[str, Any]:
        query = AlertQuery(
            feed_id=feed,
            state=state,
            severity=severity,
            since_s=parse_moment(since, "since"),
            until_s=parse_moment(until, "until"),
            quiet=quiet or severity == "notice",
            limit=limit,
            cursor=cursor,
        )
        try:
            page = context.reader.alerts(query)
        except StoreError as error:
            if cursor is None:
                raise
            raise Problem(422, "wrong_cursor", f"cursor: {error}") from None
        return {"alerts": list(page.alerts), "next_cursor": page.next_cursor}

    @router.get("/{alert_id}", summary="One alert", response_model=Alert)
    def get_alert(alert_id: AlertIdPath) -> Alert:
        return context.alert(alert_id)


def _add_answers(router: APIRouter, context: Context) -> None:
    async def change(alert_id: str, changes: Mapping[str, Any]) -> Alert:
        alert = await context.commands.update_alert(alert_id, changes)
        if alert is None:
            raise no_such_alert(alert_id)
        return alert

    @router.post("/{alert_id}/ack", summary="Somebody is looking at it", response_model=Alert)
    async def acknowledge(alert_id: AlertIdPath) -> Alert:
        alert = await asyncio.to_thread(context.alert, alert_id)
        if alert.state == "closed":
            raise Problem(409, "already_closed", f"Alert {alert_id!r} is closed; close it again to give a verdict.")
        return alert if alert.state == "acknowledged" else await change(alert_id, {"state": "acknowledged"})

    @router.post("/{alert_id}/close", summary="Close with a verdict", response_model=Alert)
    async def close(alert_id: AlertIdPath, closing: Closing) -> Alert:
        said = {"verdict": closing.verdict, "verdict_by": closing.by, "note": closing.note}
        return await change(alert_id, {"state": "closed", **said})

    @router.delete("/{alert_id}/verdict", summary="Take the verdict back", response_model=Alert)
    async def take_back(alert_id: AlertIdPath, by: Annotated[str, Query(max_length=100)] = "") -> Alert:
        """What it taught the feed is undone; the alert is acknowledged, as before the verdict."""
        alert = await asyncio.to_thread(context.alert, alert_id)
        if alert.verdict is None:
            return alert
        return await change(alert_id, {"state": "acknowledged", "verdict": None, "verdict_by": by})


def _add_media(router: APIRouter, context: Context, field: MediaField, file_name: str, media_type: str) -> None:
    @router.head(f"/{{alert_id}}/{file_name}", include_in_schema=False)
    @router.get(
        f"/{{alert_id}}/{file_name}",
        operation_id=f"get_{field}",
        summary=f"The {field} of an alert",
        response_class=FileResponse,
        responses={200: {"content": {media_type: {}}}, 206: {"description": "The asked-for bytes"}},
    )
    def get_media(alert_id: AlertIdPath) -> Response:
        alert = context.alert(alert_id)
        key = getattr(alert, field)
        path = context.media.local_path(key) if key else None
        if path is None:
            raise _no_media(alert, field, context.now())
        # a clip is replaced once, when its alert closes: the browser must ask whether its copy still holds
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": "private, no-cache"})


def _add_normal_moments(router: APIRouter, context: Context) -> None:
    @router.head("/{alert_id}/normal/{number}.jpg", include_in_schema=False)
    @router.get(
        "/{alert_id}/normal/{number}.jpg",
        operation_id="get_normal_moment",
        summary="The picture of a normal moment that is most like the alert",
        response_class=FileResponse,
        responses={200: {"content": {"image/jpeg": {}}}},
    )
    def get_normal_moment(
        alert_id: AlertIdPath,
        number: Annotated[int, Path(ge=1, description="Which of the alert's `normal` moments, from 1", examples=[1])],
    ) -> Response:
        alert = context.alert(alert_id)
        key = alert.normal[number - 1].picture if number <= len(alert.normal) else ""
        path = context.media.local_path(key) if key else None
        if path is None:
            sentence = f"There is no picture {number} of a normal moment with {alert_id!r}: see its field `normal`."
            raise Problem(404, "no_normal_moment", sentence)
        # an alert that goes on may be shown beside other moments
        return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "private, no-cache"})


def _no_media(alert: Alert, field: MediaField, now_s: float) -> Problem:
    if getattr(alert, field):
        return Problem(404, f"{field}_deleted", f"The {field} of {alert.alert_id!r} is not kept any more.")
    if now_s - alert.end_s < CUTTING_S:
        sentence = f"The {field} of {alert.alert_id!r} is still being cut; try again in a few seconds."
        return Problem(404, f"{field}_pending", sentence, {"Retry-After": "3"})
    return Problem(404, f"no_{field}", f"There is no {field} of {alert.alert_id!r}: its feed had none to give.")
