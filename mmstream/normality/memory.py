"""Everything one feed has learned, and when it may learn more."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.history import MIN_SCORES, History
from mmstream.normality.reference import Reference
from mmstream.types import AlignedWindow, Channel, Embedding, Evidence, Float32, Modality

LAG_S = 10.0
"""Windows are learned so much later: what leads up to an alert must not be in the bank that judges
it, and scores are then the same whether or not the last windows were held back."""

MAX_WAITING = 256
"""Windows waiting to be learned at most; beyond that every second one is dropped."""

MAX_LEARNED_AT_ONCE = 8
MAX_MODELS = 2
"""Models per channel remembered side by side while one replaces another."""

SETTLED = 2048
"""Windows after which a new model needs its predecessor's memory no more."""

EXPECTED = math.log10(math.e)
"""Mean of -log10 p of ordinary windows."""

Key = tuple[str, str, int]
"""(channel, model, dim): vectors are compared only within one key."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What can be learned from one window."""

    start_s: float
    end_s: float
    parts: tuple[tuple[Key, Float32, float], ...]
    """(key, vector, raw score) per channel."""
    sums: tuple[tuple[Modality, float], ...]
    """Weighted sum of -log10 p per modality that has several channels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighed:
    """How rare one window is: by channel, and by modality for fusion."""

    channels: tuple[Evidence, ...]
    modalities: tuple[Evidence, ...]
    lesson: Lesson


class Memory:
    """A `History` per channel and model, and a `Reference` per modality of several channels.

    Inside a modality the weighted sum of -log10 p is ranked again among this feed's own sums (a
    harmonic mean there loses to it: one badly calibrated channel decides). The sum is taken about
    its expectation, so that a channel missing from a window changes it little.
    """

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = dict(channels)
        self._histories: dict[Key, History] = {}
        per_modality = Counter(channel.modality for channel in channels.values())
        self._sums = {modality: Reference() for modality, count in per_modality.items() if count > 1}
        self._waiting: deque[Lesson] = deque()
        self.num_unknown = 0
        self.num_learned = 0

    def weigh(self, window: AlignedWindow) -> Weighed:
        """Judge a window by what has been learned so far; learn nothing yet."""
        parts = []
        evidence = []
        for embedding in window.embeddings:
            channel = self._channels.get(embedding.channel)
            if channel is None or not len(embedding.vector):
                self.num_unknown += 1
                continue
            key = (embedding.channel, embedding.model, len(embedding.vector))
            raw, p = self._history(channel, key).weigh(embedding.vector)
            parts.append((key, embedding.vector, raw))
            if p is not None:
                evidence.append(_evidence(channel, embedding, p, raw))
        sums = {item.modality: 0.0 for item in evidence if item.modality in self._sums}
        for item in evidence:
            if item.modality in sums:
                sums[item.modality] += item.weight * (-math.log10(item.p) - EXPECTED)
        return Weighed(
            channels=tuple(evidence),
            modalities=tuple(self._by_modality(evidence, sums)),
            lesson=Lesson(start_s=window.start_s, end_s=window.end_s, parts=tuple(parts), sums=tuple(sums.items())),
        )

    def keep(self, lesson: Lesson, *, hold: bool) -> None:
        """Queue a window's lesson; unless ``hold``, learn those that have waited `LAG_S`."""
        self._waiting.append(lesson)
        if len(self._waiting) > MAX_WAITING:
            self._waiting = deque(list(self._waiting)[::2])
        if hold:
            return
        for _ in range(MAX_LEARNED_AT_ONCE):
            if not self._waiting or abs(lesson.end_s - self._waiting[0].end_s) < LAG_S:
                break
            self._learn(self._waiting.popleft())

    def learn_waiting(self) -> None:
        """Learn what still waits: the recording is over, and nothing can show any more that it was unusual."""
        while self._waiting:
            self._learn(self._waiting.popleft())

    def discard(self, from_s: float) -> None:
        """Never learn the waiting windows that end after ``from_s``."""
        self._waiting = deque(lesson for lesson in self._waiting if lesson.end_s <= from_s)

    def sizes(self) -> dict[str, int]:
        """Rows remembered, per channel (of the model used last)."""
        return {channel: history.num_rows for (channel, _, _), history in self._histories.items()}

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays): all that `load` takes back exactly."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        keys = list(self._histories)
        for number, history in enumerate(self._histories.values()):
            arrays |= {f"history{number}.{name}": array for name, array in history.state().items()}
        for modality, reference in self._sums.items():
            arrays |= {f"sum-{modality}.{name}": array for name, array in reference.state().items()}
        lessons = [lesson for lesson in self._waiting if all(key in self._histories for key, _, _ in lesson.parts)]
        vectors = [vector for lesson in lessons for _, vector, _ in lesson.parts]
        arrays["waiting"] = np.concatenate(vectors) if vectors else np.zeros(0, np.float32)
        waiting = [
            [lesson.start_s, lesson.end_s, [[keys.index(key), raw] for key, _, raw in lesson.parts], lesson.sums]
            for lesson in lessons
        ]
        return {"keys": keys, "waiting": waiting, "counts": [self.num_unknown, self.num_learned]}, arrays

    def load(self, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Channels that are configured no more are left out.

        Raises:
            KeyError, ValueError: these are not the arrays of a memory.
        """
        keys: list[Key] = [(channel, model, dim) for channel, model, dim in record["keys"]]
        self._histories = {}
        for number, key in enumerate(keys):
            if key[0] in self._channels:
                self._histories[key] = History(self._channels[key[0]], key[2])
                self._histories[key].load(_under(arrays, f"history{number}."))
        for modality, reference in self._sums.items():
            kept = _under(arrays, f"sum-{modality}.")
            if kept:
                reference.load(kept)
        self._waiting = deque()
        start = 0
        for start_s, end_s, parts, sums in record["waiting"]:
            taken = []
            for number, raw in parts:
                stop = start + keys[number][2]
                taken.append((keys[number], arrays["waiting"][start:stop], raw))
                start = stop
            lesson = Lesson(start_s=start_s, end_s=end_s, parts=tuple(taken), sums=tuple((m, s) for m, s in sums))
            self._waiting.append(lesson)
        self.num_unknown, self.num_learned = record["counts"]

    def _history(self, channel: Channel, key: Key) -> History:
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = History(channel, key[2])
            others = [other for other in self._histories if other[0] == channel.name and other != key]
            for forgotten in others[: len(others) + 1 - MAX_MODELS]:
                del self._histories[forgotten]
        return history

    def _by_modality(self, evidence: list[Evidence], sums: Mapping[Modality, float]) -> list[Evidence]:
        joined = [
            Evidence(channel=modality, modality=modality, p=self._sums[modality].p(total), raw=total)
            for modality, total in sums.items()
            if len(self._sums[modality]) >= MIN_SCORES
        ]
        single = [
            Evidence(channel=item.modality, modality=item.modality, p=item.p, raw=item.raw)
            for item in evidence
            if item.modality not in sums
        ]
        return joined + single

    def _learn(self, lesson: Lesson) -> None:
        self.num_learned += 1
        for key, vector, raw in lesson.parts:
            history = self._histories.get(key)
            if history is None:
                continue  # its model was replaced while it waited
            history.learn(vector, raw, lesson.end_s)
            if len(history) == SETTLED:
                for other in [other for other in self._histories if other[0] == key[0] and other != key]:
                    del self._histories[other]
        for modality, total in lesson.sums:
            if modality in self._sums:
                self._sums[modality].add(total)


def _evidence(channel: Channel, embedding: Embedding, p: float, raw: float) -> Evidence:
    return Evidence(
        channel=channel.name, modality=channel.modality, p=p, raw=raw, weight=channel.weight, model=embedding.model
    )


def _under(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
