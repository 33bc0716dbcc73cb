"""What a feed knows of a model before that model's first window: its history, learned in advance from kept footage.

A new model's vectors cannot be compared with those of the one before. Learned anew, a camera would be blind on that
channel for minutes and unsure for hours. So the new model encodes what is kept of the last days, and what it says of
them is learned here as live windows are: scored first, learned `LAG_S` later.

What it says of alerts is brought along, too: an operator may judge one that the model before has raised, and means the
thing that was to be seen, whatever model looks at it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.history import History
from mmstream.normality.lessons import Key, Lesson, halved
from mmstream.normality.memory import LAG_S, Memory
from mmstream.normality.quarantine import MAX_WINDOWS, Case, Fate
from mmstream.types import Channel, Float32, Mode, Verdict

FATES: Mapping[str | None, Fate] = {"false_alarm": "absorbed", "true": "confirmed"}
"""What becomes of the windows of an alert by its verdict; else nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenAlert:
    """An alert as the new model sees it, so that a verdict on it teaches that one as well."""

    alert_id: str
    fate: Fate
    """What the history that comes with it has been taught of it."""
    ends_s: npt.NDArray[np.float64]
    """(n,) of its windows."""
    vectors: npt.NDArray[np.float16]
    """(n, D)"""


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
    alerts: tuple[SeenAlert, ...] = ()
    """Those of which footage is kept."""

    @property
    def key(self) -> Key:
        return self.channel, self.model, self.dim, self.mode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One window of kept footage, as the new model sees it."""

    at_s: float
    """Its end."""
    vector: Float32
    alert_id: str = ""
    """The alert that it is part of. Without a verdict nobody knows what it was, and it is not learned."""
    verdict: Verdict | None = None


class AdvanceHistory:
    """Learns one channel of one feed from footage, in order of time."""

    def __init__(self, channel: Channel, *, model: str, dim: int, mode: Mode = "") -> None:
        self._channel, self._model, self._dim, self._mode = channel, model, dim, mode
        self._history = History(channel, dim, mode)
        self._waiting: deque[tuple[Seen, float]] = deque()
        self._judged: list[Seen] = []

    def push(self, seen: Seen) -> float | None:
        """-> the window's p by what came before it; None while that is too little to say."""
        while self._waiting and abs(seen.at_s - self._waiting[0][0].at_s) >= LAG_S:
            self._learn(*self._waiting.popleft())
        raw, p = self._history.weigh(seen.vector, seen.at_s)
        if seen.alert_id:
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
            alerts=tuple(self._alerts()),
        )

    def _alerts(self) -> Iterable[SeenAlert]:
        for alert_id in dict.fromkeys(seen.alert_id for seen in self._judged):
            windows = [seen for seen in self._judged if seen.alert_id == alert_id][-MAX_WINDOWS:]
            lessons = [halved(_lesson(seen.vector, seen.at_s, ("", "", 0, ""))) for seen in windows]
            yield SeenAlert(
                alert_id=alert_id,
                fate=FATES.get(windows[0].verdict, ""),
                ends_s=np.array([seen.at_s for seen in windows], np.float64),
                vectors=np.stack([np.asarray(lesson.parts[0][1], np.float16) for lesson in lessons]),
            )

    def _learn(self, seen: Seen, raw: float) -> None:
        self._history.learn(seen.vector, raw, seen.at_s)


def learned_in_advance(channel: Channel, windows: Iterable[Seen], *, model: str, dim: int, mode: Mode = "") -> Adoption:
    """All windows of one channel, oldest first."""
    history = AdvanceHistory(channel, model=model, dim=dim, mode=mode)
    for seen in windows:
        history.push(seen)
    return history.finish()


def place(adoption: Adoption, memory: Memory) -> bool:
    """Give a memory what was learned in advance; -> whether the history was new to it.

    Alerts that still wait there for a verdict, or could be given another one, are from now on also known as the new
    model sees them. A verdict that came while the footage was encoded is taught here.

    Raises:
        KeyError, ValueError: this is not the state of such a history.
    """
    is_new = memory.adopt(adoption.key, adoption.state)
    history = memory.history(adoption.key)
    if history is not None:
        for seen in adoption.alerts:
            case = memory.case(seen.alert_id)
            if case is not None and not _knows(case, adoption.key):
                _teach(history, seen, case.fate, told=seen.fate if is_new else "")
                case.lessons = [
                    *(
                        lesson
                        for lesson in case.lessons
                        if any(memory.history(key) is not None for key, *_ in lesson.parts)
                    ),
                    *(_lesson(v, end_s, adoption.key) for v, end_s in zip(seen.vectors, seen.ends_s, strict=True)),
                ]
    return is_new


def _knows(case: Case, key: Key) -> bool:
    """Whether the alert was raised while that model was in use, or was brought along before."""
    return any(key == known for lesson in case.lessons for known, *_ in lesson.parts)


def _teach(history: History, seen: SeenAlert, fate: Fate, *, told: Fate) -> None:
    """Have the history know what has become of the alert, where it was ``told`` otherwise."""
    if fate == told:
        return
    if told == "confirmed":
        history.unconfirm(seen.alert_id)
    for half, end_s in zip(seen.vectors, seen.ends_s, strict=True):
        vector = np.asarray(half, np.float32)
        if told == "absorbed":
            history.forget(vector)
        if fate == "absorbed":
            history.absorb(vector, float(end_s))
        elif fate == "confirmed":
            history.confirm(seen.alert_id, vector, float(end_s))


def _lesson(vector: npt.NDArray[np.floating[Any]], end_s: float, key: Key) -> Lesson:
    """A window of an alert. What it scored is of no use: it is scored anew should it ever be learned."""
    return Lesson(start_s=float(end_s), end_s=float(end_s), parts=((key, vector, 0.0),), sums=())
