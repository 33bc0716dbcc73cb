"""Words and sensor readings that are sent to the site instead of fetched by it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from mmstream.errors import StoreError
from mmstream.types import Reading, TextSpan
from services.problems import Problem
from services.routes.context import Context

MAX_ITEMS = 1000
MAX_AHEAD_S = 3600.0
"""Further in the future than any clock error: most likely milliseconds were sent."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, description="Unix seconds; now when left out")]


class TextIn(BaseModel):
    """Words about a feed: a radio message, a report, a transcript made elsewhere."""

    feed_id: str = Field(examples=["gate-3"])
    text: str = Field(min_length=1, max_length=4000, examples=["Smoke near the ticket hall."])
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    confidence: float = Field(1.0, ge=0, le=1)


class ReadingIn(BaseModel):
    """One number from a sensor."""

    feed_id: str = Field(examples=["gate-3"])
    sensor: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["co2_ppm"])
    value: float = Field(allow_inf_nan=False, examples=[612.0])
    start_s: Seconds | None = None


class Texts(BaseModel):
    spans: list[TextIn] = Field(min_length=1, max_length=MAX_ITEMS)


class Readings(BaseModel):
    readings: list[ReadingIn] = Field(min_length=1, max_length=MAX_ITEMS)


class Accepted(BaseModel):
    accepted: int
    """How many were taken; the rest found their feed's queue full."""


def push_router(context: Context) -> APIRouter:
    router = APIRouter(tags=["push"])

    @router.post("/text", status_code=202, summary="Send words about feeds")
    async def push_text(body: Texts) -> Accepted:
        await asyncio.to_thread(_check, context, body.spans)
        spans = [_span(span, context.now()) for span in body.spans]
        try:
            return Accepted(accepted=await context.commands.push_text(spans))
        except StoreError as error:
            raise _busy(error) from None

    @router.post("/readings", status_code=202, summary="Send sensor readings")
    async def push_readings(body: Readings) -> Accepted:
        await asyncio.to_thread(_check, context, body.readings)
        readings = [_reading(reading, context.now()) for reading in body.readings]
        try:
            return Accepted(accepted=await context.commands.push_readings(readings))
        except StoreError as error:
            raise _busy(error) from None

    return router


def _check(context: Context, items: Iterable[TextIn | ReadingIn]) -> None:
    latest_s = context.now() + MAX_AHEAD_S
    for item in items:
        if item.start_s is not None and item.start_s > latest_s:
            raise Problem(422, "wrong_request", f"start_s: {item.start_s:.0f} is in the future; want Unix seconds.")
    for feed_id in {item.feed_id for item in items}:
        context.feed(feed_id)


def _span(span: TextIn, now_s: float) -> TextSpan:
    start_s = now_s if span.start_s is None else span.start_s
    end_s = start_s if span.end_s is None else span.end_s
    if end_s < start_s:
        raise Problem(422, "wrong_request", f"end_s: {end_s} is before start_s {start_s}.")
    return TextSpan(
        feed_id=span.feed_id,
        start_s=start_s,
        end_s=end_s,
        text=span.text,
        origin="pushed",
        confidence=span.confidence,
    )


def _reading(reading: ReadingIn, now_s: float) -> Reading:
    at_s = now_s if reading.start_s is None else reading.start_s
    return Reading(feed_id=reading.feed_id, start_s=at_s, end_s=at_s, sensor=reading.sensor, value=reading.value)


def _busy(error: StoreError) -> Problem:
    return Problem(503, "busy", str(error), {"Retry-After": "1"})
