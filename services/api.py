"""The HTTP API: FastAPI over the store. Knows nothing of Ray; `services.app` puts it on Serve.

It reads the store only, never the live actors, so it answers while they restart. What changes
something goes through `Commands`, which the placement implements.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.staticfiles import StaticFiles

from mmstream import __version__
from mmstream.config import FeedConfig
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.base import MediaStore, StoreReader
from mmstream.training.registry import Registry
from services import problems
from services.auth import KeyAuth
from services.limits import BodyLimit, SecurityHeaders
from services.routes.alerts import alerts_router
from services.routes.context import Commands, Context
from services.routes.feeds import MAX_PROBES, feeds_router
from services.routes.models import models_router
from services.routes.push import push_router
from services.routes.replay import Replays, replay_router
from services.routes.rules import rules_router
from services.routes.search import WordVectors, search_router
from services.routes.site import DASHBOARD, pages_router, site_router
from services.routes.stream import StreamSlots, stream_router
from services.routes.train import TrainingCommands, train_router

__all__ = ["Commands", "create_app"]

# The middleware decides; this only tells OpenAPI how to send the key.
_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="The site's key, from api.key in its data_dir")


def create_app(
    *,
    reader: StoreReader,
    commands: Commands,
    media: MediaStore,
    prober: Callable[[FeedConfig], Mapping[str, Any]],
    key_hash: Callable[[], str | None],
    site_name: str,
    max_streams: int,
    now: Callable[[], float] = time.time,
    archive: ArchiveReader | None = None,
    word_vectors: WordVectors | None = None,
    replays: Replays | None = None,
    training: TrainingCommands | None = None,
    registry: Callable[[], Registry | None] = lambda: None,
) -> FastAPI:
    """The whole application. ``prober`` may block; ``key_hash`` gives `auth.hash_key` of the site's key,
    or None while there is no key, which lets nobody in. ``archive`` and ``replays``: None when none is kept.
    ``training``: None when nothing is trained. ``registry``: opens that of the site's own models; None while nothing
    has been trained."""
    context = Context(reader=reader, commands=commands, media=media, prober=prober, site_name=site_name, now=now)
    slots = StreamSlots(max_streams)
    probe_threads = ThreadPoolExecutor(MAX_PROBES, thread_name_prefix="probe")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        probe_threads.shutdown(wait=False, cancel_futures=True)

    # Swagger UI would load scripts from a CDN: /openapi.json is there, its pages are not.
    options: dict[str, Any] = {"docs_url": None, "redoc_url": None, "redirect_slashes": False}
    app = FastAPI(title="mmstream", version=__version__, lifespan=lifespan, **options)
    problems.install(app)
    key = Security(_BEARER)
    api = APIRouter(prefix="/api/v1", dependencies=[key], responses=problems.PROBLEM_RESPONSES)
    api.include_router(site_router(context))
    api.include_router(feeds_router(context, probe_threads))
    api.include_router(stream_router(context, slots))  # before alerts: "stream" is no alert's id
    api.include_router(alerts_router(context))
    api.include_router(push_router(context))
    api.include_router(search_router(context, archive, word_vectors))
    api.include_router(rules_router(context))
    api.include_router(replay_router(context, replays))
    api.include_router(train_router(context, training))
    api.include_router(models_router(context, registry))
    app.include_router(api)
    app.include_router(pages_router(context, slots))
    app.mount("/assets", StaticFiles(directory=DASHBOARD), name="assets")
    app.add_middleware(BodyLimit)
    app.add_middleware(KeyAuth, key_hash=key_hash)
    app.add_middleware(SecurityHeaders)
    return app
