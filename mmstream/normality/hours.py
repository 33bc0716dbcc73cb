"""How rare a score is for this hour of the day (UTC): a busy noon and a still night have each their own measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmstream.normality.reference import Reference
from mmstream.types import Float32, UInt8

KAPPA = 600.0
"""What is known of an hour counts half once so many windows of it have been seen."""

CAPACITY, THIN = 6144, 16
"""Scores kept per channel: the last 27 hours at one window per second."""

HOUR_CAPACITY, HOUR_THIN = 512, 64
"""The same per hour of the day: the last nine days."""

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


class HourScaled:
    """One `Reference` of scores, each seen from its hour: ``x' = m + (x - m_h) s / s_h`` with the hour's median
    ``m_h`` and spread ``s_h`` (95 % quantile minus median), both drawn towards those of all hours, ``m`` and ``s``:
    ``m_h <- (n_h m_h + 600 m) / (n_h + 600)``. Neutral while one hour is known.

    The table changes when an hour ends; everything that is kept is then seen anew, so that ranks are always
    among scores of one measure. A score is never stretched more than 10 times: nothing moves at night.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(24, np.float64)
        self._middles = np.zeros(24, np.float64)
        self._spreads = np.zeros(24, np.float64)
        self._samples = np.zeros(MAX_SAMPLES, np.float32)
        self._visit = -1
        self._num_seen = 0
        self._offsets, self._factors = np.zeros(24, np.float32), np.ones(24, np.float32)
        self._reference = Reference(capacity=CAPACITY, thin=THIN, gradual=True, express=self._express)

    def __len__(self) -> int:
        return len(self._reference)

    def p(self, score: float, at_s: float) -> float:
        hour = hour_of(at_s)
        return self._reference.p(float(self._offsets[hour] + self._factors[hour] * np.float32(score)))

    def add(self, score: float, at_s: float) -> None:
        visit = int(at_s // 3600.0)
        if visit != self._visit:
            self._end_visit()
            self._visit, self._num_seen = visit, 0
        number = self._num_seen // SAMPLE_EVERY
        if self._num_seen % SAMPLE_EVERY == 0 and number < MAX_SAMPLES:
            self._samples[number] = score
        self._num_seen += 1
        self._reference.add(score, hour_of(at_s))

    def insert(self, score: float, at_s: float) -> None:
        self._reference.insert(score, hour_of(at_s))

    def replace(self, scores: Float32, at_s: float) -> None:
        self._reference.replace(scores, hour_of(at_s))

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
        return state | self._reference.state()

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._counts, self._middles, self._spreads = np.array(state["hours"], np.float64).reshape(3, 24)
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
        hour = self._visit % 24
        known = self._counts[hour]
        share = self._num_seen / (known + self._num_seen)
        self._middles[hour] += share * (middle - self._middles[hour])
        self._spreads[hour] += share * (high - middle - self._spreads[hour])
        self._counts[hour] = min(known + self._num_seen, MAX_WINDOWS)
        self._measure()
        self._reference.refresh()

    def _measure(self) -> None:
        """``x' = offset + factor * x`` for each hour."""
        counts = self._counts
        if np.count_nonzero(counts) < 2:
            return
        middle = float(np.average(self._middles, weights=counts))
        spread = float(np.average(self._spreads, weights=counts))
        middles = (counts * self._middles + KAPPA * middle) / (counts + KAPPA)
        spreads = (counts * self._spreads + KAPPA * spread) / (counts + KAPPA)
        factors = spread / np.maximum(spreads, spread / MAX_STRETCH) if spread > 0.0 else np.ones(24)
        self._offsets = (middle - factors * middles).astype(np.float32)
        self._factors = factors.astype(np.float32)


class HourRanked:
    """A `Reference` per hour of the day and one of all: ``p = (n_h p_h + 600 p_all) / (n_h + 600)``.

    For what an hour is about (activity): what is usual at noon is rare at 3 a.m.
    """

    def __init__(self) -> None:
        self._all = Reference(capacity=CAPACITY, thin=THIN, gradual=True)
        self._hours: dict[int, Reference] = {}
        self._counts = np.zeros(24, np.float64)

    def __len__(self) -> int:
        return len(self._all)

    def p(self, score: float, at_s: float) -> float:
        hour = hour_of(at_s)
        count = float(self._counts[hour])
        if not count:
            return self._all.p(score)
        return (count * self._hours[hour].p(score) + KAPPA * self._all.p(score)) / (count + KAPPA)

    def add(self, score: float, at_s: float) -> None:
        hour = hour_of(at_s)
        self._counts[hour] = min(self._counts[hour] + 1.0, MAX_WINDOWS)
        self._of(hour).add(score)
        self._all.add(score)

    def insert(self, score: float, at_s: float) -> None:
        hour = hour_of(at_s)
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
        state: dict[str, npt.NDArray[Any]] = {"counts": self._counts.copy()}
        for name, reference in (("all", self._all), *((str(hour), r) for hour, r in self._hours.items())):
            state |= {f"{name}.{key}": array for key, array in reference.state().items()}
        return state

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._counts = np.array(state["counts"], np.float64).reshape(24)
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


def hour_of(at_s: float) -> int:
    """0..23, UTC.

    >>> hour_of(1_700_000_000.0)
    22
    """
    return int(at_s // 3600.0) % 24
