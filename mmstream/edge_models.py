"""Which version of its own model every edge encoder of a feed runs with: the registry's, until it is given another.

Some edge encoders have weights of their own for every camera. A feed that starts takes those that are current; while
it runs it can be given others, which its decoding thread takes up between two windows. An encoder without weights, or
whose weights cannot be used, says nothing, and the feed runs on without it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from mmstream.config import EncoderSection, SiteConfig
from mmstream.encoders import EDGE_ENCODERS
from mmstream.errors import ConfigError, StoreError
from mmstream.stages import EdgeEncoder, load

log = logging.getLogger(__name__)

TRAINED = ("expectation",)
"""Encoders that take ``weights`` and ``version``, trained for each camera by itself."""
FILE = "model.safetensors"
"""Of a version in the registry: the encoder's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeModel:
    """One version of one encoder's weights for one feed."""

    version: str
    data: bytes = b""
    """What `FILE` holds."""
    trouble: str = ""
    """Why there are no weights although there is a version."""


Models = Mapping[str, EdgeModel]
"""Encoder -> its model."""
Read = Callable[[str], EdgeModel | None]
"""Name in the registry -> the version in use, None where none is. Raises StoreError."""
NO_MODELS: Models = MappingProxyType({})


@runtime_checkable
class Succeeding(Protocol):
    """Optional: takes over from the encoder before it what does not belong to the weights."""

    def succeed(self, other: EdgeEncoder, /) -> None: ...


def subject_of(encoder: str, feed_id: str) -> str:
    """
    >>> subject_of("expectation", "gate-3")
    'expectation.gate-3'
    """
    return f"{encoder}.{feed_id}"


class EdgeEncoders:
    """The edge encoders of one feed. Its decoding thread reads `in_use` once per window; models are given by another
    one, which puts a whole new tuple there."""

    def __init__(self, section: EncoderSection, models: Models = NO_MODELS) -> None:
        self._section = section
        self._versions: dict[str, str] = {}
        self._troubles: dict[str, str] = {}
        self.num_failed = 0
        """Versions that could not be used."""
        self.in_use: tuple[EdgeEncoder, ...] = tuple(self._first(name, models.get(name)) for name in section.edge)

    def give(self, name: str, model: EdgeModel | None) -> bool:
        """Use this version from the next window on; None: none. False: the feed does not run this encoder.

        Raises:
            ConfigError: the weights cannot be used; the encoder goes on with those that it has.
        """
        if name not in self._section.edge:
            return False
        encoder = self._made(name, model)
        number = self._section.edge.index(name)
        if isinstance(encoder, Succeeding):
            encoder.succeed(self.in_use[number])
        self._troubles.pop(name, None)
        self._note(name, model)
        self.in_use = (*self.in_use[:number], encoder, *self.in_use[number + 1 :])
        return True

    def status(self) -> dict[str, dict[str, str]]:
        """Encoder -> the version that it runs with, and what is wrong with the one that it should."""
        names = sorted({*self._versions, *self._troubles})
        return {n: {"version": self._versions.get(n, ""), "trouble": self._troubles.get(n, "")} for n in names}

    def _first(self, name: str, model: EdgeModel | None) -> EdgeEncoder:
        """At the start nobody waits for an answer: a damaged version is said in the status, and the feed runs."""
        try:
            if model is not None and model.trouble:
                raise ConfigError(model.trouble)
            encoder = self._made(name, model)
        except ConfigError as error:
            if model is None:
                raise  # what site.yaml says of the encoder cannot be used
            self.num_failed += 1
            self._troubles[name] = error.sentence
            log.warning("encoder %s runs without its trained model: %s", name, error.sentence)
            return self._made(name, None)
        self._note(name, model)
        return encoder

    def _note(self, name: str, model: EdgeModel | None) -> None:
        if model is None:
            self._versions.pop(name, None)
        else:
            self._versions[name] = model.version

    def _made(self, name: str, model: EdgeModel | None) -> EdgeEncoder:
        options = dict(self._section.options.get(name, {}))
        if model is not None:
            if not model.data:
                raise ConfigError(f"version {model.version or 'in use'} of {name} is empty; train it anew")
            options |= {"weights": model.data, "version": model.version}
        encoder: EdgeEncoder = load(EDGE_ENCODERS, name)(**options)
        return encoder


class EdgeModels:
    """The models of a shard's feeds. `prepare` may take as long as the registry does; the rest answers at once."""

    def __init__(self, section: EncoderSection, read: Read = lambda _: None) -> None:
        self._section = section
        self._read = read
        self._found: dict[str, dict[str, EdgeModel | None]] = {}
        """Feed -> encoder -> what the registry had when the feed was made ready."""
        self._given: dict[str, dict[str, EdgeModel | None]] = {}
        self._running: dict[str, EdgeEncoders] = {}

    def prepare(self, feed_id: str) -> None:
        """Read what is current for a feed that is to start. What it has been given by then holds nevertheless."""
        self._found.setdefault(feed_id, {})  # from here on it can be given something
        self._found[feed_id] = {name: self._current(name, feed_id) for name in self._trained()}

    def encoders(self, feed_id: str) -> EdgeEncoders:
        """Those of a feed that starts now."""
        known = self._found.get(feed_id, {}) | self._given.get(feed_id, {})
        made = EdgeEncoders(self._section, {name: model for name, model in known.items() if model is not None})
        self._running[feed_id] = made
        return made

    def give(self, feed_id: str, encoder: str, model: EdgeModel | None) -> bool:
        """Swap one encoder's model, now and for when the feed starts again here. False: there is no such feed or no
        such encoder here.

        Raises:
            ConfigError: the weights cannot be used; nothing has changed.
        """
        running = self._running.get(feed_id)
        if running is None and feed_id in self._found:  # it is about to start: try the weights on nobody
            running = EdgeEncoders(self._section)
        if running is None or encoder not in self._trained() or not running.give(encoder, model):
            return False
        self._given.setdefault(feed_id, {})[encoder] = model
        return True

    def forget(self, feed_id: str) -> None:
        """The feed has left: should it come back, the registry knows."""
        for of_feeds in (self._found, self._given, self._running):
            of_feeds.pop(feed_id, None)

    def _current(self, name: str, feed_id: str) -> EdgeModel | None:
        try:
            return self._read(subject_of(name, feed_id))
        except StoreError as error:
            return EdgeModel(version="", trouble=error.sentence)

    def _trained(self) -> Sequence[str]:
        return [name for name in self._section.edge if name in TRAINED]


def edge_models(site: SiteConfig) -> EdgeModels:
    """With the versions of the site's own registry."""
    place = site.training.registry or str(Path(site.site.data_dir) / "models")
    return EdgeModels(site.encoders, lambda subject: current_model(place, subject))


def current_model(place: str, subject: str) -> EdgeModel | None:
    """The version that the registry at ``place`` has in use.

    Raises:
        StoreError: the registry cannot be read, or the version is damaged.
    """
    if "://" not in place and not Path(place).is_dir():
        return None  # most sites have trained nothing yet, and need not load what reads a registry
    from mmstream.training.registry import Registry

    registry = Registry(place)
    version = registry.current(subject)
    if version is None:
        return None
    if FILE not in version.files:
        raise StoreError(f"{subject} {version.version} has no {FILE}; roll back, or train it anew")
    with tempfile.TemporaryDirectory(prefix="mmstream-model-") as folder:
        data = (registry.fetch(version, Path(folder)) / FILE).read_bytes()
    return EdgeModel(version=version.version, data=data)
