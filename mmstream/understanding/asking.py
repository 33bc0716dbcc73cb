"""Which moments of a feed are worth asking a model about: sound while something is unusual or somebody speaks, and two
or three pictures of what is unusual. Plain objects: they read no clock and ask nobody.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mmstream.understanding.ondemand import Attention

BEFORE_S = 5.0
"""Of sound, before an unusual window: what led up to it."""
AFTER_S = 3.0
BEFORE_SPOKEN_S = 1.0
AFTER_SPOKEN_S = 4.0
"""Longer than fusion takes to say that a window is unusual: the stretch is then asked about as such."""
STRETCH_S = 15.0
"""Sound is asked about in pieces of at most this: an alert's words shall not wait for its end."""
LEAST_S = 1.0
MAX_GROWING = 16
"""Stretches of one feed that wait to be complete and fetched; beyond that the least unusual is dropped and counted."""
MAX_ASKED = 32
"""So many stretches back it is remembered what was asked: more than the packet ring holds."""

EPISODE_GAP_S = 30.0
CAPTIONS_PER_EPISODE = 3
CAPTION_EVERY_S = 5.0
CLEARLY_MORE = 0.5
"""A later picture of an episode is worth it when the surprise (log10) has grown by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A piece of a feed's sound that somebody should write down."""

    start_s: float
    end_s: float
    surprise: float
    unusual: bool
    """False: somebody speaks, and that is all."""


class Listening:
    """Windows that are unusual, or in which somebody speaks -> stretches of sound, no second in two of them.

    While an episode lasts its windows are joined, and given out in pieces of `STRETCH_S`. What is unusual becomes known
    some seconds later than what is spoken, so they come out of order.

    >>> listening = Listening()
    >>> for at_s in (100.0, 101.0):
    ...     listening.unusual(at_s, at_s + 2.0, surprise=3.0)
    >>> listening.ripe(105.0), [(stretch.start_s, stretch.end_s) for stretch in listening.ripe(106.0)]
    ([], [(95.0, 106.0)])
    """

    def __init__(self) -> None:
        self.num_dropped = 0
        self._growing: list[Stretch] = []
        """Apart from each other and from what was asked."""
        self._asked: deque[tuple[float, float]] = deque(maxlen=MAX_ASKED)

    def unusual(self, start_s: float, end_s: float, *, surprise: float) -> None:
        self._note(Stretch(start_s=start_s - BEFORE_S, end_s=end_s + AFTER_S, surprise=surprise, unusual=True))

    def spoken(self, start_s: float, end_s: float) -> None:
        self._note(
            Stretch(start_s=start_s - BEFORE_SPOKEN_S, end_s=end_s + AFTER_SPOKEN_S, surprise=0.0, unusual=False)
        )

    def ripe(self, heard_until_s: float) -> list[Stretch]:
        """The stretches whose sound has all come, and full pieces of those that go on; each is given once."""
        ripe, growing = [], []
        for stretch in sorted(self._growing, key=lambda stretch: stretch.start_s):
            start_s = stretch.start_s
            while (end_s := min(stretch.end_s, start_s + STRETCH_S)) <= heard_until_s and start_s < end_s:
                ripe.append(_cut(stretch, start_s, end_s))
                self._asked.append((start_s, end_s))
                start_s = end_s
            if start_s < stretch.end_s:
                growing.append(_cut(stretch, start_s, stretch.end_s))
        self._growing = growing
        return ripe

    def _note(self, wanted: Stretch) -> None:
        pieces = [wanted]
        for asked in self._asked:
            pieces = [rest for piece in pieces for rest in _without(piece, asked)]
        for piece in pieces:
            touching = [s for s in self._growing if s.start_s <= piece.end_s and s.end_s >= piece.start_s]
            self._growing = [stretch for stretch in self._growing if stretch not in touching]
            self._growing.append(_union([piece, *touching]))
        if len(self._growing) > MAX_GROWING:
            self._growing.remove(min(self._growing, key=lambda stretch: (stretch.unusual, stretch.surprise)))
            self.num_dropped += 1


def _cut(stretch: Stretch, start_s: float, end_s: float) -> Stretch:
    return Stretch(start_s=start_s, end_s=end_s, surprise=stretch.surprise, unusual=stretch.unusual)


def _without(stretch: Stretch, asked: tuple[float, float]) -> list[Stretch]:
    """What is left of it, in pieces that are worth a question."""
    left, right = min(stretch.end_s, asked[0]), max(stretch.start_s, asked[1])
    pieces = [(stretch.start_s, left), (right, stretch.end_s)] if left < right else [(stretch.start_s, stretch.end_s)]
    return [_cut(stretch, start_s, end_s) for start_s, end_s in pieces if end_s - start_s >= LEAST_S]


def _union(stretches: list[Stretch]) -> Stretch:
    return Stretch(
        start_s=min(stretch.start_s for stretch in stretches),
        end_s=max(stretch.end_s for stretch in stretches),
        surprise=max(stretch.surprise for stretch in stretches),
        unusual=any(stretch.unusual for stretch in stretches),
    )


class Looking:
    """Unusual windows -> those to be described in words: the first of an episode, and when it clearly grows."""

    def __init__(self) -> None:
        self._seen_s = float("-inf")
        self._asked_s = float("-inf")
        self._told = 0.0
        self._num_asked = 0

    def worth_it(self, window: Attention) -> bool:
        """Whether to ask about this window; it then counts as asked."""
        if not 0.0 <= window.start_s - self._seen_s < EPISODE_GAP_S:
            self._num_asked = 0
        self._seen_s = window.start_s
        grown = window.surprise >= self._told + CLEARLY_MORE and window.start_s - self._asked_s >= CAPTION_EVERY_S
        if self._num_asked and (self._num_asked >= CAPTIONS_PER_EPISODE or not grown):
            return False
        self._asked_s, self._told = window.start_s, window.surprise
        self._num_asked += 1
        return True
