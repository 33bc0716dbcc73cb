"""Alerts as they happen: server-sent events that resume where the client stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import TypeAdapter
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mmstream.errors import StoreError
from mmstream.storage.base import AlertEvent, StoreReader, is_quiet
from mmstream.types import Alert
from services.problems import Problem
from services.routes.context import Context

POLL_S = 0.4
HEARTBEAT_S = 15.0
BATCH = 100
"""Events read at once; a client that comes back after a night gets them batch by batch."""

logger = logging.getLogger(__name__)
_ALERT = TypeAdapter(Alert)


class StreamSlots:
    """How many streams are connected, and how many may be."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self) -> None:
        if self.used >= self.limit:
            sentence = f"All {self.limit} event streams are taken (api.max_streams); close a dashboard, or raise it."
            raise Problem(503, "too_many_streams", sentence, {"Retry-After": "10"})
        self.used += 1


class EventStream(StreamingResponse):
    """Gives its slot back however the connection ends, even before the first event."""

    def __init__(self, events: AsyncIterator[bytes], slots: StreamSlots) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._slots = slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slots.used -= 1


async def follow(
    reader: StoreReader, sequence: int, *, poll_s: float = POLL_S, heartbeat_s: float = HEARTBEAT_S
) -> AsyncIterator[bytes]:
    """The bytes of the stream: what was told after ``sequence``, for ever; a comment when it is quiet.

    Notices and alerts beyond the budget are left out: their numbers are missing from the stream.
    """
    yield f"retry: 2000\nid: {sequence}\n\n".encode()
    quiet_s = 0.0
    while True:
        try:
            events = await asyncio.to_thread(reader.events_after, sequence, BATCH)
        except StoreError as error:
            logger.warning("event stream: %s", error)
            events = ()
        for event in events:
            sequence = event.sequence
            if not is_quiet(event.alert):
                yield encode(event)
                quiet_s = 0.0
        if len(events) == BATCH:
            continue
        if quiet_s >= heartbeat_s:
            yield b": nothing new\n\n"
            quiet_s = 0.0
        await asyncio.sleep(poll_s)
        quiet_s += poll_s


def encode(event: AlertEvent) -> bytes:
    """One event. JSON holds no raw line ends, so one ``data:`` line is enough."""
    return b"id: %d\nevent: alert\ndata: %b\n\n" % (event.sequence, _ALERT.dump_json(event.alert))


def stream_router(context: Context, slots: StreamSlots) -> APIRouter:
    router = APIRouter(tags=["alerts"])

    @router.get(
        "/alerts/stream",
        summary="Alerts as they happen (server-sent events)",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}, "description": "id = sequence, data = an alert"}},
    )
    async def stream(
        last_event_id: Annotated[int | None, Query(ge=0)] = None,
        last_event_id_header: Annotated[int | None, Header(alias="Last-Event-ID", ge=0)] = None,
    ) -> EventStream:
        newest = await asyncio.to_thread(context.reader.last_sequence)
        asked = last_event_id if last_event_id_header is None else last_event_id_header
        slots.take()
        # a number from before the store was made anew would wait for ever
        return EventStream(follow(context.reader, newest if asked is None else min(asked, newest)), slots)

    return router
