"""The store of a cluster: one Redis (7 or newer, or Valkey) that every machine can reach.

Every change is one MULTI/EXEC; what it depends on is WATCHed, so writers on many machines never
overwrite one another's. Redis must be told to keep what it is given: ``maxmemory-policy noeviction``
(anything else may silently drop alerts when memory is full) and ``appendonly yes`` (survive a restart).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from mmstream.config import SiteConfig, resolve
from mmstream.errors import StoreError, redact
from mmstream.storage.base import AlertEvent, AlertPage, AlertQuery, Commit, FeedRecord, is_quiet
from mmstream.storage.ledger import KeptAlert, changed, cursor_after, merged, place_of, to_text
from mmstream.types import Alert

try:
    import redis
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ImportError("the redis package is missing; pip install 'mmstream[cluster]'") from error

SCHEMA = 1
LEAST_SERVER = (7, 0)
"""Redis 7.0 brought ``XADD key 0-*``: the event log's numbers without gaps, inside a transaction."""


class RedisStore:
    """Feeds, alerts and the event log of ``site`` in the Redis at ``url``; see `storage.base` for the promises.

    Keys begin with ``mmstream:{site}:``; the braces are Redis's hash tag, so all keys of a site live on one
    node of a Redis Cluster and stay in reach of one transaction. About 2 KB per alert. The newest
    ``max_events`` lines of the event log are kept.

    Raises:
        StoreError: it cannot be reached, wants another password, or is too old; never with the password.
    """

    def __init__(
        self, url: str, *, site: str = "site", write: bool = True, max_events: int = 100_000, timeout_s: float = 5.0
    ) -> None:
        self._shown_url = redact(url)
        self._prefix = f"mmstream:{{{quote(site, safe='')}}}:"
        self._write = write
        self._max_events = max_events
        try:
            # Any: the client's own annotations answer "a value or an awaitable of it" to every call
            self._redis: Any = redis.Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
            )
        except ValueError:  # its text may hold a part of the password
            raise StoreError("store.url is not a Redis URL; want redis://:PASSWORD@HOST:PORT/DB") from None
        try:
            self._check_server()
        except StoreError:
            self._redis.close()
            raise

    @classmethod
    def from_site(cls, site: SiteConfig, *, write: bool) -> RedisStore:
        return cls(resolve(site.store.url), site=site.site.name, write=write)

    def close(self) -> None:
        self._redis.close()

    # --- feeds -------------------------------------------------------------------------------------------

    def feeds(self) -> Sequence[FeedRecord]:
        with self._talking():
            kept = self._redis.hgetall(self._key("feeds"))
        return [_feed(feed_id, text) for feed_id, text in sorted(kept.items())]

    def feed(self, feed_id: str) -> FeedRecord | None:
        with self._talking():
            text = self._redis.hget(self._key("feeds"), feed_id)
        return _feed(feed_id, text) if text else None

    def put_feed(self, feed_id: str, settings: Mapping[str, Any], *, paused: bool = False) -> FeedRecord:
        feeds, revisions = self._key("feeds"), self._key("revisions")
        wanted = {"settings": json.loads(to_text(dict(settings))), "paused": paused}

        def change(pipe: Any) -> FeedRecord:
            text = pipe.hget(feeds, feed_id)
            revision = int(pipe.hget(revisions, feed_id) or 0)
            pipe.multi()
            if text is None or {**json.loads(text), "revision": None} != {**wanted, "revision": None}:
                revision += 1
                pipe.hset(feeds, feed_id, to_text({**wanted, "revision": revision}))
                pipe.hset(revisions, feed_id, revision)
            return FeedRecord(feed_id=feed_id, revision=revision, **wanted)

        record: FeedRecord = self._transaction(change, feeds, revisions)
        return record

    def remove_feed(self, feed_id: str) -> bool:
        with self._writing(), self._redis.pipeline() as pipe:
            for name in ("feeds", "statuses", "trackers"):  # not its revision: that goes on if the feed comes back
                pipe.hdel(self._key(name), feed_id)
            return bool(pipe.execute()[0])

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        with self._talking():
            kept = self._redis.hgetall(self._key("statuses"))
        return {feed_id: json.loads(text) for feed_id, text in kept.items()}

    def put_statuses(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        def change(pipe: Any) -> None:
            known = pipe.hkeys(self._key("feeds"))
            pipe.multi()
            for feed_id in statuses.keys() & set(known):
                pipe.hset(self._key("statuses"), feed_id, to_text(dict(statuses[feed_id])))

        self._transaction(change, self._key("feeds"))

    # --- alerts ------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        keys = [self._alert_key(alert.alert_id) for alert in commit.alerts]

        def change(pipe: Any) -> None:
            texts = pipe.mget(keys) if keys else []
            kept = {key: KeptAlert.from_text(text) for key, text in zip(keys, texts, strict=True) if text}
            pipe.multi()
            for key, alert in zip(keys, commit.alerts, strict=True):
                after = merged(alert, kept.get(key))
                self._keep(pipe, kept.get(key), after)
                kept[key] = after
            if commit.tracker is not None:
                pipe.hset(self._key("trackers"), commit.feed_id, to_text(dict(commit.tracker)))

        self._transaction(change, *keys)

    def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> Alert | None:
        key = self._alert_key(alert_id)

        def change(pipe: Any) -> Alert | None:
            text = pipe.get(key)
            pipe.multi()
            if text is None:
                return None
            before = KeptAlert.from_text(text)
            after = changed(before, changes)
            self._keep(pipe, before, after)
            return after.alert

        alert: Alert | None = self._transaction(change, key)
        return alert

    def _keep(self, pipe: Any, before: KeptAlert | None, after: KeptAlert) -> None:
        alert = after.alert
        pipe.set(self._alert_key(alert.alert_id), after.to_text())
        for index in self._indices(before.alert) if before else ():
            pipe.zrem(index, alert.alert_id)
        for index in self._indices(alert):
            pipe.zadd(index, {alert.alert_id: alert.start_s})
        line = {"alert": to_text(alert.to_json())}
        pipe.xadd(self._key("events"), line, id="0-*", maxlen=self._max_events, approximate=False)

    def alerts(self, query: AlertQuery) -> AlertPage:
        place = place_of(query)
        with self._talking():
            found = self._ids_after(query, place)
            page = found[: query.limit]
            texts = self._redis.mget([self._alert_key(alert_id) for alert_id in page]) if page else []
        alerts = [KeptAlert.from_text(text).alert for text in texts]
        return AlertPage(alerts=alerts, next_cursor=cursor_after(alerts[-1]) if len(found) > query.limit else None)

    def _ids_after(self, query: AlertQuery, place: tuple[float, str] | None) -> list[str]:
        """One more than a page, newest first; within one moment Redis orders by id, as bytes, and so does SQLite."""
        index = self._index(query.quiet, query.feed_id, query.state, query.severity)
        newest = "+inf" if query.until_s is None else f"({query.until_s!r}"
        oldest = "-inf" if query.since_s is None else repr(query.since_s)
        num = query.limit + 1
        if place is not None:
            num += self._redis.zcount(index, place[0], place[0])  # those of the same moment that were shown already
            if query.until_s is None or place[0] < query.until_s:
                newest = repr(place[0])
        rows = self._redis.zrevrangebyscore(index, newest, oldest, start=0, num=num, withscores=True)
        ids = [alert_id for alert_id, start_s in rows if place is None or (start_s, alert_id) < place]
        return ids[: query.limit + 1]

    def alert(self, alert_id: str) -> Alert | None:
        with self._talking():
            text = self._redis.get(self._alert_key(alert_id))
        return KeptAlert.from_text(text).alert if text else None

    def events_after(self, sequence: int, limit: int = 100) -> Sequence[AlertEvent]:
        with self._talking():
            lines = self._redis.xrange(self._key("events"), min=f"(0-{sequence}", count=limit)
        return [
            AlertEvent(sequence=_sequence(name), alert=Alert.from_json(json.loads(line["alert"])))
            for name, line in lines
        ]

    def last_sequence(self) -> int:
        with self._talking():
            newest = self._redis.xrevrange(self._key("events"), count=1)
        return _sequence(newest[0][0]) if newest else 0

    # --- small things ------------------------------------------------------------------------------------

    def tracker(self, feed_id: str) -> Mapping[str, Any] | None:
        with self._talking():
            text = self._redis.hget(self._key("trackers"), feed_id)
        return dict(json.loads(text)) if text else None

    def value(self, key: str) -> str | None:
        with self._talking():
            value: str | None = self._redis.hget(self._key("values"), key)
        return value

    def put_value(self, key: str, value: str) -> None:
        with self._writing():
            self._redis.hset(self._key("values"), key, value)

    # --- the server --------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _alert_key(self, alert_id: str) -> str:
        return self._key(f"alert:{alert_id}")

    def _index(self, quiet: bool, feed_id: str | None, state: str | None, severity: str | None) -> str:
        filters = ("*" if value is None else quote(value, safe="") for value in (feed_id, state, severity))
        return self._key(("quiet:" if quiet else "alerts:") + ":".join(filters))

    def _indices(self, alert: Alert) -> list[str]:
        """One for each combination of filters: any page costs the same, however rare its alerts are."""
        choices = itertools.product((alert.feed_id, None), (alert.state, None), (alert.severity, None))
        return [self._index(is_quiet(alert), *choice) for choice in choices]

    def _check_server(self) -> None:
        with self._talking():
            version = self._redis.info("server")["redis_version"]
            if tuple(int(part) for part in version.split(".")[:2]) < LEAST_SERVER:
                raise StoreError(f"the Redis at {self._shown_url} is {version}; install 7.0 or newer")
            if self._write:
                self._redis.setnx(self._key("schema"), SCHEMA)
            schema = int(self._redis.get(self._key("schema")) or SCHEMA)
        if schema > SCHEMA:
            raise StoreError(
                f"the site in {self._shown_url} has schema {schema}, this mmstream knows up to {SCHEMA}; "
                f"install the newer mmstream"
            )

    def _transaction(self, change: Any, *watched: str) -> Any:
        """Run ``change(pipe)``: it reads, calls ``pipe.multi()``, queues. Again when a watched key moved meanwhile."""
        with self._writing():
            return self._redis.transaction(change, *watched, value_from_callable=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self._write:
            raise StoreError(f"the store at {self._shown_url} was opened for reading")
        with self._talking():
            yield

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except redis.AuthenticationError as error:
            raise StoreError(f"the Redis at {self._shown_url} wants another password; check store.url") from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreError(
                f"cannot reach the Redis at {self._shown_url}; check that it runs and that its port is open"
            ) from error
        except redis.ResponseError as error:  # its text repeats the command, and so perhaps a feed's URL: redacted here
            cure = "; raise maxmemory" if "'maxmemory'" in str(error) else ""
            raise StoreError(f"the Redis at {self._shown_url} refused: {error}{cure}") from None
        except redis.RedisError as error:
            raise StoreError(f"cannot use the Redis at {self._shown_url}: {error}") from error


def _feed(feed_id: str, text: str) -> FeedRecord:
    return FeedRecord(feed_id=feed_id, **json.loads(text))


def _sequence(name: str) -> int:
    return int(name.partition("-")[2])
