"""The Redis store's own promises: who cannot come in, who writes at the same time, and what a full server says."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from mmstream.errors import StoreError
from mmstream.storage.base import AlertQuery, Commit
from mmstream.storage.redis import RedisStore
from tests.storage.servers import free_port, make_alert, redis_server

pytestmark = pytest.mark.redis


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(StoreError, match=r"cannot reach the Redis at redis://\*\*\*@127\.0\.0\.1") as caught:
        RedisStore(f"redis://:s3cr3t@127.0.0.1:{free_port()}/0", timeout_s=1)
    assert "s3cr3t" not in repr(caught.value)


@pytest.mark.parametrize("url", ["redis://:s3/cr3t@127.0.0.1:6379", "redis://127.0.0.1:s3cr3t/0"])
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StoreError, match=r"store\.url") as caught:
        RedisStore(url)
    assert "cr3t" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_wrong_password_is_a_sentence_of_its_own(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "right") as url:
        for wrong in (url, url.replace("//", "//:wrong@")):
            with pytest.raises(StoreError, match="password"):
                RedisStore(wrong)
        store = RedisStore(url.replace("//", "//:right@"))
        store.put_value("k", "v")
        store.close()


def test_a_full_server_refuses_the_whole_commit_and_goes_on_reading(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory-policy", "noeviction") as url:
        store = RedisStore(url)
        store.commit(Commit(feed_id="gate-1", alerts=[make_alert()], tracker={"n": 0}))
        admin: Any = redis.Redis.from_url(url)
        admin.config_set("maxmemory", "1mb")
        with pytest.raises(StoreError, match="raise maxmemory"):
            store.commit(Commit(feed_id="gate-1", alerts=[make_alert(surprise=9.0)], tracker={"n": 1}))
        assert (store.alert(make_alert().alert_id), store.tracker("gate-1")) == (make_alert(), {"n": 0})
        assert store.last_sequence() == 1
        admin.close()
        store.close()


def test_a_server_that_went_away_is_a_store_error(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        store = RedisStore(url, timeout_s=1)
    with pytest.raises(StoreError, match="cannot reach"):
        store.feeds()
    store.close()


def test_two_sites_in_one_redis_do_not_see_one_another(redis_url: str) -> None:
    one, other = RedisStore(redis_url, site="north {gate}*"), RedisStore(redis_url, site="north")
    one.put_feed("a", {"url": "1"})
    one.commit(Commit(feed_id="a", alerts=[make_alert("a")]))
    assert (list(other.feeds()), other.last_sequence()) == ([], 0)
    assert len(one.alerts(AlertQuery()).alerts) == 1
    one.close()
    other.close()


def test_writers_on_many_machines_never_overwrite_one_another(redis_url: str) -> None:
    stores = [RedisStore(redis_url, site="many") for _ in range(4)]
    stores[0].commit(Commit(feed_id="a", alerts=[make_alert("a")]))
    alert_id = make_alert("a").alert_id

    def fusion(store: RedisStore, number: int) -> None:
        for step in range(25):
            store.commit(Commit(feed_id="a", alerts=[make_alert("a", surprise=float(step + number))]))

    def operator(store: RedisStore) -> None:
        for _ in range(25):
            store.update_alert(alert_id, {"state": "acknowledged", "note": "mine"})
            store.update_alert(alert_id, {"clip": "c.mp4"})

    threads = [threading.Thread(target=fusion, args=(store, number)) for number, store in enumerate(stores[:3])]
    threads.append(threading.Thread(target=operator, args=(stores[3],)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = stores[0].alert(alert_id)
    assert kept is not None
    assert (kept.state, kept.note, kept.clip) == ("acknowledged", "mine", "c.mp4")
    assert [event.sequence for event in stores[0].events_after(0, 1000)] == list(range(1, 127))
    for store in stores:
        store.close()


def test_feeds_changed_from_two_machines_at_once_count_every_revision(redis_url: str) -> None:
    stores = [RedisStore(redis_url, site="revisions") for _ in range(2)]

    def change(store: RedisStore, name: str) -> None:
        for number in range(25):
            store.put_feed("a", {"url": f"{name}{number}"})

    threads = [threading.Thread(target=change, args=(store, name)) for store, name in zip(stores, "xy", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = stores[0].feed("a")
    assert record is not None
    assert record.revision == 50
    for store in stores:
        store.close()


def test_a_site_of_a_newer_mmstream_is_left_alone(redis_url: str) -> None:
    store = RedisStore(redis_url, site="newer")
    store._redis.set(store._key("schema"), 99)
    store.close()
    with pytest.raises(StoreError, match=r"schema 99.*newer"):
        RedisStore(redis_url, site="newer")
