"""Versions of models put to use on a running site: what `training.swap` does there, with actors and replicas."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from mmstream.adopting import FeedAdoption
from mmstream.config import SiteConfig
from mmstream.edge_models import TRAINED, subject_of
from mmstream.errors import ConfigError, MmstreamError, StageError
from mmstream.training.registry import Registry
from mmstream.training.swap import Swapped
from mmstream.training.versions import (
    FILE,
    REPLICAS,
    encoders_of,
    feed_of,
    fetch,
    has_part,
    head_of,
    option_of,
    registry_of,
)
from services.actors import LEDGER, find
from services.encoders import ask_all, push_model, stand_by

log = logging.getLogger(__name__)

SUPERVISOR = "supervisor"
FEEDS_PER_TASK = 4
"""Encoded one after the other by one process."""
TASKS_AT_ONCE = 2
NICENESS = 10
"""Encoding what was comes after watching what is."""
ASKED_WITHIN_S = 10.0
ANSWER_WITHIN_S = 60.0
PROMOTED_WITHIN_S = 4 * 3600.0


class RayPlace:
    """`swap.Place` on Ray. For threads: every method waits."""

    def __init__(self, site: SiteConfig) -> None:
        self._site = site

    @functools.cached_property
    def _registry(self) -> Registry:
        return Registry(registry_of(self._site))

    def embed(self, model: str, version: str, old: str) -> Iterator[FeedAdoption]:
        """Raises (from the iteration) MmstreamError: the version cannot be loaded, or the footage not be read."""
        if head_of(model) == "fusion" or not version:
            return
        feeds = [feed_of(model)] if feed_of(model) else sorted(self._shards())
        site_json = self._site.model_dump_json()
        chunks = [feeds[start : start + FEEDS_PER_TASK] for start in range(0, len(feeds), FEEDS_PER_TASK)]
        task: Any = ray.remote(num_cpus=0.01, max_calls=1, max_retries=2)(embed_feeds)
        started = (task.remote(site_json, model, version, old, chunk) for chunk in chunks)
        running = list(itertools.islice(started, TASKS_AT_ONCE))
        try:
            while running:
                yield from _answer(running.pop(0), PROMOTED_WITHIN_S)
                running += itertools.islice(started, 1)
        finally:
            for left in running:
                ray.cancel(left, force=True)

    def adopt(self, adoption: FeedAdoption) -> bool:
        shard = self._shards().get(adoption.feed_id)
        if shard is None:
            return False
        taken: Mapping[str, int] = _answer(_actor(f"fusion-{shard}").adopt.remote([adoption]), ANSWER_WITHIN_S)
        return adoption.feed_id in taken

    def push(self, model: str, version: str) -> None:
        """Raises MmstreamError: some encoder cannot run it, or does not answer; or none here runs this model."""
        if head_of(model) == "expectation":
            self._push_edge(model, version)
        elif head_of(model) == "fusion":
            self._push_fusion(model, version)
        else:
            self._push_replicas(model, version)

    def runs(self, model: str, version: str) -> bool:
        """Whether the replica encoders of this model have all been asked for this version."""
        return all(
            asked == self._options(model, name, version, asked)
            for name in self._encoders(model)
            for asked in self._asked_for(name)
        )

    def edge_versions(self) -> dict[str, str]:
        """Model of one feed -> the version that its edge encoder runs, empty: none; without those that it could not
        load."""
        found = {}
        for encoder in (name for name in TRAINED if name in self._site.encoders.edge):
            for feed_id, status in self._statuses().items():
                if "models" in status and not status["models"].get(encoder, {}).get("trouble"):
                    found[subject_of(encoder, feed_id)] = status["models"].get(encoder, {}).get("version", "")
        return found

    # -- inside -------------------------------------------------------------------------------------

    def _push_replicas(self, model: str, version: str) -> None:
        encoders = self._encoders(model)
        if not encoders:
            raise ConfigError(
                f"no encoder of this site runs {model}; list {' or '.join(REPLICAS.get(model, {model: None}))} "
                "under encoders.replicas"
            )
        files = fetch(self._registry, self._registry.version(model, version)) if version else None
        for name in encoders:
            options = self._options(model, name, version, self._asked_for(name)[0])
            if files is not None and not has_part(files, REPLICAS[model][name]):
                reason = f"version {version} of {model} has nothing for the encoder {name!r}"
                _asked(stand_by, name, options, reason)
                continue
            try:
                _asked(push_model, name, options)
            except ConfigError as error:
                if version:
                    raise
                _asked(stand_by, name, options, error.sentence)

    def _push_edge(self, model: str, version: str) -> None:
        feed_id = feed_of(model)
        shard = self._shards().get(feed_id)
        if shard is None:
            return  # it starts with what is current
        data = b""
        if version:
            data = (fetch(self._registry, self._registry.version(model, version)) / FILE).read_bytes()
        given = _actor(f"decoder-{shard}").give_model.remote(feed_id, head_of(model), data, version)
        if not _answer(given, ANSWER_WITHIN_S) and version:
            raise ConfigError(f"feed {feed_id!r} runs no encoder {head_of(model)!r}; list it under encoders.edge")

    def _push_fusion(self, model: str, version: str) -> None:
        """Shards that start meanwhile read what is current."""
        data = b""
        if version:
            data = (fetch(self._registry, self._registry.version(model, version)) / FILE).read_bytes()
        for shard in sorted(set(self._shards().values())):
            given = _actor(f"fusion-{shard}").give_fusion.remote(data, version)
            if not _answer(given, ANSWER_WITHIN_S) and version:
                raise ConfigError("this site joins modalities by another rule; set fusion.rule to trained")

    def _encoders(self, model: str) -> list[str]:
        return encoders_of(model, self._site.encoders.replicas)

    def _asked_for(self, name: str) -> list[dict[str, Any]]:
        """What each replica of an encoder was last told to load."""
        asked: list[dict[str, Any]] = _asked(ask_all, name, "asked_for", timeout_s=ASKED_WITHIN_S)
        if not asked:
            raise StageError(f"the encoder {name!r} has no replica that runs; look at 'serve status'")
        return asked

    def _options(self, model: str, name: str, version: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What an encoder is ``asked`` for now, with another version; without one as site.yaml says. Its other options
        may have been changed by hand, and stay."""
        option = REPLICAS[model][name]
        of_version = {option.name, *option.also("")}
        given = self._site.encoders.options.get(name, {})
        others = {key: value for key, value in asked.items() if key not in of_version}
        as_shipped = {key: value for key, value in given.items() if key in of_version}
        return others | as_shipped | option_of(model, name, version, registry_of(self._site))

    def _shards(self) -> dict[str, int]:
        """Feed -> the shard where it runs."""
        return {
            feed_id: status["shard"]
            for feed_id, status in self._statuses().items()
            if "shard" in status and status.get("state") != "paused"
        }

    def _statuses(self) -> Mapping[str, Mapping[str, Any]]:
        statuses: Mapping[str, Mapping[str, Any]] = _answer(_actor(LEDGER).statuses.remote(), ANSWER_WITHIN_S)
        return statuses


def embed_feeds(site_json: str, model: str, version: str, old: str, feeds: Sequence[str]) -> list[FeedAdoption]:
    """A Ray task: what these feeds must know of a version. torch is imported here, and goes with the process."""
    from mmstream.settle import one_thread_per_product
    from mmstream.storage.open import open_media, open_store
    from mmstream.training.embed import adoption_of, embedder
    from mmstream.training.open_corpus import open_corpus

    os.nice(NICENESS)
    one_thread_per_product()
    site = SiteConfig.model_validate_json(site_json)
    registry = Registry(registry_of(site))
    store = open_store(site, write=False)
    try:
        corpus = open_corpus(site, store, open_media(site), now_s=time.time())
    finally:
        store.close()

    def made(name: str) -> Any:
        files = fetch(registry, registry.version(model, name)) if name else None
        return embedder(model, files, name, corpus.encoders)

    new, before = made(version), made(old)
    return [] if new is None else [adoption_of(feed_id, corpus, new, before) for feed_id in feeds]


def promote_on(site: SiteConfig) -> Callable[[str, str, str], None]:
    """For the night: (model, version, reason) -> in use on this running site, with everything that belongs to it.

    What it gives raises MmstreamError: it could not be, and the version before is still in use.
    """

    def promote(model: str, version: str, reason: str) -> None:
        answer = _actor(SUPERVISOR).promote_model.remote(model, version, reason)
        done: Swapped = _answer(answer, PROMOTED_WITHIN_S)
        log.info("%s %s is in use after %s", done.model, done.version, done.seconds)

    del site  # there is one supervisor on a cluster
    return promote


def _actor(name: str) -> Any:
    try:
        return find(name)
    except ConnectionError as error:
        raise StageError(f"{error}; try again in a moment") from None


def _answer(reference: Any, timeout_s: float) -> Any:
    """What an actor or a task says. Raises MmstreamError: what it raised, or that it does not answer."""
    return _asked(ray.get, reference, timeout=timeout_s)


def _asked(ask: Callable[..., Any], *args: Any, **options: Any) -> Any:
    try:
        return ask(*args, **options)
    except RayTaskError as error:
        if isinstance(error.cause, MmstreamError):
            raise type(error.cause)(error.cause.sentence) from None
        raise StageError(f"{type(error.cause).__name__}: {str(error.cause)[:200]}") from error
    except (RayError, RayServeException, GetTimeoutError, TimeoutError) as error:
        raise StageError(f"part of the site does not answer ({type(error).__name__}); try again in a moment") from error
