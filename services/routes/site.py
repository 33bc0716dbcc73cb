"""The site itself: who it is, whether it lives, what it counted, its dashboard and browser sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import FileResponse, PlainTextResponse

from mmstream import __version__
from mmstream.errors import StoreError
from mmstream.storage.base import AlertQuery
from services import metrics
from services.auth import bearer_of, cookie_name
from services.problems import Problem
from services.routes.context import ARCHIVE_STATUS, MISSING_ENCODERS, Context
from services.routes.stream import StreamSlots

DASHBOARD = Path(__file__).parent.parent / "dashboard"
READY_WITHIN_S = 2.0


class SiteOut(BaseModel):
    name: str
    version: str
    now_s: float
    """The site's clock, so that a browser with a wrong one still shows right ages."""
    archive_trouble: str
    """Why no moments are kept at present; empty: nothing is wrong."""
    missing_encoders: dict[str, str]
    """Replica encoders whose models cannot be loaded, and why: the site runs without their channels."""
    missing_models: dict[str, str]
    """Models of ``understanding`` that cannot be asked, and why: alerts go without their words."""


def missing_models(statuses: Mapping[str, Mapping[str, Any]], now_s: float) -> dict[str, str]:
    """Model -> why some shard cannot ask it, from the feeds' statuses."""
    return {
        name: asked["trouble"]
        for status in statuses.values()
        if not metrics.is_stale(status, now_s)
        for name, asked in (status.get("understanding") or {}).items()
        if asked.get("trouble")
    }


def site_router(context: Context) -> APIRouter:
    """Under /api/v1."""
    router = APIRouter(tags=["site"])

    async def kept(key: str) -> dict[str, str]:
        value = await asyncio.to_thread(context.reader.value, key)
        return dict(json.loads(value)) if value else {}

    @router.get("/site", summary="The site's name, version, clock, and what it has to do without")
    async def site() -> SiteOut:
        missing, archive = await kept(MISSING_ENCODERS), await kept(ARCHIVE_STATUS)
        return SiteOut(
            name=context.site_name,
            version=__version__,
            now_s=context.now(),
            archive_trouble=archive.get("trouble", ""),
            missing_encoders=missing,
            missing_models=missing_models(await asyncio.to_thread(context.reader.statuses), context.now()),
        )

    @router.post("/session", status_code=204, summary="Put the key into a cookie, for pictures and event streams")
    async def log_in(request: Request) -> Response:
        key = bearer_of(request.headers)
        if key is None:
            raise Problem(401, "key_missing", "Send the key as 'Authorization: Bearer KEY' to start a session.")
        response = Response(status_code=204)
        response.set_cookie(
            cookie_name(request.headers.get("host", "")),
            quote(key, safe=""),
            path="/",
            secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
            httponly=True,
            samesite="strict",
        )
        return response

    @router.delete("/session", status_code=204, summary="Take the cookie away")
    async def log_out(request: Request) -> Response:
        response = Response(status_code=204)
        response.delete_cookie(cookie_name(request.headers.get("host", "")), httponly=True, samesite="strict")
        return response

    return router


def pages_router(context: Context, slots: StreamSlots) -> APIRouter:
    """At the root."""
    router = APIRouter()

    @router.get("/healthz", tags=["site"], summary="The process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", tags=["site"], summary="The store answers")
    async def readyz() -> dict[str, str]:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await asyncio.to_thread(context.reader.last_sequence)
        except (StoreError, TimeoutError) as error:
            reason = str(error) or f"no answer within {READY_WITHIN_S:.0f} s"
            raise Problem(503, "store_unavailable", f"The store does not answer: {reason}.") from None
        return {"status": "ready"}

    @router.get("/metrics", tags=["site"], summary="Prometheus metrics", response_class=PlainTextResponse)
    def prometheus() -> Response:
        text = metrics.render(
            statuses=context.reader.statuses(),
            now_s=context.now(),
            alert_events=context.reader.last_sequence(),
            alerts_open=len(context.reader.alerts(AlertQuery(state="open", limit=500)).alerts),
            event_streams=slots.used,
        )
        return Response(text, media_type=metrics.CONTENT_TYPE)

    @router.get("/", include_in_schema=False)
    async def dashboard() -> FileResponse:
        return FileResponse(DASHBOARD / "index.html", headers={"Cache-Control": "no-cache"})

    return router
