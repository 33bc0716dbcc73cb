"""Whether what a feed shows, sounds and says belongs together: a modality of its own, where that can be told."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.fusion.pairs import PairModel
from mmstream.types import AlignedWindow, Channel, Embedding, Evidence, Float32, Modality

PAIRS: Mapping[str, tuple[Modality, Modality]] = {
    "picture-sound": ("picture", "sound"),
    "picture-words": ("picture", "words"),
    "sound-words": ("sound", "words"),
}

SIDES: Mapping[Modality, tuple[tuple[str, ...], ...]] = {
    "picture": (("vision",), ("torchvision",), ("motion", "activity")),
    "sound": (("clap",), ("ast",), ("sound",)),
    "words": (("meaning",), ("words",)),
}
"""Modality -> which channels stand for it, the first that are configured: what is seen and said by what it means
where a model knows that, else by how much of what moves and sounds."""

PREFIX = "agreement:"
CHANNELS: Mapping[str, Channel] = {
    PREFIX + pair: Channel(
        name=PREFIX + pair, modality="agreement", normality="value", density=False, aspect=PREFIX + pair
    )
    for pair in PAIRS
}
MODEL = "matched-pairs@1"

MAX_DIM = 48
"""Longer vectors are projected to so many random directions (Johnson and Lindenstrauss, 1984): what one camera shows
and sounds varies in fewer."""

SMOOTH = 3
"""Windows over which the mismatch is averaged: a sound comes a little before or after what makes it."""
SMOOTH_S = 3.5

LAG_S = 10.0
"""Pairs are learned so much later: what leads up to an alert must not be among them."""
MAX_WAITING = 64
"""Pairs waiting to be learned; beyond that the oldest is left out: they are a sample anyway."""

JUMP_S = 60.0
"""When the clock jumps back (history ends, the live feed begins) so much is taken to have passed."""

MAX_FOREIGN = 300
"""So many pairs of other models in a row, and what was learned of the former models is given up."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """One moment of two modalities."""

    name: str
    left: Float32
    right: Float32
    models: Mapping[str, str]
    """Channel -> model; pairs of different models are never compared."""
    shared: bool


class Agreement:
    """Learns which pictures, sounds and words go together on one feed, and says how badly those of a window match.

    One `PairModel` per pair of modalities that come together; its mismatch, averaged over 3 windows, is an embedding
    of the channel ``agreement:picture-sound`` (...-words), given only while the model tells true pairs from
    shuffled ones better than chance. Most microphones have no link to the view: they never get the channel.

    Windows of alerts are not learned: `keep` and `discard` follow `normality.memory.Memory`.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        self.channels = frozenset(channels)
        found = {
            modality: [[c for c in side if c in self.channels] for side in sides] for modality, sides in SIDES.items()
        }
        self._sides = {modality: next(filter(None, sides), []) for modality, sides in found.items()}
        self._dims: dict[str, int] = {}
        self._models: dict[str, tuple[Mapping[str, str], PairModel]] = {}
        self._foreign: dict[str, int] = {}
        self._recent: dict[str, list[tuple[float, float]]] = {}
        self._waiting: deque[tuple[float, float, _Pair]] = deque(maxlen=MAX_WAITING)
        self._end_s = -math.inf
        self._elapsed_s = 0.0

    def weigh(self, window: AlignedWindow) -> tuple[Embedding, ...]:
        """-> an embedding (1,) per pair of modalities that the window has and that is known to go together."""
        step_s = window.end_s - self._end_s
        if step_s < 0.0:
            self._recent.clear()
        self._elapsed_s += (step_s if step_s >= 0.0 else JUMP_S) if math.isfinite(step_s) else 0.0
        self._end_s = window.end_s
        found = []
        for pair in self._pairs(window):
            self._waiting.append((window.end_s, self._elapsed_s, pair))
            models, model = self._models.get(pair.name, ({}, None))
            if model is not None and model.used and _is_of(pair, models, model):
                score = self._smoothed(pair.name, model.mismatch(pair.left, pair.right), window.end_s)
                found.append(_embedding(window, pair.name, score))
        return tuple(found)

    def keep(self, end_s: float, *, hold: bool) -> None:
        """Unless ``hold``, learn what has waited `LAG_S` at ``end_s``."""
        while not hold and self._waiting and abs(end_s - self._waiting[0][0]) >= LAG_S:
            _, at_s, pair = self._waiting.popleft()
            self._learn(pair, at_s)

    def discard(self, from_s: float) -> None:
        """What ended after ``from_s`` was unusual: do not learn it."""
        kept = [item for item in self._waiting if item[0] <= from_s]
        self._waiting = deque(kept, maxlen=MAX_WAITING)

    def forget_view(self) -> None:
        """The camera looks elsewhere: what went with its pictures is of no use any more."""
        for name in [name for name in self._models if "picture" in PAIRS[name]]:
            del self._models[name]
        self._recent.clear()
        self._waiting.clear()

    def summary(self) -> dict[str, dict[str, Any]]:
        """Pair -> how well it is told from chance: plain values for the feed's status. Only pairs that were tried."""
        tried = {name: model for name, (_, model) in self._models.items() if model.trial is not None}
        return {
            name: {
                "auc": round(model.trial.auc, 3),
                "chance": float(f"{model.trial.chance:.2g}"),
                "used": model.used,
            }
            for name, model in tried.items()
            if model.trial is not None
        }

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays): all that `load` takes back, but for the pairs that wait to be learned."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        pairs = {}
        for name, (models, model) in self._models.items():
            record, own = model.state()
            pairs[name] = [models, model.num_left, model.num_right, model.shared, record]
            arrays |= {f"{name}.{key}": array for key, array in own.items()}
        end_s = self._end_s if math.isfinite(self._end_s) else None
        clock = {"end_s": end_s, "elapsed_s": self._elapsed_s}
        return {"pairs": pairs, "dims": self._dims, "recent": self._recent} | clock, arrays

    def load(self, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError, TypeError: this is not the state of an agreement."""
        self._models = {}
        for name, (models, num_left, num_right, shared, own) in record["pairs"].items():
            model = _model(name, num_left, num_right, shared)
            model.load(own, {k.removeprefix(f"{name}."): a for k, a in arrays.items() if k.startswith(f"{name}.")})
            self._models[name] = (models, model)
        self._dims = dict(record["dims"])
        self._recent = {name: [(at_s, score) for at_s, score in kept] for name, kept in record["recent"].items()}
        self._end_s = record["end_s"] if record["end_s"] is not None else -math.inf
        self._elapsed_s = record["elapsed_s"]

    def _pairs(self, window: AlignedWindow) -> list[_Pair]:
        by_channel = {embedding.channel: embedding for embedding in window.embeddings if len(embedding.vector)}
        sides = {m: [by_channel[c] for c in channels if c in by_channel] for m, channels in self._sides.items()}
        pairs = []
        for name, (left, right) in PAIRS.items():
            if not (sides[left] and sides[right]):
                continue
            first, second = sides[left][0], sides[right][0]
            shared = first.model == second.model and len(first.vector) == len(second.vector)
            vectors = (
                (first.vector, second.vector) if shared else (self._joined(sides[left]), self._joined(sides[right]))
            )
            if len(vectors[0]) and len(vectors[1]):
                models = {item.channel: item.model for item in (*sides[left], *sides[right])}
                pairs.append(_Pair(name=name, left=vectors[0], right=vectors[1], models=models, shared=shared))
        return pairs

    def _joined(self, parts: list[Embedding]) -> Float32:
        """What the channels of one side say, one after another: zeros for one that is not there, as nothing moves
        for a feed that sleeps; nothing while it has never been there."""
        sketches = {part.channel: _sketch(part.vector) for part in parts}
        self._dims |= {channel: len(sketch) for channel, sketch in sketches.items()}
        channels = next(side for side in self._sides.values() if parts[0].channel in side)
        if any(channel not in self._dims for channel in channels):
            return np.zeros(0, np.float32)
        empty = (np.zeros(self._dims[channel], np.float32) for channel in channels)
        return np.concatenate([sketches.get(channel, zeros) for channel, zeros in zip(channels, empty, strict=True)])

    def _learn(self, pair: _Pair, at_s: float) -> None:
        models, model = self._models.get(pair.name, ({}, None))
        if model is not None and not _is_of(pair, models, model):
            self._foreign[pair.name] = self._foreign.get(pair.name, 0) + 1
            if self._foreign[pair.name] < MAX_FOREIGN:
                return
            model = None
        self._foreign[pair.name] = 0
        if model is None:
            models, model = {}, _model(pair.name, len(pair.left), len(pair.right), pair.shared)
        self._models[pair.name] = ({**models, **pair.models}, model)
        model.learn(pair.left, pair.right, at_s)

    def _smoothed(self, name: str, score: float, end_s: float) -> float:
        """The mean of the last `SMOOTH` windows, as far as they are of the last seconds."""
        recent = [item for item in self._recent.get(name, ()) if end_s - item[0] < SMOOTH_S][1 - SMOOTH :]
        self._recent[name] = [*recent, (end_s, score)]
        return math.fsum(value for _, value in self._recent[name]) / len(self._recent[name])


def modalities_of(evidence: Evidence) -> set[Modality]:
    """Which modalities it is about: its own, and of a mismatch the two that do not match.

    >>> sorted(modalities_of(Evidence(channel="agreement:picture-sound", modality="agreement", p=0.5)))
    ['agreement', 'picture', 'sound']
    """
    return {evidence.modality, *PAIRS.get(evidence.channel.removeprefix(PREFIX), ())}


def _model(name: str, num_left: int, num_right: int, shared: bool) -> PairModel:
    # words come rarely enough to keep all of them
    return PairModel(num_left=num_left, num_right=num_right, shared=shared, thin_dull="words" not in PAIRS[name])


def _is_of(pair: _Pair, models: Mapping[str, str], model: PairModel) -> bool:
    same = all(models.get(channel, name) == name for channel, name in pair.models.items())
    return same and (len(pair.left), len(pair.right), pair.shared) == (model.num_left, model.num_right, model.shared)


def _sketch(vector: Float32) -> Float32:
    if len(vector) <= MAX_DIM:
        return vector
    sketch: Float32 = vector @ _directions(len(vector))
    return sketch


@functools.cache
def _directions(dim: int) -> Float32:
    """(dim, MAX_DIM): the same in every process and for every feed."""
    random = np.random.default_rng(dim)
    directions: Float32 = (random.normal(size=(dim, MAX_DIM)) / math.sqrt(MAX_DIM)).astype(np.float32)
    return directions


def _embedding(window: AlignedWindow, name: str, score: float) -> Embedding:
    return Embedding(
        feed_id=window.feed_id,
        start_s=window.start_s,
        end_s=window.end_s,
        channel=PREFIX + name,
        vector=np.array([score], np.float32),
        model=MODEL,
    )
