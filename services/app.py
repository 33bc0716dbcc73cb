"""Starts and ends a site on Ray: ledger, encoder replicas, API, supervisor, in that order."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError, RayTaskError

from mmstream.config import RuleConfig, SiteConfig
from mmstream.encoders import EDGE_ENCODERS
from mmstream.errors import ConfigError, MmstreamError, StoreError
from mmstream.sources.probe import probe
from mmstream.stages import load
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.base import FeedRecord
from mmstream.storage.open import open_media, open_store
from mmstream.training.versions import open_registry, with_current
from mmstream.types import Alert, Reading, TextSpan
from mmstream.understanding.speaking import roles_of
from mmstream.vocabulary import read_lines
from services.actors import LEDGER, NAMESPACE, Ledger, beside_us, find, launch
from services.api import create_app
from services.archive import start_archive
from services.auth import hash_key, make_key
from services.encoders import app_name, start_encoders
from services.handing import ARCHIVE
from services.model_record import What
from services.replaying import ReplayProcess
from services.speakers import speaker_app_name, start_speakers
from services.supervisor import SUPERVISOR, Supervisor
from services.trainer import TRAINER, TrainerClient
from services.word_vectors import WordsInSpaces

log = logging.getLogger(__name__)

KEY_HASH = "api_key_sha256"
YAML_FEEDS = "feeds_of_site_yaml"
API_APP = "api"
SHARDS_KNOWN_S = 2.0
"""A feed that has moved is looked for again after so long."""
Progress = Callable[[str], None]


QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
}
"""Ray looks after itself ten times a second, and reports to a dashboard that is not there: 0.20 of a core without any
camera, 0.12 with these. What is set in the environment already stays."""


def local_ray_options() -> dict[str, Any]:
    """How a laptop's own Ray is started: small, silent, reachable from this machine only."""
    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    return {
        "address": "local",
        "namespace": NAMESPACE,
        "include_dashboard": False,
        "log_to_driver": False,
        "object_store_memory": 256 * 2**20,
        "num_cpus": max(4, os.cpu_count() or 4),
        "logging_level": logging.ERROR,
    }


def connect(address: str | None) -> None:
    """Join the cluster at ``address``, or start a Ray of our own.

    Raises:
        ConfigError: there is no cluster there.
    """
    if ray.is_initialized():
        return
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if address is None:
        ray.init(**local_ray_options())
        return
    host, _, port = address.rpartition(":")
    if host and port.isdigit():  # Ray itself would try for minutes before it says so
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise ConfigError(f"nothing answers at {address}: {error}; is the Ray head running there?") from None
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {address!r}: {error}; start one with 'ray start --head'"
        ) from None


class LedgerCommands:
    """The API's writing half, through the ledger actor and, for pushed items, the feed's shard."""

    def __init__(self) -> None:
        self._ledger: Any = None
        self._shards: Mapping[str, int] = {}
        self._shards_until_s = 0.0

    async def _call(self, method: str, *args: Any) -> Any:
        if self._ledger is None:
            self._ledger = find(LEDGER)
        try:
            return await getattr(self._ledger, method).remote(*args)
        except RayActorError as error:
            self._ledger = None
            raise StoreError("the ledger is starting again; ask once more in a few seconds") from error

    async def put_feed(self, feed_id: str, settings: Mapping[str, Any], paused: bool) -> FeedRecord:
        record: FeedRecord = await self._call("put_feed", feed_id, settings, paused)
        return record

    async def remove_feed(self, feed_id: str) -> bool:
        return bool(await self._call("remove_feed", feed_id))

    async def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> Alert | None:
        alert: Alert | None = await self._call("update_alert", alert_id, changes)
        return alert

    async def put_rule(self, rule: RuleConfig) -> None:
        await self._call("put_rule", rule)

    async def remove_rule(self, name: str) -> bool:
        return bool(await self._call("remove_rule", name))

    async def begin_swap(self, what: What, model: str, version: str, reason: str) -> None:
        try:
            await find(SUPERVISOR).begin_swap.remote(what, model, version, reason)
        except RayTaskError as error:
            if isinstance(error.cause, ValueError):
                raise ValueError(str(error.cause)) from None
            raise
        except (RayActorError, ConnectionError) as error:
            raise StoreError("the supervisor is starting again; ask once more in a few seconds") from error

    async def push_text(self, spans: Sequence[TextSpan]) -> int:
        return await self._inject(spans)

    async def push_readings(self, readings: Sequence[Reading]) -> int:
        return await self._inject(readings)

    async def _shards_of(self, feed_ids: set[str]) -> Mapping[str, int]:
        """Feed -> where it runs. Asked for anew every few seconds, not with each of a flood of words."""
        if time.monotonic() >= self._shards_until_s or not feed_ids <= self._shards.keys():
            statuses = await self._call("statuses")
            self._shards = {feed_id: status["shard"] for feed_id, status in statuses.items() if "shard" in status}
            self._shards_until_s = time.monotonic() + SHARDS_KNOWN_S
        return self._shards

    async def _inject(self, items: Sequence[TextSpan] | Sequence[Reading]) -> int:
        shards = await self._shards_of({item.feed_id for item in items})
        by_shard: dict[int, list[TextSpan | Reading]] = {}
        for item in items:
            if item.feed_id in shards:
                by_shard.setdefault(shards[item.feed_id], []).append(item)
        taken = 0
        for shard_id, part in by_shard.items():
            try:
                taken += await find(f"decoder-{shard_id}").inject.remote(part)
            except (RayActorError, ConnectionError) as error:
                self._shards_until_s = 0.0
                raise StoreError(f"the shard of {part[0].feed_id!r} is starting again; push once more") from error
        return taken


def build_api(site_json: str) -> FastAPI:
    """The HTTP application of one replica; reads the store, never the live actors."""
    site = SiteConfig.model_validate_json(site_json)
    reader = open_store(site, write=False)
    return create_app(
        reader=reader,
        commands=LedgerCommands(),
        media=open_media(site),
        prober=lambda feed: probe(feed).to_json(),
        key_hash=lambda: reader.value(KEY_HASH),
        site_name=site.site.name,
        max_streams=site.api.max_streams,
        archive=ArchiveReader.from_site(site) if site.archive.enabled else None,
        word_vectors=WordsInSpaces(site.encoders.replicas),
        replays=ReplayProcess(site=site) if site.archive.enabled else None,
        training=TrainerClient(site) if site.training.enabled else None,
        registry=lambda: open_registry(site),
    )


def api_app(site: SiteConfig) -> serve.Application:
    """The Serve application ``api``: two replicas, so that one can die unnoticed."""
    site_json = site.model_dump_json()

    @serve.deployment(
        name="Api",
        num_replicas=2,
        max_ongoing_requests=site.api.max_streams + 64,
        health_check_period_s=1,
        health_check_timeout_s=5,
        graceful_shutdown_timeout_s=3,
        ray_actor_options={"num_cpus": 0.05},
        logging_config={"enable_access_log": False},
    )
    @serve.ingress(lambda: build_api(site_json))
    class Api:
        """Requests go straight to the FastAPI application."""

    return Api.bind()  # type: ignore[attr-defined, no-any-return]


def absolute(site: SiteConfig) -> SiteConfig:
    """The same site with a ``data_dir``, a registry and a vocabulary that mean the same in every process."""
    kept = site.training.registry
    registry = {"registry": str(Path(kept).resolve())} if kept and "://" not in kept else {}
    words = {"vocabulary": str(Path(site.words.vocabulary).resolve())} if site.words.vocabulary else {}
    return site.model_copy(
        update={
            "site": site.site.model_copy(update={"data_dir": site.site.data_dir.resolve()}),
            "words": site.words.model_copy(update=words),
            "training": site.training.model_copy(update=registry),
        }
    )


def start_ledger(site: SiteConfig) -> str | None:
    """Open the store in its one writer, seed it with the feeds and rules of site.yaml; -> the API key if it is new.

    Called again it changes nothing that has not changed in ``site``.
    """
    options = {"max_task_retries": -1, **beside_us()}
    ledger = launch(Ledger, LEDGER, site.model_dump_json(), options=options)
    ray.get(ledger.ready.remote(), timeout=60)
    new_key = _make_key(ledger, site)
    _seed_feeds(ledger, site)
    ray.get(ledger.seed_rules.remote(site.rules))
    return new_key


def key_file(site: SiteConfig) -> Path:
    return site.site.data_dir / "api.key"


def _make_key(ledger: Any, site: SiteConfig) -> str | None:
    if ray.get(ledger.value.remote(KEY_HASH)) is not None:
        return None
    key = make_key()
    ray.get(ledger.put_value.remote(KEY_HASH, hash_key(key)))
    key_file(site).parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(key_file(site), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(key + "\n")
    return key


def _seed_feeds(ledger: Any, site: SiteConfig) -> None:
    """Feeds of site.yaml go into the store; those that have left the file leave the store too.

    Feeds added over the API are nobody's but the operator's and stay.
    """
    wanted = {feed.id: feed for feed in site.feeds}
    before: list[str] = json.loads(ray.get(ledger.value.remote(YAML_FEEDS)) or "[]")
    paused = {record.feed_id: record.paused for record in ray.get(ledger.feeds.remote())}
    for feed_id in set(before) - set(wanted):
        ray.get(ledger.remove_feed.remote(feed_id))
    for feed_id, feed in wanted.items():
        ray.get(ledger.put_feed.remote(feed_id, feed.model_dump(mode="json"), paused.get(feed_id, False)))
    ray.get(ledger.put_value.remote(YAML_FEEDS, json.dumps(sorted(wanted))))


def start_supervisor(site: SiteConfig) -> None:
    """Start what starts everything else, or find it running."""
    launch(Supervisor, SUPERVISOR, site.model_dump_json(), options=beside_us())


class Site:
    """A running site. `start` it, `stop` it; what it learned stays in ``data_dir``."""

    def __init__(self, site: SiteConfig, *, address: str | None = None, progress: Progress = log.info) -> None:
        self.config = absolute(site)
        self.new_key: str | None = None
        self.without: dict[str, str] = {}
        """Encoders that had no model when the site started, and why."""
        self._address = address
        self._progress = progress

    @property
    def url(self) -> str:
        return f"http://{self.config.api.host}:{self.config.api.port}"

    @property
    def key_file(self) -> Path:
        return key_file(self.config)

    def start(self) -> None:
        """Bring everything up; returns when the API answers and the supervisor looks.

        Raises:
            ConfigError: there is no such cluster, no edge encoder of such a name, or no such vocabulary.
        """
        section = self.config.encoders
        for name in section.edge:
            load(EDGE_ENCODERS, name)
        if self.config.words.vocabulary:
            read_lines(self.config.words.vocabulary)
        self._progress("starting Ray")
        connect(self._address)
        self._progress("opening the ledger")
        self.new_key = start_ledger(self.config)
        start_archive(self.config)
        self._progress("starting encoder replicas")
        api = self.config.api
        serve.start(http_options={"host": api.host, "port": api.port}, logging_config={"log_level": "WARNING"})
        in_use = section.model_copy(update={"options": with_current(self.config)})
        for name, reason in start_encoders(in_use).items():
            self.without[name] = reason
            log.warning("the site runs without the encoder %r: %s", name, reason)
        start_speakers(self.config)
        self._progress("starting the API")
        serve.run(api_app(self.config), name=API_APP, route_prefix="/")
        self._progress("starting the supervisor")
        start_supervisor(self.config)

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        statuses: Mapping[str, Mapping[str, Any]] = ray.get(find(LEDGER).statuses.remote(), timeout=30)
        return statuses

    def stop(self) -> None:
        """End everything in order; every step is tried even when one before it failed."""
        if not ray.is_initialized():
            return  # asking for an actor would start a Ray
        for step in (
            self._stop_supervisor,
            self._stop_trainer,
            self._stop_serve,
            self._stop_archive,
            self._stop_ledger,
        ):
            try:
                step()
            except (RayActorError, MmstreamError, ConnectionError, TimeoutError) as error:
                log.warning("while stopping: %s", error)
        ray.shutdown()

    def _stop_supervisor(self) -> None:
        supervisor = find(SUPERVISOR)
        ray.get(supervisor.stop.remote(), timeout=90)
        ray.kill(supervisor)

    def _stop_serve(self) -> None:
        """End our applications; Serve itself goes with them unless somebody else's run on the same cluster."""
        speakers = map(speaker_app_name, roles_of(self.config.understanding))
        ours = {API_APP, *map(app_name, self.config.encoders.replicas), *speakers}
        if serve.status().applications.keys() <= ours:
            serve.shutdown()  # type: ignore[no-untyped-call]
            return
        for name in ours:
            serve.delete(name)

    def _stop_trainer(self) -> None:
        with contextlib.suppress(ConnectionError):  # it runs only when something was trained
            ray.kill(find(TRAINER))

    def _stop_archive(self) -> None:
        if self.config.archive.enabled:
            ray.kill(find(ARCHIVE))

    def _stop_ledger(self) -> None:
        ray.kill(find(LEDGER))
