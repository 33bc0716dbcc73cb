"""What a feed knows of a model before that model's first window: its history, learned in advance from kept footage.

A new model's vectors cannot be compared with those of the one before. Learned anew, a camera would be blind on that
channel for minutes and unsure for hours. So the new model encodes what is kept of the last days, and what it says of
them is learned here as live windows are: scored first, learned `LAG_S` later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from mmstream.normality.history import History
from mmstream.normality.memory import LAG_S
from mmstream.types import Channel, Float32, Mode, Verdict


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adoption:
    """One history made in advance. Plain values and arrays: travels between processes."""

    channel: str
    model: str
    """``name@version``."""
    dim: int
    mode: Mode
    state: Mapping[str, npt.NDArray[Any]]
    """`History.state`."""
    num_windows: int
    """Learned from so many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One window of kept footage, as the new model sees it."""

    at_s: float
    """Its end."""
    vector: Float32
    alert_id: str = ""
    """The alert that it is part of; only of alerts with a verdict."""
    verdict: Verdict | None = None


class AdvanceHistory:
    """Learns one channel of one feed from footage, in order of time."""

    def __init__(self, channel: Channel, *, model: str, dim: int, mode: Mode = "") -> None:
        self._channel, self._model, self._dim, self._mode = channel, model, dim, mode
        self._history = History(channel, dim)
        self._waiting: deque[tuple[Seen, float]] = deque()
        self._judged: list[Seen] = []

    def push(self, seen: Seen) -> float | None:
        """-> the window's p by what came before it; None while that is too little to say."""
        while self._waiting and abs(seen.at_s - self._waiting[0][0].at_s) >= LAG_S:
            self._learn(*self._waiting.popleft())
        raw, p = self._history.weigh(seen.vector, seen.at_s)
        if seen.verdict in ("true", "false_alarm"):
            self._judged.append(seen)
        else:
            self._waiting.append((seen, raw))
        return p

    def finish(self) -> Adoption:
        """Learn what still waits, then what operators have said: it counts for the new model, too."""
        while self._waiting:
            self._learn(*self._waiting.popleft())
        for seen in self._judged:
            if seen.verdict == "false_alarm":
                self._history.absorb(seen.vector, seen.at_s)
        for seen in self._judged:
            if seen.verdict == "true":
                self._history.confirm(seen.alert_id, seen.vector, seen.at_s)
        return Adoption(
            channel=self._channel.name,
            model=self._model,
            dim=self._dim,
            mode=self._mode,
            state=self._history.state(),
            num_windows=len(self._history),
        )

    def _learn(self, seen: Seen, raw: float) -> None:
        self._history.learn(seen.vector, raw, seen.at_s)


def learned_in_advance(channel: Channel, windows: Iterable[Seen], *, model: str, dim: int, mode: Mode = "") -> Adoption:
    """All windows of one channel, oldest first."""
    history = AdvanceHistory(channel, model=model, dim=dim, mode=mode)
    for seen in windows:
        history.push(seen)
    return history.finish()
