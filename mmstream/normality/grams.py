"""A language model of what one site says, learned line by line: what follows what, and where new words stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.counts import Counts, Int64, Keys, hashed
from mmstream.normality.lessons import under
from mmstream.types import Float64

EDGE = 0
"""Stands before and after every line."""
LONGEST_RUN = 3
"""Classes 1, 2, 3: a new word, one after a new word, one after two of them or more. Units are numbers above these."""

NUM_UNITS, NUM_GRAMS = 2**15, 2**17
"""Words and neighbourhoods remembered at most: 640 KiB."""
YOUNG = 256
"""Units before neighbourhoods are counted: at first every word is new, and so is every pair."""
GROWN = 2**15
"""Up to here half of all neighbourhoods are forgotten whenever what has been read doubles: in the beginning runs of
new words are ordinary, and must not stay so."""
ESCAPE = 2.0
"""So many other things are taken to have followed every context, before anything is known of it."""
NEW_ELSEWHERE = 0.5
"""Of the words of a line that is not of this site, so many are taken to be new to it."""

_UNIT, _CONTEXT, _PAIR, _TRIPLE, _AFTER, _BEFORE, _AFTER_PAIR, _BEFORE_PAIR = range(8)


class Grams:
    """Evidence, in powers of ten, that a stretch of a line was not said in this site's way.

    Each unit adds ``log10(Q / P)``, and the largest sum over neighbouring units counts (E. S. Page, 1954): an ordinary
    beginning does not make up for a strange end. ``P`` is what this site says, given the units around; ``Q`` what is
    said elsewhere: half of it words that are new here, half known ones without regard to what stands beside them.
    (-log10 P alone calls ordinary speech stranger than gibberish, wherever new words are frequent.)

    ``P`` is a class trigram model with Witten-Bell interpolation (I. H. Witten, T. C. Bell, 1991), asked from the left
    and from the right (the geometric mean): ``P(u | a b) = (n(a b u) + T P(u | b)) / (n(a b) + T)``, where ``T - 2``
    counts what different things have followed ``a b``. Words never read before are one class, so that their rate in
    each place is learned like any word's: after "officer" there often is a new name, after "is" there never was one.
    New words after new words are other classes. A word read n times may also stand for a new one, at 1/n: a name stays
    a name.

    Nothing but hashes is kept, 640 KiB at most and nothing before the first line.
    """

    def __init__(self) -> None:
        self._units, self._grams = Counts(NUM_UNITS), Counts(NUM_GRAMS)
        self._num_read = self._num_kinds = 0
        self._next = YOUNG
        self.num_doubled = 0
        """How often what has been read has doubled, from `YOUNG` on."""

    @property
    def num_known(self) -> int:
        return len(self._units)

    def strangeness(self, lines: Sequence[Int64]) -> list[float]:
        """Of each line (n,), n > 0; 0.0 while nothing is known."""
        if not self._num_read or not lines:
            return [0.0] * len(lines)
        units, sequence, inner = _joined(lines)
        times = self._units.get(hashed(_UNIT, units))
        sequence[inner], as_new = _classes(units, sequence, inner, times)
        total = self._num_read + self._num_kinds + 1.0
        p_new = np.full(len(units), (self._num_kinds + 0.5) / total)
        p_unit = np.where(times > 0, times / total, p_new)
        elsewhere = np.where(times > 0, (1.0 - NEW_ELSEWHERE) * p_unit, 0.0)
        evidence = np.log10(np.maximum(elsewhere, NEW_ELSEWHERE / np.maximum(times, 1)))
        for step in (-1, 1):
            near, far = sequence[inner + step], sequence[inner + 2 * step]
            p_as_new = self._p(as_new, near, far, step, p_new) / np.maximum(times, 1)
            evidence -= 0.5 * np.log10(np.maximum(self._p(sequence[inner], near, far, step, p_unit), p_as_new))
        ends = np.cumsum([len(line) for line in lines])
        return [_largest_sum(part.tolist()) for part in np.split(evidence, ends[:-1])]

    def learn(self, lines: Sequence[Int64]) -> None:
        """Take in lines (n,), n > 0."""
        if not lines:
            return
        units, sequence, inner = _joined(lines)
        keys = hashed(_UNIT, units)
        times = self._units.get(keys)
        if self._num_read >= YOUNG:
            sequence[inner], _ = _classes(units, sequence, inner, times)
            self._learn_neighbours(sequence)
        self._units.add(keys)
        self._num_kinds += len(np.unique(units[times == 0]))
        self._num_read += len(units)
        self._age()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        numbers = np.array([self._num_read, self._num_kinds, self._next, self.num_doubled], np.int64)
        units = {f"units.{name}": array for name, array in self._units.state().items()}
        grams = {f"grams.{name}": array for name, array in self._grams.state().items()}
        return {"numbers": numbers, **units, **grams}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of grams."""
        self._num_read, self._num_kinds, self._next, self.num_doubled = state["numbers"].tolist()
        self._units.load(under(state, "units."))
        self._grams.load(under(state, "grams."))

    def _p(self, here: Int64, near: Int64, far: Int64, step: int, p_alone: Float64) -> Float64:
        """P(here | its two neighbours on one side); ``step`` -1: on the left, 1: on the right."""
        backwards = step > 0
        pair = hashed(_PAIR, here, near) if backwards else hashed(_PAIR, near, here)
        triple = hashed(_TRIPLE, here, near, far) if backwards else hashed(_TRIPLE, far, near, here)
        context = hashed(_PAIR, near, far) if backwards else hashed(_PAIR, far, near)
        others = hashed(_BEFORE, near) if backwards else hashed(_AFTER, near)
        others_of_pair = hashed(_BEFORE_PAIR, near, far) if backwards else hashed(_AFTER_PAIR, far, near)
        count_near, count_pair, num_near = self._counts(hashed(_CONTEXT, near), pair, others)
        p_near = (count_pair + (num_near + ESCAPE) * p_alone) / (count_near + num_near + ESCAPE)
        count_far, count_triple, num_far = self._counts(context, triple, others_of_pair)
        p: Float64 = (count_triple + (num_far + ESCAPE) * p_near) / (count_far + num_far + ESCAPE)
        return p

    def _counts(self, context: Keys, joined: Keys, others: Keys) -> Float64:
        """(3, n): how often the context came, how often with what is asked for, with how many different things.

        Tables forget, each thing by itself: nothing came more often with something than it came at all."""
        came, together, different = self._grams.get(np.concatenate([context, joined, others])).reshape(3, -1)
        return np.stack([np.maximum(came, together), together, different]).astype(np.float64)

    def _learn_neighbours(self, sequence: Int64) -> None:
        pairs = sequence[:-1], sequence[1:]
        triples = sequence[:-2], sequence[1:-1], sequence[2:]
        pair_keys, triple_keys = hashed(_PAIR, *pairs), hashed(_TRIPLE, *triples)
        first, first_of_three = self._come_first(pair_keys), self._come_first(triple_keys)
        came = [
            hashed(_CONTEXT, sequence),
            pair_keys,
            triple_keys,
            hashed(_AFTER, pairs[0][first]),
            hashed(_BEFORE, pairs[1][first]),
            hashed(_AFTER_PAIR, triples[0][first_of_three], triples[1][first_of_three]),
            hashed(_BEFORE_PAIR, triples[1][first_of_three], triples[2][first_of_three]),
        ]
        self._grams.add(np.concatenate(came))

    def _come_first(self, keys: Keys) -> npt.NDArray[np.intp]:
        """Which of them have never come before, nor earlier among these."""
        where = np.unique(keys, return_index=True)[1]
        first: npt.NDArray[np.intp] = where[self._grams.get(keys[where]) == 0]
        return first

    def _age(self) -> None:
        while self._num_read >= self._next:
            if YOUNG < self._next <= GROWN:
                self._grams.halve()
            self._next *= 2
            self.num_doubled += 1
        if self._grams.is_full:
            self._grams.halve()
        if self._units.is_full:
            self._units.halve()
            self._num_read //= 2
            self._num_kinds = len(self._units)


def _largest_sum(evidence: Sequence[float]) -> float:
    """Over units that stand beside each other; 0.0 when none speaks against the site.

    >>> _largest_sum([-3.0, 1.0, -0.5, 2.0, -1.0])
    2.5
    """
    largest = running = 0.0
    for unit in evidence:
        running = max(0.0, running + unit)
        largest = max(largest, running)
    return largest


def _joined(lines: Sequence[Int64]) -> tuple[Int64, Int64, npt.NDArray[np.intp]]:
    """-> (all units, the lines one after another with two edges around each, where the units are in there)."""
    units = np.concatenate(lines)
    number = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    inner = np.arange(len(units)) + 2 * (number + 1)
    sequence = np.full(len(units) + 2 * (len(lines) + 1), EDGE, np.int64)
    sequence[inner] = units
    return units, sequence, inner


def _classes(units: Int64, sequence: Int64, inner: npt.NDArray[np.intp], times: Int64) -> tuple[Int64, Int64]:
    """-> (each unit's class: itself, or which new word in a row it is; which it would be if it were new)."""
    before = 0
    as_new = []
    for edge, known in zip((sequence[inner - 1] == EDGE).tolist(), (times > 0).tolist(), strict=True):
        run = min(0 if edge else before, LONGEST_RUN - 1) + 1
        as_new.append(run)
        before = 0 if known else run
    rank = np.array(as_new, np.int64)
    classes: Int64 = np.where(times > 0, units, rank)
    return classes, rank
