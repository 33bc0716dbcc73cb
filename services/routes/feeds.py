"""Feeds over HTTP: list, probe and add, change, pause, remove, last picture."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from mmstream.config import FeedConfig, SiteConfig, explain
from mmstream.errors import ConfigError, SourceError, redact
from mmstream.storage.base import FeedRecord
from services.metrics import is_stale
from services.problems import Problem
from services.routes.context import Context

MAX_PROBES = 4
"""Probes at once; each holds a thread for as long as the camera lets it wait."""
PAGE_SIZE = 1000

FeedIdPath = Annotated[str, Path(description="The feed's id", examples=["gate-3"])]
Settings = Annotated[dict[str, Any], Body()]


class FeedOut(BaseModel):
    """A feed as the operator wants it, and how it is doing."""

    model_config = ConfigDict(title="Feed")
    feed_id: str
    name: str
    settings: dict[str, Any]
    """A FeedConfig; user names, passwords and tokens in URLs read ``***``."""
    revision: int
    paused: bool
    stale: bool
    """True when nobody has renewed the status for a minute."""
    status: dict[str, Any] | None
    probe: dict[str, Any] | None = None
    """What the probe found; only in the answer to POST."""


class FeedsPage(BaseModel):
    feeds: list[FeedOut]
    next_cursor: str | None


def hide_secrets(value: Any) -> Any:
    """``value`` (JSON) with the credentials of every URL in it hidden.

    >>> hide_secrets({"url": "http://u:p@cam/x?pwd=1&channel=2"})
    {'url': 'http://***@cam/x?pwd=***&channel=2'}
    """
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {key: hide_secrets(item) for key, item in value.items()}
        case list() | tuple():
            return [hide_secrets(item) for item in value]
    return value


def check_settings(settings: Mapping[str, Any]) -> FeedConfig:
    """Raises Problem 422 with one sentence per mistake."""
    try:
        return SiteConfig.model_validate({"feeds": [dict(settings)]}).feeds[0]
    except ValidationError as error:
        sentences = explain(error, "feed").replace("feeds.0.", "")
        raise Problem(422, "wrong_setting", f"{sentences}.") from None


def merge(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes`` over ``current``; a value that is only the hidden form of what is stored changes nothing,
    so that a client can send back what it was given without losing the camera's password."""
    kept = {key: value for key, value in changes.items() if value != hide_secrets(current.get(key))}
    return {**current, **kept}


def feeds_router(context: Context, probe_threads: ThreadPoolExecutor) -> APIRouter:
    router = APIRouter(prefix="/feeds", tags=["feeds"])
    _add_reading(router, context)
    _add_creation(router, context, _Prober(context, probe_threads))
    _add_changes(router, context)
    return router


def _add_reading(router: APIRouter, context: Context) -> None:
    @router.get("", summary="All feeds with their latest status", response_model=FeedsPage)
    def list_feeds(limit: Annotated[int, Query(ge=1, le=PAGE_SIZE)] = PAGE_SIZE, cursor: str = "") -> Mapping[str, Any]:
        statuses = context.reader.statuses()
        records = sorted(context.reader.feeds(), key=lambda record: record.feed_id)
        page = [record for record in records if record.feed_id > cursor]
        feeds = [_view(record, statuses.get(record.feed_id), context.now()) for record in page[:limit]]
        return {"feeds": feeds, "next_cursor": feeds[-1]["feed_id"] if len(page) > limit else None}

    @router.get("/{feed_id}", summary="One feed", response_model=FeedOut)
    def get_feed(feed_id: FeedIdPath) -> Mapping[str, Any]:
        record = context.feed(feed_id)
        return _view(record, context.reader.statuses().get(feed_id), context.now())

    @router.head("/{feed_id}/frame.jpg", include_in_schema=False)
    @router.get("/{feed_id}/frame.jpg", summary="The last picture", response_class=Response)
    def get_frame(feed_id: FeedIdPath, request: Request) -> Response:
        context.feed(feed_id)
        jpeg = context.media.get(f"feeds/{feed_id}/last.jpg")
        if jpeg is None:
            raise Problem(404, "no_frame_yet", f"Feed {feed_id!r} has not shown a picture yet; try again in a moment.")
        etag = f'"{hashlib.blake2b(jpeg, digest_size=12).hexdigest()}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(jpeg, media_type="image/jpeg", headers=headers)


def _add_creation(router: APIRouter, context: Context, prober: _Prober) -> None:
    schema = FeedConfig.model_json_schema(ref_template="#/components/schemas/{model}")
    example = {"id": "gate-3", "url": "rtsp://${CAM_USER}:${CAM_PASSWORD}@10.0.0.7/live", "name": "North gate"}
    body = {"requestBody": {"content": {"application/json": {"schema": schema, "example": example}}}}

    @router.post("", status_code=201, summary="Probe a feed, then add it", response_model=FeedOut, openapi_extra=body)
    async def add_feed(settings: Settings, request: Request, response: Response, probe: bool = True) -> Any:
        feed = check_settings(settings)
        if await asyncio.to_thread(context.reader.feed, feed.id) is not None:
            raise Problem(409, "feed_exists", f"There is a feed {feed.id!r} already; PATCH it, or choose another id.")
        found = await prober.probe(feed) if probe and not feed.url.startswith("push:") else None
        record = await context.commands.put_feed(feed.id, feed.model_dump(mode="json"), False)
        response.headers["Location"] = f"{request.url.path.rstrip('/')}/{feed.id}"
        return {**_view(record, None, context.now()), "probe": found}


def _add_changes(router: APIRouter, context: Context) -> None:
    @router.patch("/{feed_id}", summary="Change settings, pause, resume", response_model=FeedOut)
    async def change_feed(
        feed_id: FeedIdPath, changes: Annotated[dict[str, Any], Body(examples=[{"paused": True}])]
    ) -> Any:
        record = await asyncio.to_thread(context.feed, feed_id)
        paused = changes.pop("paused", record.paused)
        if not isinstance(paused, bool):
            raise Problem(422, "wrong_setting", f"paused: want true or false, got {paused!r}.")
        if changes.get("id", feed_id) != feed_id:
            raise Problem(422, "wrong_setting", "A feed keeps its id; remove it and add another one.")
        feed = check_settings(merge(record.settings, changes))
        record = await context.commands.put_feed(feed_id, feed.model_dump(mode="json"), paused)
        statuses = await asyncio.to_thread(context.reader.statuses)
        return _view(record, statuses.get(feed_id), context.now())

    @router.delete("/{feed_id}", status_code=204, summary="Remove a feed; its alerts stay")
    async def remove_feed(feed_id: FeedIdPath) -> Response:
        if not await context.commands.remove_feed(feed_id):
            raise Problem(404, "no_such_feed", f"There is no feed {feed_id!r}; GET /api/v1/feeds lists them.")
        return Response(status_code=204)


class _Prober:
    """Runs the blocking prober in a few threads of its own, so that dead cameras cannot stop the API."""

    def __init__(self, context: Context, threads: ThreadPoolExecutor) -> None:
        self._probe = context.prober
        self._threads = threads
        self._num_running = 0

    async def probe(self, feed: FeedConfig) -> dict[str, Any]:
        if self._num_running >= MAX_PROBES:
            sentence = f"{MAX_PROBES} feeds are being probed already; try again in a few seconds."
            raise Problem(503, "busy", sentence, {"Retry-After": "5"})
        self._num_running += 1
        task = asyncio.get_running_loop().run_in_executor(self._threads, self._probe, feed)
        # counted until the thread is free again, not until the client stops waiting
        task.add_done_callback(self._on_done)
        try:
            found = dict(await asyncio.shield(task))
        except SourceError as error:
            raise Problem(422, error.code, f"Not added: {error}") from None
        except ConfigError as error:
            raise Problem(422, "wrong_setting", f"Not added: {error}") from None
        if error_found := found.get("error"):
            raise Problem(422, str(error_found["code"]), f"Not added: {error_found['message']}")
        return dict(hide_secrets(found))

    def _on_done(self, task: asyncio.Future[Mapping[str, Any]]) -> None:
        self._num_running -= 1
        if not task.cancelled():
            task.exception()  # marks it as seen: the client may be gone


def _view(record: FeedRecord, status: Mapping[str, Any] | None, now_s: float) -> dict[str, Any]:
    return {
        "feed_id": record.feed_id,
        "name": record.settings.get("name") or record.feed_id,
        "settings": hide_secrets(record.settings),
        "revision": record.revision,
        "paused": record.paused,
        "stale": status is not None and is_stale(status, now_s),
        "status": hide_secrets(status),
    }
