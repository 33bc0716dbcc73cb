"""The site's own networks as a kind of model: when there is enough to learn from, what is made, how it is tried."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmstream.encoders.site import SitePictureEncoder, SiteSoundEncoder
from mmstream.encoders.site_net import PARTS, told_by
from mmstream.errors import ConfigError
from mmstream.training.corpus import Corpus
from mmstream.training.fit_settings import FitSettings, take_settings
from mmstream.training.footage import Burst
from mmstream.training.promote import Trial
from mmstream.training.shadow import shadow_trial
from mmstream.training.site_trainee import WEIGHTS, Recipe, SiteTrainee
from mmstream.types import Channel, Embedding, Float32

SUBJECT = "site"
EVENTS = ("object_passes", "object_stays", "other_sound", "noise", "other_look")
"""What versions are tried on."""


class SiteKind:
    """Picture and sound networks of the whole site, together in one version."""

    name: ClassVar[str] = "site"
    settings: ClassVar[FitSettings] = FitSettings(epochs=30, learning_rate=2e-3, patience=6, max_seconds=3600.0)

    def subjects(self, corpus: Corpus) -> Sequence[str]:
        bursts = (burst for feed_id in corpus.feeds for burst in corpus.bursts(feed_id, "train"))
        least = Recipe().least_bursts
        return (SUBJECT,) if sum(1 for _ in itertools.islice(bursts, least)) == least else ()

    def trainee(self, subject: str, corpus: Corpus, options: Mapping[str, Any], *, parent: Path | None) -> SiteTrainee:
        """``options``: `Recipe`; those of the loop (`FitSettings`) are passed over."""
        _, own = take_settings(options, self.settings)
        try:
            recipe = Recipe(**own)
        except TypeError as error:
            raise ConfigError(f"training.options.{subject}: {error}") from None
        return SiteTrainee(corpus, recipe, parent=parent)

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:
        del subject  # there is one
        version = SiteVersion(files / WEIGHTS) if files is not None else None
        return shadow_trial(
            corpus,
            encode=version.encode if version is not None else None,
            channels=version.channels if version is not None else {},
            events=EVENTS,
            memory_bytes=version.memory_bytes if version is not None else 0,
        )


class SiteVersion:
    """A version's networks, asked about bursts."""

    def __init__(self, weights: Path) -> None:
        parts = told_by(weights.read_bytes()).get("parts", "").split(",")
        self._sees = SitePictureEncoder(weights=str(weights), device="cpu") if PARTS[0] in parts else None
        self._hears = SiteSoundEncoder(weights=str(weights), device="cpu") if PARTS[1] in parts else None
        self.memory_bytes = weights.stat().st_size

    @property
    def channels(self) -> dict[str, Channel]:
        return {each.channel.name: each.channel for each in (self._sees, self._hears) if each is not None}

    def encode(self, burst: Burst) -> list[list[Embedding]]:
        """Per glimpse what each network says of it; nothing where there was nothing."""
        found: list[list[Embedding]] = [[] for _ in burst.glimpses]
        pictures = {i: glimpse.picture for i, glimpse in enumerate(burst.glimpses) if glimpse.picture is not None}
        mels = {i: glimpse.mel for i, glimpse in enumerate(burst.glimpses) if glimpse.mel is not None}
        if self._sees is not None and pictures:
            vectors = self._sees.encode(np.stack(list(pictures.values())))
            _add(found, burst, pictures, vectors, self._sees)
        if self._hears is not None and mels:
            vectors = self._hears.encode_mels(np.stack(list(mels.values())))
            _add(found, burst, mels, vectors, self._hears)
        return found


def _add(
    found: list[list[Embedding]],
    burst: Burst,
    numbers: Mapping[int, Any],
    vectors: Float32,
    encoder: SitePictureEncoder | SiteSoundEncoder,
) -> None:
    for number, vector in zip(numbers, vectors, strict=True):
        glimpse = burst.glimpses[number]
        found[number].append(
            Embedding(
                feed_id=burst.feed_id,
                start_s=glimpse.start_s,
                end_s=glimpse.end_s,
                channel=encoder.channel.name,
                vector=vector,
                model=encoder.model,
            )
        )
