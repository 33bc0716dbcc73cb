"""What is normal for one numeric sensor: a thermometer, a turnstile, a queue length."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmstream.normality.reference import Reference

FEATURES = ("level", "jump", "drift", "shift")
WARM_UP = 144
"""Readings that set the sensor's scale; nothing is called unusual before."""

RATE = 0.02
"""How much of a reading the trackers take over."""

MAX_DEVIATIONS = 4.0
MIN_SPREAD = 1e-3
"""Of the warm-up's range: what varies less than this is as good as constant."""

NUM_DRIFT, NUM_SHORT, NUM_LONG = 6, 12, 288
HOLD_S = 86_400.0
MAX_HELD = 16
STUCK_READINGS = 288
STUCK_TIMES = 5.0
SILENT_TIMES = 10.0
LIMIT = 1e9
"""Scaled readings stay inside plus and minus this, so that their squares stay finite in single precision."""

Fault = Literal["", "silent", "stuck"]


class SensorModel:
    """How surprising each reading of one sensor is, given all the earlier ones.

    Four features: ``level``, the distance from what is usual at this hour of the day in tracked
    deviations; ``jump``, the change since the last reading; ``drift``, the mean of the last 6 signed
    distances; ``shift``, the mean of the last 12 readings against that of the last 288. Each
    becomes a p-value among the sensor's own (`Reference`), and their harmonic mean the surprise (-log10 p;
    Wilson 2019): one feature far out is enough, and four that agree are not counted four times.

    What `push` returns is held: 0 unless it is the highest of the last ``hold_s``, at most 288
    readings, so that one event speaks once, at a sensor of a second as at one of an hour.
    At most 64 kB whatever happens; no clock and no random numbers.

    >>> model = SensorModel()
    >>> quiet = [model.push(300.0 * i, 20.0 + i % 7) for i in range(1000)]
    >>> max(quiet) < 3.0 < model.push(300_000.0, 60.0), model.shares["level"] > 0.1
    (True, True)
    """

    def __init__(self, *, hold_s: float = HOLD_S, capacity: int = 1600, thin: int = 3) -> None:
        if hold_s < 0.0:
            raise ValueError(f"need hold_s >= 0, got {hold_s = }")
        self.surprise = 0.0
        """Of the last reading, before the hold."""
        self.shares: dict[str, float] = {}
        """Feature -> its share of that surprise; empty during the warm-up, else it sums to 1."""
        self.num_bad = 0
        """Readings that were not finite and were left out."""
        self._hold_s = hold_s
        self._first: list[tuple[float, float]] = []
        self._centre, self._scale = 0.0, 0.0
        self._usual = _UsualByHour()
        self._recent = np.zeros(NUM_LONG)  # the newest last
        self._num_recent = 0
        self._distances: deque[float] = deque(maxlen=NUM_DRIFT)
        self._references = {name: Reference(capacity=capacity, thin=thin) for name in FEATURES}
        self._highs: deque[tuple[float, int, float]] = deque()
        """(at_s, number of the reading, surprise), falling surprises: the highs that still hold others back."""
        self._num_readings = 0
        self._pace = _Pace()

    def push(self, at_s: float, value: float) -> float:
        """The held surprise of ``value``: 0 = ordinary or an echo, 3 = once in a thousand readings."""
        if not math.isfinite(value):
            self.num_bad += 1
            return 0.0
        self._pace.push(at_s, value)
        if self._scale:
            return self._judge(at_s, value)
        self._first.append((at_s, value))
        if len(self._first) == WARM_UP:
            self._set_scale()
            for earlier_s, earlier in self._first:
                self._judge(earlier_s, earlier)
            self._first, self.surprise, self.shares = [], 0.0, {}
            self._highs.clear()
        return 0.0

    def fault(self, now_s: float) -> Fault:
        """``silent``: ten usual intervals without a reading. ``stuck``: one value for far longer than ever."""
        return self._pace.fault(now_s)

    def _set_scale(self) -> None:
        values = np.array([value for _, value in self._first])
        low, middle, high = np.percentile(values, (5.0, 50.0, 95.0))
        self._centre = float(middle)
        self._scale = float(high - low) or float(np.ptp(values)) or max(abs(self._centre) * 1e-3, 1e-9)

    def _judge(self, at_s: float, value: float) -> float:
        scaled = min(max((value - self._centre) / self._scale, -LIMIT), LIMIT)
        ps: dict[str, float] = {}
        for name, size in self._features(at_s, scaled).items():
            ps[name] = self._references[name].p(size)
            self._references[name].add(size)
        total = sum(1.0 / p for p in ps.values())
        self.surprise = math.log10(total / len(ps))
        self.shares = {name: 1.0 / (p * total) for name, p in ps.items()}
        return self._hold(at_s)

    def _features(self, at_s: float, scaled: float) -> dict[str, float]:
        distance = self._usual.push(int(at_s // 3600.0) % 24, scaled)
        jump = abs(scaled - float(self._recent[-1])) if self._num_recent else 0.0
        self._distances.append(distance)
        self._recent[:-1] = self._recent[1:]
        self._recent[-1] = scaled
        self._num_recent = min(self._num_recent + 1, NUM_LONG)
        recent = self._recent[NUM_LONG - self._num_recent :]
        spread = float(recent.std())
        shift = abs(float(recent[-NUM_SHORT:].mean() - recent.mean())) / spread if spread > 1e-9 else 0.0
        drift = abs(sum(self._distances)) / len(self._distances)
        return {"level": abs(distance), "jump": jump, "drift": drift, "shift": shift}

    def _hold(self, at_s: float) -> float:
        self._num_readings += 1
        highs = self._highs
        while highs and (highs[0][0] < at_s - self._hold_s or highs[0][1] < self._num_readings - NUM_LONG):
            highs.popleft()
        held = self.surprise if not highs or self.surprise > highs[0][2] else 0.0
        while highs and highs[-1][2] <= self.surprise:
            highs.pop()
        if len(highs) < MAX_HELD:  # full only after 16 falling surprises: the low ones hold nothing back that matters
            highs.append((at_s, self._num_readings, self.surprise))
        return held

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All that was learned, as arrays; `load` of it goes on as if nothing had happened."""
        state: dict[str, npt.NDArray[Any]] = {
            "first": np.array(self._first, np.float64).reshape(-1, 2),
            "scale": np.array([self._centre, self._scale]),
            "recent": self._recent.copy(),
            "distances": np.array(self._distances),
            "highs": np.array(self._highs, np.float64).reshape(-1, 3),
            "counts": np.array([self._num_readings, self._num_recent, self.num_bad], np.int64),
            "usual": self._usual.state(),
            "pace": self._pace.state(),
        }
        for name, reference in self._references.items():
            state |= {f"{name}.{key}": array for key, array in reference.state().items()}
        return state

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of a sensor."""
        self._first = [(float(at_s), float(value)) for at_s, value in state["first"]]
        self._centre, self._scale = (float(number) for number in state["scale"])
        self._recent[:] = state["recent"]
        self._distances = deque(state["distances"].tolist(), maxlen=NUM_DRIFT)
        self._highs = deque((float(at_s), int(n), float(high)) for at_s, n, high in state["highs"])
        self._num_readings, self._num_recent, self.num_bad = (int(count) for count in state["counts"])
        self._usual.load(state["usual"])
        self._pace.load(state["pace"])
        for name, reference in self._references.items():
            reference.load({key: state[f"{name}.{key}"] for key in ("scores", "sorted", "counts")})


class _UsualByHour:
    """Location and spread for each hour of the day (UTC), tracked so that a few wild readings do not move them."""

    def __init__(self) -> None:
        self._middles = np.full(24, np.nan)
        self._spreads = np.full(24, 0.25)  # of the 5-95 % range: between a normal's (0.30) and a flat one's
        self._overall = 0.25

    def push(self, hour: int, scaled: float) -> float:
        """The signed distance of the reading in deviations; half of their size is that of all hours together."""
        middle, spread = float(self._middles[hour]), float(self._spreads[hour])
        if math.isnan(middle):
            middle = scaled
        rest = scaled - middle
        distance = 2.0 * rest / (spread + self._overall)
        bound = MAX_DEVIATIONS * spread
        self._middles[hour] = middle + RATE * min(max(rest, -bound), bound)
        self._spreads[hour] = max(spread + RATE * (min(abs(rest), bound) - spread), MIN_SPREAD)
        wide = MAX_DEVIATIONS * self._overall
        self._overall = max(self._overall + RATE * (min(abs(rest), wide) - self._overall), MIN_SPREAD)
        return distance

    def state(self) -> npt.NDArray[Any]:
        return np.concatenate([self._middles, self._spreads, [self._overall]])

    def load(self, state: npt.NDArray[Any]) -> None:
        self._middles, self._spreads, self._overall = state[:24].copy(), state[24:48].copy(), float(state[48])


class _Pace:
    """How often readings come and change: enough to see that they stopped doing so."""

    def __init__(self) -> None:
        self._last_s = math.nan
        self._last = math.nan
        self._interval_s = 0.0
        self._run, self._longest = 0, 0

    def push(self, at_s: float, value: float) -> None:
        if not math.isnan(self._last_s):
            passed_s = max(at_s - self._last_s, 0.0)
            usual_s = self._interval_s or passed_s
            # a long gap counts as two intervals: it must not teach that gaps are usual
            self._interval_s = usual_s + RATE * (min(passed_s, 2.0 * usual_s) - usual_s)
        if value == self._last:
            self._run += 1
        else:
            self._longest, self._run = max(self._longest, self._run), 1
        self._last_s, self._last = at_s, value

    def fault(self, now_s: float) -> Fault:
        if self._interval_s and now_s - self._last_s > SILENT_TIMES * self._interval_s:
            return "silent"
        return "stuck" if self._run > max(STUCK_READINGS, STUCK_TIMES * self._longest) else ""

    def state(self) -> npt.NDArray[Any]:
        return np.array([self._last_s, self._last, self._interval_s, self._run, self._longest])

    def load(self, state: npt.NDArray[Any]) -> None:
        self._last_s, self._last, self._interval_s = (float(number) for number in state[:3])
        self._run, self._longest = int(state[3]), int(state[4])
