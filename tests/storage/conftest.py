"""One redis-server for the session; a fresh, empty store of every kind for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmstream.storage import STORES
from mmstream.storage.base import Store
from mmstream.storage.redis import RedisStore
from mmstream.storage.sqlite import SqliteStore
from tests.storage.servers import redis_server

OpenStore = Callable[..., Store]
_SITES = (f"site {number}" for number in itertools.count())


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.redis] if kind == "redis" else []) for kind in STORES])
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """``open_one(write=..., max_events=...)`` opens the same place each time it is called within a test."""
    opened: list[Store] = []
    site = next(_SITES)

    def open_store(**options: object) -> Store:
        store: Store
        match request.param:
            case "sqlite":
                store = SqliteStore(tmp_path / "ledger.db", **options)
            case "redis":
                store = RedisStore(request.getfixturevalue("redis_url"), site=site, **options)
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def store(open_one: OpenStore) -> Store:
    return open_one()
