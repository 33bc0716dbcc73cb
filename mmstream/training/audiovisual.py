"""Rendered scenes with picture and sound: events show in one of them, in both, or only in their disagreement.

A street seen by many cameras: things of known kinds cross it, look like their kind and sound like their kind, louder
the nearer they are. What is learned on some cameras is asked about others, so that no wall and no noise floor helps.
In a disagreement what is seen and what is heard are of two kinds, each as frequent there as anywhere: a single
modality cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32, Float64

SIDE_PX = 24
CELLS = 12
"""Pictures are given in CELLS x CELLS means: against the camera's own background, and what changed: 288 numbers."""
BANDS = 32
NUM_WINDOWS = 8
EVENTS = ("picture", "sound", "both", "disagreement")
HURRY = 2.5
"""A picture event moves so many times faster than it should."""
MAX_AT_ONCE = 1000
"""Stretches rendered together: about 150 MB."""
NOISE = 10.0
"""Of a pixel, levels."""

_HEIGHTS_PX = np.array([4, 3, 3, 4, 6])
_WIDTHS_PX = np.array([2, 3, 6, 8, 10])
_CONTRASTS = np.array([70.0, 70.0, 90.0, 60.0, 60.0])
_MIDDLE_BANDS = np.array([21, 17, 9, 5, 2])
"""Of persons, cyclists, cars, vans and buses: how they look, and the middle of what they sound like."""

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretches:
    """N stretches of T windows each, ready to be learned from."""

    vectors: Mapping[str, Float32]
    """Modality -> (N, T, D)."""
    present: npt.NDArray[np.bool_]
    """(N, T, M), modalities in the order of ``vectors``."""
    labels: Float32
    """(N, T): 1 where something happens."""
    classes: Int64
    """(N, T): number of the event in `EVENTS` + 1, 0 for nothing, -1 unknown."""

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Stretches:
        return Stretches(
            vectors={name: rows_of[rows] for name, rows_of in self.vectors.items()},
            present=self.present[rows],
            labels=self.labels[rows],
            classes=self.classes[rows],
        )

    def only(self, *modalities: str) -> Stretches:
        """With these modalities, the others absent: the control that fusion has to beat."""
        keep = np.array([name in modalities for name in self.vectors])
        return Stretches(vectors=self.vectors, present=self.present & keep, labels=self.labels, classes=self.classes)


def rendered_stretches(
    count: int, *, cameras: Sequence[int], seed: int, event_share: float = 0.5, missing_share: float = 0.1
) -> Stretches:
    """Stretches from these cameras (any numbers; a number is a layout). In ``event_share`` of them something happens
    for two to four windows; in ``missing_share`` one of the two modalities is absent.

    >>> rendered_stretches(3, cameras=[1], seed=0).vectors["picture"].shape
    (3, 8, 288)
    """
    random = np.random.default_rng([seed, count])
    classes = _classes(count, event_share, random)
    places = _Places(np.asarray(cameras)[random.integers(len(cameras), size=count)])
    script = _Script(classes, random)
    chunks = [slice(first, first + MAX_AT_ONCE) for first in range(0, count, MAX_AT_ONCE)]
    pictures = np.concatenate([places.pictures(script, rows, random) for rows in chunks])
    present = np.ones((count, NUM_WINDOWS, 2), np.bool_)
    lost = np.flatnonzero(random.random(count) < missing_share)
    present[lost, :, random.integers(2, size=lost.size)] = False
    return Stretches(
        vectors={"picture": pictures, "sound": places.sounds(script, random)},
        present=present,
        labels=(classes > 0).astype(np.float32),
        classes=classes,
    )


def _classes(count: int, event_share: float, random: np.random.Generator) -> Int64:
    """(N, T); every place in a stretch is as likely as any other."""
    length = random.integers(2, 5, count)
    first = 1 - length + (random.random(count) * (NUM_WINDOWS + length - 1)).astype(np.int64)
    at = np.arange(NUM_WINDOWS)
    going_on = (at >= first[:, None]) & (at < (first + length)[:, None])
    happens = random.random(count) < event_share
    return np.where(going_on & happens[:, None], 1 + random.integers(len(EVENTS), size=(count, 1)), 0)


class _Script:
    """What happens in each window, (N, T) each. Kinds change from window to window: one that changes in one modality
    alone tells nothing."""

    def __init__(self, classes: Int64, random: np.random.Generator) -> None:
        shape, num_kinds = classes.shape, len(_WIDTHS_PX)
        event = np.where(classes > 0, np.array(["", *EVENTS])[classes], "")
        self.seen = random.integers(num_kinds, size=shape)
        other = (self.seen + random.integers(1, num_kinds, size=shape)) % num_kinds
        self.heard = np.where(event == "disagreement", other, self.seen)
        self.shrieks = np.isin(event, ("sound", "both"))
        speed_px = random.uniform(0.5, 1.2, (shape[0], 1)) * random.choice([-1.0, 1.0], (shape[0], 1))
        self.steps_px = speed_px * np.where(np.isin(event, ("picture", "both")), HURRY, 1.0)
        travelled = np.cumsum(self.steps_px, axis=1) - self.steps_px
        self.at_px = random.uniform(0, SIDE_PX, (shape[0], 1)) + travelled


class _Places:
    """What N cameras, one per stretch, see and hear."""

    def __init__(self, numbers: npt.NDArray[np.int64]) -> None:
        self._rows_px, self._gains, self._floors = np.zeros(len(numbers), np.int64), np.zeros(len(numbers)), []
        for row, number in enumerate(numbers):
            random = np.random.default_rng([int(number), 77])
            self._rows_px[row], self._gains[row] = random.integers(8, 15), random.uniform(0.7, 1.3)
            self._floors.append(random.normal(-3.0, 0.5, BANDS))

    def pictures(self, script: _Script, rows: slice, random: np.random.Generator) -> Float32:
        """(n, T, 2 * CELLS * CELLS): the second of two frames less the background, and how much it differs from the
        first."""
        contrasts = _CONTRASTS[script.seen[rows]] * random.uniform(0.75, 1.25, script.seen[rows].shape)
        frames = []
        for at_px in (script.at_px[rows], script.at_px[rows] + script.steps_px[rows]):
            inside = self._inside(script.seen[rows], at_px, self._rows_px[rows])
            noise = random.standard_normal(inside.shape, dtype=np.float32) * NOISE
            frames.append(inside * contrasts[..., None, None] + noise)
        after, apart = frames[1], np.abs(frames[1] - frames[0])
        return np.concatenate([_cells(after) / 32.0, _cells(apart) / 32.0], axis=2).astype(np.float32)

    def sounds(self, script: _Script, random: np.random.Generator) -> Float32:
        """(N, T, BANDS) log energy: what its kind sounds like, nearer is louder; a shriek is high and loud."""
        bands = np.arange(BANDS)
        nearness = np.exp(-(((script.at_px % SIDE_PX) - SIDE_PX / 2) ** 2) / (2 * 9.0**2))
        loud = 4.0 * self._gains[:, None] * nearness
        shape = np.exp(-((bands - _MIDDLE_BANDS[script.heard][..., None]) ** 2) / (2 * 2.5**2))
        heard = np.stack(self._floors)[:, None] + loud[..., None] * shape
        pitch = random.uniform(24, 29, script.heard.shape)[..., None]
        shriek = random.uniform(-2.0, 0.0, script.heard.shape)[..., None] - (bands - pitch) ** 2 / 20
        heard = np.where(script.shrieks[..., None], np.logaddexp(heard, shriek), heard)
        return np.asarray(heard + random.normal(0.0, 0.6, heard.shape), np.float32)

    def _inside(self, kinds: Int64, at_px: Float64, rows_px: Int64) -> npt.NDArray[np.bool_]:
        """(n, T, SIDE_PX, SIDE_PX): which pixels show the thing; it leaves on one side and comes back on the other."""
        pixels = np.arange(SIDE_PX)
        columns = (pixels - np.round(at_px).astype(np.int64)[..., None]) % SIDE_PX < _WIDTHS_PX[kinds][..., None]
        below = pixels - rows_px[:, None]
        lines = (below[:, None] >= 0) & (below[:, None] < _HEIGHTS_PX[kinds][..., None])
        return lines[..., :, None] & columns[..., None, :]


def _cells(frames: Float32) -> Float32:
    """(n, T, SIDE_PX, SIDE_PX) -> (n, T, CELLS * CELLS)."""
    side = SIDE_PX // CELLS
    means: Float32 = frames.reshape(*frames.shape[:2], CELLS, side, CELLS, side).mean(axis=(3, 5))
    rows: Float32 = means.reshape(*frames.shape[:2], CELLS * CELLS)
    return rows
