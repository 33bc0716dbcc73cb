"""What each feed must know before a new version judges it: its banks under that version, and how scores then read.

The new version encodes the footage of the last days. From that each feed's histories are learned as live windows are
(`normality.adoption`), verdicts included. And both versions walk over the same bursts as in a trial (`rehearsal`): that
says how the maxima that the threshold comes from would have read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.adopting import FeedAdoption, Rereading
from mmstream.encoders.batching import build_replica
from mmstream.errors import ConfigError
from mmstream.normality.adoption import Adoption, AdvanceHistory, Seen
from mmstream.normality.history import MIN_SCORES
from mmstream.stages import ReplicaEncoder
from mmstream.training import plain
from mmstream.training.corpus import Corpus
from mmstream.training.footage import Burst, Glimpse
from mmstream.training.rehearsal import Rehearsal
from mmstream.training.sizing import sized
from mmstream.training.versions import FILE, REPLICAS, has_part, head_of
from mmstream.types import Alert, Channel, Embedding, Float32, Mode, PictureSpec

Encode = Callable[[Burst], Sequence[Sequence[Embedding]]]
"""A burst -> per glimpse what the version says of it."""

MAX_BURSTS = 1500
"""Of a feed are encoded, evenly spread: with more, a bank only forgets more."""
MAX_REREAD = 450
"""Of those are judged by both versions."""
LEARNING_SHARE = 1 / 3
"""Judged first, and not counted: banks are too young."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedder:
    """One version, ready to look at footage."""

    channels: Mapping[str, Channel]
    models: Mapping[str, str]
    """Channel -> ``name@version``."""
    encode: Encode


def embedder(
    subject: str, files: Path | None, version: str, options: Mapping[str, Mapping[str, Any]]
) -> Embedder | None:
    """``files``: of the version; None: what the site does without one. ``options``: replica encoder -> what site.yaml
    makes it with. None: there is nothing to be encoded (trained fusion; no version and nothing without one).

    Raises:
        ConfigError: the version cannot be loaded.
    """
    head = head_of(subject)
    if head == "expectation":
        return _expectation(files, version)
    wanted = REPLICAS.get(subject, {})
    made: dict[str, ReplicaEncoder] = {}
    for name, option in wanted.items():
        if name not in options or (files is not None and not has_part(files, option)):
            continue
        with_files = {} if files is None else {option.name: str(files / option.file), **option.also(version)}
        try:
            made[name] = build_replica(name, {**options[name], **with_files}, "cpu")
        except ConfigError:
            if files is not None:
                raise
    if not made:
        return None
    return Embedder(
        channels={each.channel.name: each.channel for each in made.values()},
        models={each.channel.name: each.model for each in made.values()},
        encode=lambda burst: _encoded(burst, made.values()),
    )


def adoption_of(feed_id: str, corpus: Corpus, new: Embedder, old: Embedder | None) -> FeedAdoption:
    """All that this feed takes over; without histories where too little footage of it is kept."""
    histories: dict[tuple[str, Mode], AdvanceHistory] = {}
    comparison = _Comparison(new, old)
    count = sum(1 for _ in corpus.read_bursts(feed_id, corpus.from_s, corpus.to_s))
    every = max(1, -(-min(count, MAX_BURSTS) // MAX_REREAD))
    for number, burst in enumerate(_thinned(corpus, feed_id, step=max(1, -(-count // MAX_BURSTS)))):
        said = new.encode(burst)
        judged = _judged(burst, corpus.alerts)
        if (judged is None or judged.verdict == "false_alarm") and number % every == 0:
            comparison.push(burst, said)
        for glimpse, embeddings in zip(burst.glimpses, said, strict=True):
            for embedding in embeddings:
                mode = mode_of(glimpse, new.channels[embedding.channel])
                history = histories.get((embedding.channel, mode))
                if history is None:
                    history = histories[embedding.channel, mode] = AdvanceHistory(
                        new.channels[embedding.channel], model=embedding.model, dim=len(embedding.vector), mode=mode
                    )
                history.push(_seen(embedding, judged))
    finished = (history.finish() for history in histories.values())
    return FeedAdoption(
        feed_id=feed_id,
        models=tuple(sorted(new.models.values())),
        histories=tuple(history for history in finished if _is_enough(history)),
        rereading=comparison.rereading(),
    )


def mode_of(glimpse: Glimpse, channel: Channel) -> Mode:
    """As the camera saw it. Sound does not know the difference."""
    return glimpse.mode if channel.modality == "picture" else ""


class _Comparison:
    """Both versions, beside what the site measures anyway, over the same bursts."""

    def __init__(self, new: Embedder, old: Embedder | None) -> None:
        self._new, self._old = new, old
        beside = plain.CHANNELS
        self._after = Rehearsal({**beside, **new.channels})
        self._before = Rehearsal({**beside, **(old.channels if old is not None else {})})
        self._values: list[tuple[float, float]] = []

    def push(self, burst: Burst, said: Sequence[Sequence[Embedding]]) -> None:
        beside = plain.plain(burst)
        others = self._old.encode(burst) if self._old is not None else [()] * len(burst.glimpses)
        before = self._before.hear(burst, _together(beside, others))
        after = self._after.hear(burst, _together(beside, said))
        self._before.learn(before)
        self._after.learn(after)
        if before.known and after.known:
            self._values.append((before.value, after.value))

    def rereading(self) -> Rereading | None:
        counted = self._values[int(LEARNING_SHARE * len(self._values)) :]
        return Rereading.of([before for before, _ in counted], [after for _, after in counted])


def _together(beside: Sequence[Sequence[Embedding]], own: Sequence[Sequence[Embedding]]) -> list[tuple[Embedding, ...]]:
    return [
        (*(each for each in theirs if each.channel not in {mine.channel for mine in ours}), *ours)
        for theirs, ours in zip(beside, own, strict=True)
    ]


def _thinned(corpus: Corpus, feed_id: str, *, step: int) -> Iterator[Burst]:
    """Every ``step``-th of all days, oldest first, and those of alerts."""
    for number, burst in enumerate(corpus.read_bursts(feed_id, corpus.from_s, corpus.to_s)):
        if number % step == 0 or _judged(burst, corpus.alerts) is not None:
            yield burst


def _judged(burst: Burst, alerts: Iterable[Alert]) -> Alert | None:
    """The alert about something unusual that the burst is part of; one with a verdict first."""
    found = [
        alert
        for alert in alerts
        if alert.feed_id == burst.feed_id and burst.start_s < alert.end_s and alert.start_s < burst.end_s
    ]
    return min(found, key=lambda alert: alert.verdict is None, default=None)


def _seen(embedding: Embedding, alert: Alert | None) -> Seen:
    if alert is None:
        return Seen(at_s=embedding.end_s, vector=embedding.vector)
    return Seen(at_s=embedding.end_s, vector=embedding.vector, alert_id=alert.alert_id, verdict=alert.verdict)


def _is_enough(history: Adoption) -> bool:
    return history.num_windows >= 2 * MIN_SCORES


def _encoded(burst: Burst, encoders: Iterable[ReplicaEncoder]) -> list[list[Embedding]]:
    said: list[list[Embedding]] = [[] for _ in burst.glimpses]
    for encoder in encoders:
        inputs = [(number, _input(glimpse, encoder)) for number, glimpse in enumerate(burst.glimpses)]
        given = [(number, value) for number, value in inputs if value is not None]
        if not given:
            continue
        stacked = np.stack([value for _, value in given])
        vectors = encoder.encode(stacked) if isinstance(encoder.wants, PictureSpec) else _heard(encoder, stacked)
        for (number, _), vector in zip(given, vectors, strict=True):
            glimpse = burst.glimpses[number]
            said[number].append(
                Embedding(
                    feed_id=burst.feed_id,
                    start_s=glimpse.start_s,
                    end_s=glimpse.end_s,
                    channel=encoder.channel.name,
                    vector=np.array(vector, np.float32),
                    model=encoder.model,
                )
            )
    return said


def _input(glimpse: Glimpse, encoder: ReplicaEncoder) -> npt.NDArray[Any] | None:
    """What the encoder is given of a glimpse; None: it has nothing of the kind."""
    if isinstance(encoder.wants, PictureSpec):
        return None if glimpse.picture is None else sized(glimpse.picture[None], encoder.wants)[0]
    return glimpse.mel


def _heard(encoder: Any, mels: Float32) -> Float32:
    vectors: Float32 = encoder.encode_mels(mels)
    return vectors


def _expectation(files: Path | None, version: str) -> Embedder | None:
    from mmstream.training.expectation_past import burst_encoder

    if files is None:
        return None
    made = burst_encoder((files / FILE).read_bytes(), version)
    return Embedder(channels=made.channels, models=made.models, encode=made.encode)
