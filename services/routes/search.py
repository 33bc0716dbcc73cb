"""Past moments over HTTP: by words, by example, by time, feed and state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel
from starlette.responses import FileResponse

from mmstream.errors import StoreError
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.moment_query import FoundMoment, MomentQuery, NoSuchExample, WrongSearch
from mmstream.types import Float32, MomentState, Verdict
from services.problems import Problem
from services.routes.alerts import Moment, parse_moment
from services.routes.context import Context

WordVectors = Callable[[str], Awaitable[Mapping[str, tuple[str, Float32]]]]
"""Words -> channel -> (model, vector in that model's space)."""

MAX_SEARCHES = 2
"""At once, per replica of the API: each uses the cores it finds."""
MAX_WAITING = 16

MomentIdPath = Annotated[str, Path(description="The moment's id", examples=["gate-3:1700000000000"])]


class MomentOut(BaseModel):
    """Two seconds of a feed."""

    moment_id: str
    feed_id: str
    start_s: float
    end_s: float
    surprise: float
    state: MomentState
    text: str
    """What was said or written, around the words asked for."""
    picture_url: str | None
    alert_id: str | None
    """The alert that it is part of."""
    verdict: Verdict | None
    """What an operator said of that alert."""
    why: list[str]
    """Why it was found: the words that match, channels with their cosine."""
    p: dict[str, float]
    """Channel -> how rare (p-value)."""


class MomentsPage(BaseModel):
    moments: list[MomentOut]
    next_cursor: str | None
    searched: list[str]
    """What was looked through: ``words`` are the texts, others are channels whose encoder knows words."""


class _Searches:
    """Runs blocking searches on threads, a few at once, and refuses when too many wait."""

    def __init__(self, archive: ArchiveReader | None) -> None:
        self._archive = archive
        self._room = asyncio.Semaphore(MAX_SEARCHES)
        self._num_waiting = 0

    async def run(self, what: Callable[[ArchiveReader], Any]) -> Any:
        if self._archive is None:
            raise Problem(503, "archive_off", "No moments are kept: archive.enabled is false in site.yaml.")
        if self._num_waiting >= MAX_WAITING:
            sentence = f"{MAX_WAITING} searches are waiting already; try again in a few seconds."
            raise Problem(503, "busy", sentence, {"Retry-After": "2"})
        self._num_waiting += 1
        try:
            async with self._room:
                return await asyncio.to_thread(what, self._archive)
        except NoSuchExample as error:
            raise Problem(404, "no_such_example", f"like: {error}.") from None
        except WrongSearch as error:
            raise Problem(422, "wrong_cursor", f"cursor: {error}.") from None
        except StoreError as error:
            raise Problem(503, "archive_unavailable", f"{error}.", {"Retry-After": "10"}) from None
        finally:
            self._num_waiting -= 1


def search_router(context: Context, archive: ArchiveReader | None, word_vectors: WordVectors | None) -> APIRouter:
    router = APIRouter(tags=["search"])
    searches = _Searches(archive)

    @router.get("/search", summary="Past moments: by words or by example, else newest first")
    async def search(
        q: Annotated[str, Query(max_length=500, description="Words, in any language", examples=["smoke"])] = "",
        like: Annotated[str, Query(max_length=200, description="More like this moment or alert: its id")] = "",
        feed: str | None = None,
        state: MomentState | None = None,
        since: Moment = None,
        until: Moment = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Query(max_length=500)] = None,
    ) -> MomentsPage:
        vectors = await word_vectors(q) if q.strip() and archive is not None and word_vectors is not None else {}
        query = MomentQuery(
            words=q,
            like=like,
            vectors=vectors,
            feed_id=feed,
            state=state,
            since_s=parse_moment(since, "since"),
            until_s=parse_moment(until, "until"),
            limit=limit,
            cursor=cursor,
        )
        page = await searches.run(lambda reader: reader.find(query))
        moments = await asyncio.to_thread(lambda: [_view(context, moment) for moment in page.moments])
        searched = (["words", *vectors] if q.strip() else []) + (["example"] if like else [])
        return MomentsPage(moments=moments, next_cursor=page.next_cursor, searched=searched)

    @router.get(
        "/moments/{moment_id}/picture.jpg",
        summary="The picture of a past moment",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}},
    )
    async def get_moment_picture(moment_id: MomentIdPath) -> Response:
        key = await searches.run(lambda reader: reader.picture_key(moment_id))
        path = await asyncio.to_thread(context.media.local_path, key) if key else None
        headers = {"Cache-Control": "private, max-age=3600"}
        if path is not None:
            return FileResponse(path, media_type="image/jpeg", headers=headers)
        jpeg = await searches.run(lambda reader: reader.jpeg(moment_id)) if key is not None else None
        if jpeg is None:
            raise Problem(404, "no_picture", f"There is no picture of {moment_id!r}, or it is not kept any more.")
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    return router


def _view(context: Context, moment: FoundMoment) -> MomentOut:
    alert = context.reader.alert(moment.alert_id) if moment.alert_id else None
    pictured = moment.pictured or bool(moment.picture and context.media.local_path(moment.picture))
    return MomentOut(
        moment_id=moment.moment_id,
        feed_id=moment.feed_id,
        start_s=moment.start_s,
        end_s=moment.end_s,
        surprise=moment.surprise,
        state="alert" if moment.state == "alert" else "suspect" if moment.state == "suspect" else "normal",
        text=moment.text,
        picture_url=f"/api/v1/moments/{moment.moment_id}/picture.jpg" if pictured else None,
        alert_id=alert.alert_id if alert is not None else None,
        verdict=alert.verdict if alert is not None else None,
        why=list(moment.why),
        p=dict(moment.p),
    )
