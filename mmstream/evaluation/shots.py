"""Short pieces of one camera's normal recordings, as they are or with one thing edited in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from mmstream.errors import ConfigError
from mmstream.evaluation import inject
from mmstream.evaluation.inject import Blob
from mmstream.evaluation.material import FPS, clip_pictures
from mmstream.types import Float32, UInt8

LONGEST_S = 15.0
LEAD_S = 2.0
"""Of the normal recording before what is edited."""
TAIL_S = 6.0
"""After it, where there is so much: longer than an event is waited for, so that a cut is not taken for one."""
EVENT_S = 4.0
FREEZE_S = 10.0
TAMPER_S = 12.0
SHORTEST_BLOB_S = 2.5
DONOR_TRIES = 40
BLOB_SHARE = (1 / 6, 1 / 15)
"""Height and width of a box around a person, of the picture's."""
JUDGED_SHARE = 3
"""Where clips that are judged must be unseen, every third is kept for judging, and never learned."""
CACHE_BYTES = 2**30
SAMPLE_EVERY = 10
SPLIT_BELOW = 3
"""With fewer clips than this each is cut into pieces."""
LIGHT_SD, LIGHT_KEEP = 0.02, 0.9
"""The light wanders by 2 %, with a memory of some ten shots."""
NOISE_SD, NOISE_SPARE_PX = 1.5, 64
"""Levels of noise that a sensor adds. Without it a clip that comes again is the same to the bit, as nothing before a
camera ever is, and next to an hour of such repetitions everything else is infinitely rare (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """Pictures, and which stretch of them is special: [first, last)."""

    pictures: UInt8
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Piece:
    clip: Path
    first: int
    last: int


class Shots:
    """The camera's clips, to learn and to judge; every draw is random and repeatable, in a light of its own and with
    noise of its own.

    ``unseen``: no clip that is judged is ever learned. Of a few minutes of footage in all, most of what is then
    found unusual is the clip itself.

    Raises:
        ConfigError: the clips are too short to be split.
    """

    def __init__(self, clips: Sequence[Path], random: np.random.Generator, *, unseen: bool = False) -> None:
        self._random = random
        self._light = 1.0
        kept = max(2, CACHE_BYTES // clip_pictures(clips[0]).nbytes)
        self._clip = lru_cache(kept)(clip_pictures)
        pieces = [piece for clip in clips for piece in self._pieces(clip, split=len(clips) < SPLIT_BELOW)]
        pieces = [piece for piece in pieces if piece.last - piece.first >= (LEAD_S + EVENT_S) * FPS]
        if len(pieces) < JUDGED_SHARE:
            raise ConfigError(
                f"the normal clips are too short or too few: want {JUDGED_SHARE} of {LEAD_S + EVENT_S:.0f} s or more"
            )
        self._judged = pieces[JUDGED_SHARE - 1 :: JUDGED_SHARE] if unseen else pieces
        self._learned = [piece for piece in pieces if piece not in self._judged] if unseen else pieces
        sample = np.concatenate([self._clip(piece.clip)[piece.first : piece.last][::SAMPLE_EVERY] for piece in pieces])
        self.empty = inject.empty_scene(sample)
        self._occupied: Float32 = inject.something_there(sample, self.empty).mean(axis=0).astype(np.float32)
        height, width = self.empty.shape[:2]
        self.size_px = (width, height)
        self._box_px = (round(height * BLOB_SHARE[0]), round(width * BLOB_SHARE[1]))
        size = (height + NOISE_SPARE_PX, width + NOISE_SPARE_PX, 1)
        self._noise = np.rint(random.normal(0.0, NOISE_SD, size)).astype(np.int16)

    def normal(self, *, judged: bool) -> Shot:
        """As it is. Its special stretch is where an edit would be."""
        pictures = self._draw(judged=judged)
        spare = len(pictures) - int((LEAD_S + EVENT_S + TAIL_S) * FPS)
        skipped = int(self._random.integers(0, max(1, spare)))
        pictures = pictures[skipped:][: int(LONGEST_S * FPS)]
        first = min(int(LEAD_S * FPS), max(0, len(pictures) - int(EVENT_S * FPS)))
        return _whole_seconds(pictures, first, first + int(EVENT_S * FPS))

    def of_clip(self, clip: Path, first: int, last: int) -> Shot:
        """A clip with something unusual in it, in pictures [first, last)."""
        pictures = self._seen(self._clip(clip))
        from_ = max(0, first - int(LEAD_S * FPS))
        last = min(last, len(pictures), first + int(LONGEST_S * FPS))
        until = min(len(pictures), last + int(TAIL_S * FPS))
        return _whole_seconds(pictures[from_:until], first - from_, last - from_)

    def edited(self, edit: str, magnitude: float) -> Shot:
        """A judged clip with one of `EDITS` in it. Raises KeyError: no such edit."""
        return EDITS[edit](self, magnitude)

    def tempo(self, factor: float) -> Shot:
        """``factor`` times as fast; below 0: backwards."""
        pictures = self._draw(judged=True)
        lead = int(LEAD_S * FPS)
        wanted = min(int(EVENT_S * FPS * abs(factor)), len(pictures) - lead)
        part = pictures[lead : lead + wanted]
        fast = inject.tempo(part, abs(factor)) if factor > 0 else inject.reverse(part)
        return _around(pictures[:lead], fast, pictures[lead + wanted :])

    def freeze(self, seconds: float) -> Shot:
        pictures = self._draw(judged=True)
        at = len(pictures) // 2
        still = np.broadcast_to(pictures[at], (int(seconds * FPS), *pictures.shape[1:]))
        return _around(pictures[:at], still, pictures[at:])

    def tampered(self, edit: Callable[[UInt8, float], UInt8], magnitude: float) -> Shot:
        """The camera covered, blurred or moved for `TAMPER_S`."""
        pictures = self._draw(judged=True)
        lead = int(LEAD_S * FPS)
        last = min(len(pictures), lead + int(TAMPER_S * FPS))
        return _around(pictures[:lead], edit(pictures[lead:last], magnitude), pictures[last:])

    def with_blob(self, *, tempo: float = 1.0, elsewhere: bool = False) -> Shot:
        """Somebody more: as fast as they were or faster, where people walk or where nobody does."""
        blob = self._blob()
        pictures = self._draw(judged=True)
        lead = int(LEAD_S * FPS)
        by_px = inject.rarest_place(blob, self._occupied, random=self._random) if elsewhere else (0, 0)
        faster = blob.faster(tempo)
        last = min(len(pictures), lead + len(faster.corners))
        pasted = inject.transplant(pictures[lead:last], faster, self.empty, by_px=by_px)
        return _around(pictures[:lead], pasted, pictures[last:])

    def _blob(self) -> Blob:
        """The longest path of somebody who walks alone, of some tries."""
        best: Blob | None = None
        for _ in range(DONOR_TRIES):
            pictures = self._draw(judged=True)
            first = int(self._random.integers(0, max(1, len(pictures) - int(EVENT_S * FPS))))
            blob = inject.cut_blob(pictures[first : first + int(EVENT_S * FPS)], self.empty, box_px=self._box_px)
            if blob is not None and (best is None or len(blob.corners) > len(best.corners)):
                best = blob
            if best is not None and len(best.corners) >= SHORTEST_BLOB_S * FPS:
                return best
        if best is None:
            raise ConfigError("nobody walks alone in the normal clips, so nobody can be put elsewhere; add clips")
        return best

    def _draw(self, *, judged: bool) -> UInt8:
        pool = self._judged if judged else self._learned
        return self._of(pool[int(self._random.integers(len(pool)))])

    def _of(self, piece: _Piece) -> UInt8:
        return self._seen(self._clip(piece.clip)[piece.first : piece.last])

    def _seen(self, pictures: UInt8) -> UInt8:
        """As the camera would have seen it this time. Before any edit: a frozen picture has frozen noise, too."""
        self._light += (LIGHT_KEEP - 1.0) * (self._light - 1.0)
        self._light += float(self._random.normal(0.0, LIGHT_SD * np.sqrt(1.0 - LIGHT_KEEP**2)))
        in_light = np.rint(np.arange(256) * self._light).astype(np.int16)
        height, width = pictures.shape[1:3]
        seen = np.empty_like(pictures)
        for number, picture in enumerate(pictures):
            top, left = self._random.integers(0, NOISE_SPARE_PX, 2)
            noisy = in_light[picture] + self._noise[top : top + height, left : left + width]
            seen[number] = np.clip(noisy, 0, 255)
        return seen

    def _pieces(self, clip: Path, *, split: bool) -> list[_Piece]:
        count = len(self._clip(clip))
        parts = max(JUDGED_SHARE, round(count / FPS / LONGEST_S)) if split else 1
        edges = np.linspace(0, count, parts + 1).astype(int).tolist()
        return [_Piece(clip, first, last) for first, last in pairwise(edges)]


EDITS: dict[str, Callable[[Shots, float], Shot]] = {
    "tempo": Shots.tempo,
    "reverse": lambda shots, _: shots.tempo(-1.0),
    "hurrying": lambda shots, factor: shots.with_blob(tempo=factor),
    "elsewhere": lambda shots, _: shots.with_blob(elsewhere=True),
    "walker": lambda shots, _: shots.with_blob(),
    "freeze": Shots.freeze,
    "cover": lambda shots, share: shots.tampered(inject.cover, share),
    "defocus": lambda shots, sigma_px: shots.tampered(inject.defocus, sigma_px),
    "shift": lambda shots, share: shots.tampered(inject.shift, share),
}
"""Kind of edit -> how it is made. ``walker`` is the sham: somebody more, where and as people walk."""


def _around(before: UInt8, special: UInt8, after: UInt8) -> Shot:
    after = after[: int(TAIL_S * FPS)]
    return _whole_seconds(np.concatenate([before, special, after]), len(before), len(before) + len(special))


def _whole_seconds(pictures: UInt8, first: int, last: int) -> Shot:
    """Without the rest of a second at its end: the next shot then begins with a key frame, which has no motion.
    Any other cut moves everything at once, as no camera does, and next to that nothing is rare (measured: carts on
    the walkway were not found; nor were they when shots dissolved into each other)."""
    kept = len(pictures) // FPS * FPS
    return Shot(pictures=pictures[:kept], first=first, last=min(last, kept))
