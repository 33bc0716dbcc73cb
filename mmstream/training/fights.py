"""Clips that are labelled as a whole, as stretches to learn from: computed features of motion, change and sound.

A folder with ``index.csv`` (columns ``clip``, ``label``, ``source_group``); clips of one source group come from one
video and must never be split between learning and judging.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmstream.encoders.motion import MotionEncoder
from mmstream.errors import ConfigError
from mmstream.evaluation.video import frames_of
from mmstream.sources.sound import sound_of
from mmstream.sources.whole import packets_of
from mmstream.training.audiovisual import Stretches
from mmstream.types import Float32, Frame, Window

NUM_MOMENTS = 8
"""Per clip, evenly spread."""
MOMENT_S = 0.5
"""A moment is the half second that ends there."""
GRID = 8
"""Change is given in GRID x GRID cells of the picture, sorted: where it is says nothing on another camera."""
RATE_HZ = 16_000
NUM_BANDS = 24
SILENT = 3e-4
"""RMS: -70 dB; a track below it is no sound."""
MODALITIES = ("motion", "change", "sound")
_FLOOR = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clips:
    """N clips."""

    stretches: Stretches
    """Every moment of a clip has the clip's label."""
    labels: npt.NDArray[np.bool_]
    """(N,)."""
    groups: npt.NDArray[np.int64]
    """(N,) which video a clip comes from."""

    def __len__(self) -> int:
        return len(self.labels)


def read_clips(folder: Path, *, note: Callable[[str, int, int], None] = lambda _what, _done, _total: None) -> Clips:
    """Compute the features of every clip in ``index.csv``.

    Raises:
        ConfigError: there is no such file, or it lacks columns.
        SourceError: a clip cannot be read.
    """
    try:
        with (folder / "index.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        entries = [(row["clip"], int(row["label"]), int(row["source_group"])) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"cannot use {folder / 'index.csv'} ({error}); want the columns clip, label, source_group"
        ) from None
    found = []
    for number, (name, _, _) in enumerate(entries):
        note(f"reading {name}", number, len(entries))
        found.append(_features(folder / name))
    labels = np.array([label > 0 for _, label, _ in entries])
    present = np.stack([there for _, there in found])
    return Clips(
        stretches=Stretches(
            vectors={name: np.stack([vectors[name] for vectors, _ in found]) for name in MODALITIES},
            present=present,
            labels=np.repeat(labels[:, None], NUM_MOMENTS, axis=1).astype(np.float32),
            classes=np.full((len(entries), NUM_MOMENTS), -1, np.int64),
        ),
        labels=labels,
        groups=np.array([group for _, _, group in entries], np.int64),
    )


def folds(labels: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """(N,) number of the fold of each clip: whole groups, the largest first, each to where its label is rarest.

    >>> folds(np.array([True, True, False, False]), np.array([1, 1, 2, 3]), 2).tolist()
    [0, 0, 0, 1]
    """
    sizes = np.zeros((count, 2))
    fold_of: dict[int, int] = {}
    names, counts = np.unique(groups, return_counts=True)
    for group in names[np.argsort(-counts, kind="stable")]:
        kinds = np.bincount(labels[groups == group].astype(np.int64), minlength=2)
        # how uneven the folds would be with the group in each of them
        cost = [float(np.square(sizes + np.eye(count)[:, [fold]] * kinds).sum()) for fold in range(count)]
        fold_of[int(group)] = best = int(np.argmin(cost))
        sizes[best] += kinds
    return np.array([fold_of[int(group)] for group in groups], np.int64)


def _features(path: Path) -> tuple[dict[str, Float32], npt.NDArray[np.bool_]]:
    """-> (modality -> (T, D), (T, 3) which are there)."""
    frames = list(frames_of(path, 0.0))
    samples, sound_s = sound_of(list(packets_of(path, audio=True)), RATE_HZ)
    end_s = frames[-1].start_s if frames else len(samples) / RATE_HZ
    moments_s = np.linspace(min(MOMENT_S, end_s), end_s, NUM_MOMENTS)
    encoder = MotionEncoder()
    dims = {"motion": encoder.dim, "change": GRID * GRID, "sound": 2 * NUM_BANDS}
    vectors = {name: np.zeros((NUM_MOMENTS, dim), np.float32) for name, dim in dims.items()}
    present = np.zeros((NUM_MOMENTS, len(MODALITIES)), np.bool_)
    is_heard = len(samples) > 0 and float(np.sqrt(np.mean(samples**2))) > SILENT
    for number, at_s in enumerate(moments_s):
        recent = [frame for frame in frames if at_s - MOMENT_S < frame.start_s <= at_s + 1e-6]
        found = (
            _motion(encoder, recent, at_s),
            _change(recent),
            _sound(samples, at_s - sound_s) if is_heard else None,
        )
        for place, (name, vector) in enumerate(zip(MODALITIES, found, strict=True)):
            if vector is not None:
                vectors[name][number], present[number, place] = vector, True
    return vectors, present


def _motion(encoder: MotionEncoder, recent: Sequence[Frame], at_s: float) -> Float32 | None:
    window = Window(feed_id="clip", start_s=at_s - MOMENT_S, end_s=at_s, frames=tuple(recent))
    embedding = encoder.encode(window)
    # from another codec they would be other numbers
    return np.arcsinh(embedding.vector) if embedding is not None and embedding.model == encoder.model else None


def _change(recent: Sequence[Frame]) -> Float32 | None:
    """(GRID * GRID,) how many levels each cell changes by from frame to frame, sorted."""
    lumas = [frame.luma.astype(np.float32) for frame in recent]
    if len(lumas) < 2:
        return None
    apart = np.mean([np.abs(after - before) for before, after in itertools.pairwise(lumas)], axis=0)
    lines = np.array_split(apart, GRID, axis=0)
    cells = np.array([[cell.mean() for cell in np.array_split(line, GRID, axis=1)] for line in lines])
    return np.asarray(np.log1p(np.sort(cells.ravel())), np.float32)


def _sound(samples: Float32, at_s: float) -> Float32 | None:
    """(2 * NUM_BANDS,) log energy per band: mean over the moment, and how much it varies in it."""
    last = round(at_s * RATE_HZ)
    part = samples[max(0, last - round(MOMENT_S * RATE_HZ)) : max(0, last)]
    if len(part) < RATE_HZ // 8:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(part, 512)[::256]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(512), axis=1)))
    edges = np.unique(np.geomspace(2, power.shape[1], NUM_BANDS + 1).astype(np.int64))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + _FLOOR)
    filled = np.zeros((2, NUM_BANDS), np.float32)
    filled[0, : bands.shape[1]], filled[1, : bands.shape[1]] = bands.mean(axis=0), bands.std(axis=0)
    return filled.ravel()
