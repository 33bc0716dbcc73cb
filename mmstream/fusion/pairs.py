"""Pairs of vectors that one feed showed together, what has been learned from them, and whether that is of any use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.fusion.adapters import Adapter, Cosine, fit
from mmstream.fusion.trial import Matcher, Trial, tried
from mmstream.types import Float16, Float32

MAX_ROWS = 768
MAX_BYTES = 150_000
"""For the pairs kept: three kinds of them stay below half a megabyte."""
BETWEEN_S = 2.0
"""Windows overlap: pairs nearer in time than this are the same twice."""
MAX_STRIDE = 64
DULL_EVERY = 8
"""Of moments at which the left side is as usual, one in so many is kept."""
FOLLOW = 1.0 / 300.0
STEP = 0.05

FIRST_FIT = 192
MIN_NEW = 64
MAX_NEW = 4096
"""Pairs until it is learned again: a quarter more than there were, within these bounds."""
HELD_OUT = 0.3

RISK = 0.05
"""Of ever using a pair without any link, however often it is tried; and in each trial of one that is in use."""


class PairModel:
    """What goes together on one feed, of two kinds of vectors (at most 150 KB; 20 ms when it is learned anew).

    Keeps true pairs, thinned out as they become more until they span days. Moments at which nothing goes on are
    thinned more, going by the left side alone: chosen by either side, independent ones would seem linked ("the
    picture is still, so something must have been heard"). Now and then an `Adapter` is learned from the older 70 %
    and tried on the newest 30 %. ``used`` while it beats chance there; the k-th trial of one that is not in use may
    err with probability ``0.05 * 6 / (pi k)^2``, so that all of them together err with 0.05.

    With ``shared`` both vectors are of the same model: nothing is to be learned, all is tried.
    """

    def __init__(self, *, num_left: int, num_right: int, shared: bool = False, thin_dull: bool = True) -> None:
        self.shared = shared
        self._thin_dull = thin_dull
        self.num_left, self.num_right = num_left, num_right
        row_bytes = 2 * (num_left + num_right) + 8
        self._capacity = min(MAX_ROWS, MAX_BYTES // row_bytes)
        self._rows: Float16 = np.zeros((0, num_left + num_right), np.float16)
        self._at_s = np.zeros(0, np.float64)
        self._size = 0
        self._stride = 1
        self._num_seen = self._num_dull = self._num_offered = self._num_trials = 0
        self._fit_at = min(FIRST_FIT, self._capacity // 2)
        self._last_s = -math.inf
        self._usual: Float32 = np.zeros(num_left, np.float32)
        self._usual_distance = 0.0
        self._matcher: Matcher | None = Cosine() if shared else None
        self._middle, self._spread = 0.0, 1.0
        self.trial: Trial | None = None
        self.used = False

    def __len__(self) -> int:
        return self._size

    def mismatch(self, left: Float32, right: Float32) -> float:
        """How badly the pair matches: 0 = as pairs usually do here, 1 = as the worst one in twenty."""
        assert self._matcher is not None
        return (float(self._matcher.mismatches(left[None], right[None])[0, 0]) - self._middle) / self._spread

    def learn(self, left: Float32, right: Float32, at_s: float) -> None:
        """Take in a pair of an ordinary moment; ``at_s`` may only grow."""
        if at_s - self._last_s < BETWEEN_S or self._is_dull(left):
            return
        self._last_s = at_s
        self._num_offered += 1
        if self._num_offered % self._stride == 0:
            self._keep(np.concatenate([left, right]).astype(np.float16), at_s)
        if self._num_offered >= self._fit_at:
            self._fit_at = self._num_offered + min(max(MIN_NEW, self._num_offered // 4), MAX_NEW)
            self._learn_anew()

    def state(self) -> tuple[list[Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays): all that `load` takes back exactly."""
        trial = self.trial
        numbers = [self._stride, self._num_seen, self._num_dull, self._num_offered, self._num_trials, self._fit_at]
        record = [
            numbers,
            [self._last_s if math.isfinite(self._last_s) else None, self._usual_distance, self._middle, self._spread],
            [trial.auc, trial.num_blocks, trial.num_beaten] if trial is not None else None,
            self.used,
        ]
        arrays: dict[str, npt.NDArray[Any]] = {
            "rows": self._rows[: self._size].copy(),
            "at_s": self._at_s[: self._size].copy(),
            "usual": self._usual.copy(),
        }
        if isinstance(self._matcher, Adapter):
            arrays |= {f"adapter.{name}": array for name, array in self._matcher.state().items()}
        return record, arrays

    def load(self, record: list[Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError, TypeError: this is not the state of such a model."""
        numbers, (last_s, usual_distance, middle, spread), trial, used = record
        self._stride, self._num_seen, self._num_dull, self._num_offered, self._num_trials, self._fit_at = numbers
        self._last_s = last_s if last_s is not None else -math.inf
        self._usual_distance, self._middle, self._spread = usual_distance, middle, spread
        self.trial = Trial(auc=trial[0], num_blocks=trial[1], num_beaten=trial[2]) if trial is not None else None
        self._rows, self._at_s = np.array(arrays["rows"], np.float16), np.array(arrays["at_s"], np.float64)
        self._size = len(self._rows)
        self._usual = np.array(arrays["usual"], np.float32)
        adapter = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith("adapter.")}
        if adapter:
            self._matcher = Adapter.from_state(adapter)
        self.used = bool(used) and self._matcher is not None

    def _is_dull(self, left: Float32) -> bool:
        """Whether the left side is nearer to its usual than half the time, and it is not this one's turn."""
        self._num_seen += 1
        distance = float(np.linalg.norm(left - self._usual))
        self._usual += (left - self._usual) * np.float32(max(1.0 / self._num_seen, FOLLOW))
        is_dull = distance <= self._usual_distance
        self._usual_distance += (-STEP if is_dull else STEP) * (self._usual_distance or distance)
        if not (is_dull and self._thin_dull):
            return False
        self._num_dull += 1
        return self._num_dull % DULL_EVERY != 0

    def _keep(self, row: Float16, at_s: float) -> None:
        if self._size == self._capacity and self._stride < MAX_STRIDE:
            self._stride *= 2
            self._size = len(self._rows[1::2])
            self._rows, self._at_s = self._rows[1::2].copy(), self._at_s[1::2].copy()
        elif self._size == self._capacity:
            self._rows[:-1], self._at_s[:-1] = self._rows[1:].copy(), self._at_s[1:].copy()
            self._size -= 1
        if self._size == len(self._rows):
            room = min(max(64, self._size), self._capacity - self._size)
            self._rows = np.concatenate([self._rows, np.zeros((room, len(row)), np.float16)])
            self._at_s = np.concatenate([self._at_s, np.zeros(room)])
        self._rows[self._size], self._at_s[self._size] = row, at_s
        self._size += 1

    def _learn_anew(self) -> None:
        rows, at_s = self._rows[: self._size].astype(np.float32), self._at_s[: self._size]
        left, right = rows[:, : self.num_left], rows[:, self.num_left :]
        cut = 0 if self.shared else self._size - int(HELD_OUT * self._size)
        self._matcher = Cosine() if self.shared else fit(left[:cut], right[:cut], at_s[:cut])
        if self._matcher is None:
            self.trial, self.used = None, False
            return
        left, right = left[cut:], right[cut:]
        self.trial = tried(self._matcher, left, right, at_s[cut:])
        self._num_trials += 1
        self.used = self.trial.beats_chance(RISK if self.used else RISK * 6.0 / (math.pi * self._num_trials) ** 2)
        usual = np.diagonal(self._matcher.mismatches(left, right))
        middle, high = (float(value) for value in np.percentile(usual, (50.0, 95.0)))
        self._middle, self._spread = middle, max(high - middle, 1e-6)
