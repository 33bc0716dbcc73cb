"""What a feed takes over before another model judges it: its history under that model, and how scores then read.

Everything is given in advance and waits until the model's first window comes: before that, nothing changes. What never
comes (the swap was broken off) does no harm, and the next adoption takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.adoption import Adoption, SeenAlert, place
from mmstream.normality.lessons import under
from mmstream.normality.memory import Memory
from mmstream.types import Embedding, Float64

MIN_PAIRS = 200
"""Fewer windows that both models have judged say too little about how scores read."""
NUM_STEPS = 100
"""Quantiles that are compared, evenly up to 99 %; beyond, scores move by as much as there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rereading:
    """Scores of the model before, and what the one after makes of equally rare windows. Both ascend."""

    before: Float64
    after: Float64

    def __call__(self, scores: Float64) -> Float64:
        """(n,) scores of before -> as they read afterwards; never falls, never below 0."""
        middle = np.interp(scores, self.before, self.after)
        beyond = np.maximum(scores - self.before[-1], 0.0) + np.minimum(scores - self.before[0], 0.0)
        read: Float64 = np.maximum(middle + beyond, 0.0)
        return read

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float]) -> Rereading | None:
        """From the scores of the same windows by both; None: too few of them.

        Quantiles are matched, not windows: what is asked is how often which score comes.
        """
        if min(len(before), len(after)) < MIN_PAIRS:
            return None
        shares = np.linspace(0.0, 0.99, NUM_STEPS)
        return cls(before=np.quantile(before, shares), after=np.quantile(after, shares))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeedAdoption:
    """All that one feed takes over for one new version."""

    feed_id: str
    models: tuple[str, ...]
    """``name@version`` of every channel of the version."""
    histories: tuple[Adoption, ...] = ()
    rereading: Rereading | None = None
    """None: too little is known of both; thresholds stay."""


class Switch:
    """What one feed has been given and cannot use yet: rereadings whose model has not come, and histories of channels
    that it does not measure yet (a site's first version: shards start again with the channel, and find them here)."""

    def __init__(self) -> None:
        self._rereading: tuple[tuple[str, ...], Rereading] | None = None
        self._unplaced: list[Adoption] = []

    def expect(self, adoption: FeedAdoption, memory: Memory) -> int:
        """-> how many histories were new to the memory. Only the newest swap counts: one before it that has not
        happened will not."""
        self._rereading = (adoption.models, adoption.rereading) if adoption.rereading is not None else None
        self._unplaced = [history for history in adoption.histories if history.channel not in memory.channels]
        return _place(adoption.histories, memory)

    def place(self, memory: Memory) -> None:
        """Try again, with a memory that may measure more."""
        _place(self._unplaced, memory)
        self._unplaced = [history for history in self._unplaced if history.channel not in memory.channels]

    def note(self, embeddings: Sequence[Embedding]) -> Rereading | None:
        """The rereading to be done now, once: this window is the first one that the expected model has judged."""
        if self._rereading is None:
            return None
        models, rereading = self._rereading
        if not any(embedding.model in models for embedding in embeddings):
            return None
        self._rereading = None
        return rereading

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays) for `load`."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        unplaced = []
        for number, history in enumerate(self._unplaced):
            alerts = [[seen.alert_id, seen.fate] for seen in history.alerts]
            unplaced.append([history.channel, history.model, history.dim, history.mode, history.num_windows, alerts])
            arrays |= {f"{number}.{name}": array for name, array in history.state.items()}
            for place_of, seen in enumerate(history.alerts):
                arrays |= {f"a{number}.{place_of}.ends_s": seen.ends_s, f"a{number}.{place_of}.vectors": seen.vectors}
        models: tuple[str, ...] = ()
        if self._rereading is not None:
            models, rereading = self._rereading
            arrays |= {"before": rereading.before, "after": rereading.after}
        return {"models": models, "unplaced": unplaced}, arrays

    def load(self, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: this is not the state of a switch."""
        self._rereading, self._unplaced = None, []
        if record["models"]:
            self._rereading = tuple(record["models"]), Rereading(before=arrays["before"], after=arrays["after"])
        for number, (channel, model, dim, mode, num_windows, *rest) in enumerate(record["unplaced"]):
            alerts = [
                SeenAlert(
                    alert_id=alert_id,
                    fate=fate,
                    ends_s=arrays[f"a{number}.{place_of}.ends_s"],
                    vectors=arrays[f"a{number}.{place_of}.vectors"],
                )
                for place_of, (alert_id, fate) in enumerate(rest[0] if rest else ())  # snapshots of before have none
            ]
            self._unplaced.append(
                Adoption(
                    channel=channel,
                    model=model,
                    dim=dim,
                    mode=mode,
                    state=under(arrays, f"{number}."),
                    num_windows=num_windows,
                    alerts=tuple(alerts),
                )
            )


def _place(histories: Iterable[Adoption], memory: Memory) -> int:
    return sum(place(history, memory) for history in histories)
