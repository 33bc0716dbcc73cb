"""How rare a score is for this hour of the day (UTC): a busy noon and a still night have each their own measure.

After two weeks also for the kind of day: a busy noon on a Sunday may be rare where on a Monday it is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmstream.normality.reference import Reference
from mmstream.types import Float32, Float64, UInt8

KAPPA = 600.0
"""What is known of an hour counts half once so many windows of it have been seen."""

CAPACITY, THIN = 6144, 16
"""Scores kept per channel: the last 27 hours at one window per second."""

HOUR_CAPACITY, HOUR_THIN = 256, 64
"""The same per hour of weekdays and of weekends: of the last four or five such days."""

DAY_S = 86_400.0
NUM_HOURS = 48
"""24 of weekdays, 24 of weekends."""
APART_AFTER_S = 14 * DAY_S
"""Two weekends: before that one unusual Sunday would be taken for what Sundays are like."""

MAX_WINDOWS = 14 * 3600
MIN_WINDOWS = 60
"""A visit to an hour shorter than this says nothing about it."""

SAMPLE_EVERY = 8
MAX_SAMPLES = 512
MAX_STRETCH = 10.0


class Ranks(Protocol):
    """The scores of one channel, and how rare a new one is at its time of day."""

    def __len__(self) -> int: ...

    def p(self, score: float, at_s: float) -> float: ...

    def add(self, score: float, at_s: float) -> None: ...

    def insert(self, score: float, at_s: float) -> None:
        """Take in a score that must count, however many are left out."""
        ...

    def replace(self, scores: Float32, at_s: float) -> None: ...

    def keep_newest(self, count: int) -> None: ...

    def translate(self, offset: float, factor: float) -> None: ...

    def state(self) -> dict[str, npt.NDArray[Any]]: ...

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None: ...


class _Calendar:
    """How long a feed has been known: from when on weekdays and weekends are told apart."""

    def __init__(self) -> None:
        self._since_s, self._newest_s = math.inf, -math.inf

    @property
    def tells_apart(self) -> bool:
        return self._newest_s - self._since_s >= APART_AFTER_S

    def see(self, at_s: float) -> None:
        self._since_s, self._newest_s = min(self._since_s, at_s), max(self._newest_s, at_s)

    def state(self) -> npt.NDArray[np.float64]:
        return np.array([self._since_s, self._newest_s])

    def load(self, state: npt.NDArray[Any]) -> None:
        """Raises ValueError: it is not what `state` gave."""
        self._since_s, self._newest_s = (float(at_s) for at_s in state)


class HourScaled:
    """One `Reference` of scores, each seen from its hour: ``x' = m + (x - m_h) s / s_h`` with the hour's median
    ``m_h`` and spread ``s_h`` (95 % quantile minus median), both drawn towards those of all hours, ``m`` and ``s``:
    ``m_h <- (n_h m_h + 600 m) / (n_h + 600)``. Neutral while one hour is known. After two weeks the hours of weekdays
    and of weekends have each their own, drawn in the same way towards that of the hour on any day.

    The table changes when an hour ends; everything that is kept is then seen anew, so that ranks are always
    among scores of one measure. A score is never stretched more than 10 times: nothing moves at night.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(NUM_HOURS, np.float64)
        self._middles = np.zeros(NUM_HOURS, np.float64)
        self._spreads = np.zeros(NUM_HOURS, np.float64)
        self._calendar = _Calendar()
        self._samples = np.zeros(MAX_SAMPLES, np.float32)
        self._visit = -1
        self._num_seen = 0
        self._offsets, self._factors = np.zeros(NUM_HOURS, np.float32), np.ones(NUM_HOURS, np.float32)
        self._reference = Reference(capacity=CAPACITY, thin=THIN, gradual=True, express=self._express)

    def __len__(self) -> int:
        return len(self._reference)

    def p(self, score: float, at_s: float) -> float:
        hour = hour_of_week(at_s)
        return self._reference.p(float(self._offsets[hour] + self._factors[hour] * np.float32(score)))

    def add(self, score: float, at_s: float) -> None:
        self._calendar.see(at_s)
        visit = int(at_s // 3600.0)
        if visit != self._visit:
            self._end_visit()
            self._visit, self._num_seen = visit, 0
        number = self._num_seen // SAMPLE_EVERY
        if self._num_seen % SAMPLE_EVERY == 0 and number < MAX_SAMPLES:
            self._samples[number] = score
        self._num_seen += 1
        self._reference.add(score, hour_of_week(at_s))

    def insert(self, score: float, at_s: float) -> None:
        self._reference.insert(score, hour_of_week(at_s))

    def replace(self, scores: Float32, at_s: float) -> None:
        self._reference.replace(scores, hour_of_week(at_s))

    def keep_newest(self, count: int) -> None:
        self._reference.keep_newest(count)

    def translate(self, offset: float, factor: float) -> None:
        self._samples = (offset + factor * self._samples).astype(np.float32)
        self._middles = offset + factor * self._middles
        self._spreads = factor * self._spreads
        self._measure()
        self._reference.translate(offset, factor)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        table = np.stack([self._counts, self._middles, self._spreads])
        visit = np.array([self._visit, self._num_seen], np.int64)
        state: dict[str, npt.NDArray[Any]] = {"hours": table, "visit": visit, "samples": self._samples.copy()}
        return state | {"calendar": self._calendar.state()} | self._reference.state()

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        table = np.array(state["hours"], np.float64).reshape(3, -1)
        # of 24 hours: from before the kinds of day were told apart
        self._counts, self._middles, self._spreads = np.pad(table, ((0, 0), (0, NUM_HOURS - table.shape[1])))
        if "calendar" in state:
            self._calendar.load(state["calendar"])
        self._visit, self._num_seen = (int(number) for number in state["visit"])
        self._samples[:] = state["samples"]
        self._measure()
        self._reference.load(state)

    def _express(self, scores: Float32, hours: UInt8) -> Float32:
        expressed: Float32 = self._offsets[hours] + self._factors[hours] * scores
        return expressed

    def _end_visit(self) -> None:
        if self._num_seen < MIN_WINDOWS:
            return
        samples = self._samples[: min(-(-self._num_seen // SAMPLE_EVERY), MAX_SAMPLES)]
        middle, high = (float(value) for value in np.percentile(samples, (50.0, 95.0)))
        hour = hour_of_week(self._visit * 3600.0)
        known = self._counts[hour]
        share = self._num_seen / (known + self._num_seen)
        self._middles[hour] += share * (middle - self._middles[hour])
        self._spreads[hour] += share * (high - middle - self._spreads[hour])
        self._counts[hour] = min(known + self._num_seen, MAX_WINDOWS)
        self._measure()
        self._reference.refresh()

    def _measure(self) -> None:
        """``x' = offset + factor * x`` for each hour."""
        by_kind = self._counts.reshape(2, 24)
        counts = by_kind.sum(axis=0)
        if np.count_nonzero(counts) < 2:
            return
        middles, middle = self._drawn(self._middles.reshape(2, 24), by_kind)
        spreads, spread = self._drawn(self._spreads.reshape(2, 24), by_kind)
        factors = spread / np.maximum(spreads, spread / MAX_STRETCH) if spread > 0.0 else np.ones(NUM_HOURS)
        self._offsets = (middle - factors * middles).astype(np.float32)
        self._factors = factors.astype(np.float32)

    def _drawn(self, values: Float64, by_kind: Float64) -> tuple[Float64, float]:
        """(2, 24) of each hour by kind of day -> (48,), drawn towards those of more windows; that of all hours."""
        counts = by_kind.sum(axis=0)
        of_hour = (by_kind * values).sum(axis=0) / np.maximum(counts, 1.0)
        of_all = float(np.average(of_hour, weights=counts))
        of_hour = (counts * of_hour + KAPPA * of_all) / (counts + KAPPA)
        if not self._calendar.tells_apart:
            return np.tile(of_hour, 2), of_all
        drawn: Float64 = (by_kind * values + KAPPA * of_hour) / (by_kind + KAPPA)
        return drawn.ravel(), of_all


class HourRanked:
    """A `Reference` per hour of the day and one of all: ``p = (n_h p_h + 600 p_all) / (n_h + 600)``.

    For what an hour is about (activity): what is usual at noon is rare at 3 a.m. After two weeks ``p_h`` in turn draws
    near it that of the hour on this kind of day: ``(n_d p_d + 600 p_h) / (n_d + 600)``.
    """

    def __init__(self) -> None:
        self._all = Reference(capacity=CAPACITY, thin=THIN, gradual=True)
        self._hours: dict[int, Reference] = {}
        self._counts = np.zeros(NUM_HOURS, np.float64)
        self._calendar = _Calendar()

    def __len__(self) -> int:
        return len(self._all)

    def p(self, score: float, at_s: float) -> float:
        today = hour_of_week(at_s)
        counts = {hour: float(self._counts[hour]) for hour in (today % 24, today % 24 + 24) if self._counts[hour]}
        if not counts:
            return self._all.p(score)
        of_kind = {hour: self._hours[hour].p(score) for hour in counts}
        of_hour = math.fsum(counts[hour] * of_kind[hour] for hour in counts)
        p = (of_hour + KAPPA * self._all.p(score)) / (math.fsum(counts.values()) + KAPPA)
        if not self._calendar.tells_apart or today not in counts:
            return p
        return (counts[today] * of_kind[today] + KAPPA * p) / (counts[today] + KAPPA)

    def add(self, score: float, at_s: float) -> None:
        self._calendar.see(at_s)
        hour = hour_of_week(at_s)
        self._counts[hour] = min(self._counts[hour] + 1.0, MAX_WINDOWS)
        self._of(hour).add(score)
        self._all.add(score)

    def insert(self, score: float, at_s: float) -> None:
        hour = hour_of_week(at_s)
        self._counts[hour] += 1.0
        self._of(hour).insert(score)
        self._all.insert(score)

    def replace(self, scores: Float32, at_s: float) -> None:
        del at_s  # scores of many hours say nothing about one
        self._start_hours()
        self._all.replace(scores)

    def keep_newest(self, count: int) -> None:
        self._start_hours()
        self._all.keep_newest(count)

    def translate(self, offset: float, factor: float) -> None:
        for reference in (self._all, *self._hours.values()):
            reference.translate(offset, factor)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        state: dict[str, npt.NDArray[Any]] = {"counts": self._counts.copy(), "calendar": self._calendar.state()}
        for name, reference in (("all", self._all), *((str(hour), r) for hour, r in self._hours.items())):
            state |= {f"{name}.{key}": array for key, array in reference.state().items()}
        return state

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        counts = np.array(state["counts"], np.float64)
        self._counts = np.pad(counts, (0, NUM_HOURS - len(counts)))
        if "calendar" in state:
            self._calendar.load(state["calendar"])
        self._hours.clear()
        for name in {key.partition(".")[0] for key in state if "." in key}:
            kept = {key.partition(".")[2]: array for key, array in state.items() if key.startswith(f"{name}.")}
            (self._all if name == "all" else self._of(int(name))).load(kept)

    def _start_hours(self) -> None:
        self._hours.clear()
        self._counts[:] = 0.0

    def _of(self, hour: int) -> Reference:
        if hour not in self._hours:
            self._hours[hour] = Reference(capacity=HOUR_CAPACITY, thin=HOUR_THIN, gradual=True)
        return self._hours[hour]


def hour_of_week(at_s: float) -> int:
    """0..23 on weekdays, 24..47 on weekends, UTC: where that is far from the clock on the wall, a weekend's first and
    last hours are counted as those of weekdays.

    >>> hour_of_week(1_700_000_000.0), hour_of_week(1_700_000_000.0 + 4 * DAY_S)  # a Tuesday and a Saturday
    (22, 46)
    """
    is_weekend = (int(at_s // DAY_S) + 3) % 7 >= 5  # second 0 was a Thursday
    return int(at_s // 3600.0) % 24 + 24 * is_weekend
