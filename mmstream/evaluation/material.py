"""What test sets are made of: recordings as arrays of pictures and of sound."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from mmstream.errors import ConfigError, Damaged
from mmstream.evaluation.compose import RATE_HZ, Material
from mmstream.evaluation.video import SUFFIXES
from mmstream.sources.sound import sound_of
from mmstream.sources.whole import packets_of, pictures_of
from mmstream.types import Float32, UInt8

FPS = 10
"""Of every recording made: what the detector analyses is less."""
MAX_WIDTH_PX = 640
MAX_CLIP_S = 30.0
"""No more of a clip is used: each is held in memory while it is edited."""
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".aac")


def clip_pictures(path: Path) -> UInt8:
    """(n, height, width, 3) RGB at `FPS`, at most `MAX_CLIP_S` long and `MAX_WIDTH_PX` wide.

    Raises:
        Damaged: there are no pictures in it.
    """
    pictures = list(islice(pictures_of(path, fps=FPS, max_width_px=MAX_WIDTH_PX), round(MAX_CLIP_S * FPS)))
    if not pictures:
        raise Damaged(f"{path} holds no picture that can be decoded; check it with ffprobe")
    return np.stack(pictures)


def sound_in(path: Path) -> Float32:
    """(n,) mono at `compose.RATE_HZ`. Raises Damaged: there is no sound in it."""
    samples, _ = sound_of(list(packets_of(path, audio=True)), RATE_HZ)
    if not len(samples):
        raise Damaged(f"{path} holds no sound that can be decoded; check it with ffprobe")
    return samples


def sounds_in(folder: Path) -> Material:
    """Sounds from the folders ``background``, ``ordinary`` and ``unusual`` in ``folder``, by file name.

    Raises:
        ConfigError: one of them is missing or empty.
    """
    found: dict[str, dict[str, Float32]] = {}
    for kind in ("background", "ordinary", "unusual"):
        files = sorted(p for p in (folder / kind).glob("*") if p.suffix.lower() in SOUNDS)
        if not files:
            raise ConfigError(f"{folder / kind} holds no sounds; want files that end with {', '.join(SOUNDS)}")
        found[kind] = {path.stem: sound_in(path) for path in files}
    return Material(beds=tuple(found["background"].values()), ordinary=found["ordinary"], events=found["unusual"])


def recordings_in(place: Path) -> list[Path]:
    """One file, or all clips in a folder. Raises ConfigError: neither."""
    if place.is_file():
        return [place]
    clips = sorted(p for p in place.glob("*") if p.suffix.lower() in SUFFIXES) if place.is_dir() else []
    if not clips:
        raise ConfigError(f"{place} is neither a recording nor a folder of them ({', '.join(SUFFIXES)})")
    return clips
