"""What a feed showed and sounded a moment ago comes out of its packets as it went in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmstream.config import FeedConfig
from mmstream.evidence import PacketRing
from mmstream.sources.media import MediaSource
from mmstream.types import Packet
from mmstream.understanding.recent import PICTURE_WIDTH_PX, pictures_at, sound_between
from tests.rtsp.clips import make_clip

SECONDS = 8.0


def filled(path: Path, *, max_s: float = 180.0) -> PacketRing:
    ring = PacketRing(max_bytes=2**24, max_s=max_s)
    for item in MediaSource(FeedConfig(id="cam", url=str(path))):
        if isinstance(item, Packet):
            ring.push(item)
    return ring


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> PacketRing:
    return filled(make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=SECONDS))


def test_the_sound_of_an_interval_is_as_long_as_asked_for_and_is_what_was_heard(ring: PacketRing) -> None:
    sound = sound_between(ring, 2.0, 5.0)
    assert sound is not None
    assert sound.dtype == np.float32
    assert abs(sound.size - 48_000) <= 16
    peak_hz = np.argmax(np.abs(np.fft.rfft(sound))) / 3.0
    assert abs(peak_hz - 440.0) < 2


def test_sound_is_given_as_far_as_there_is_some(ring: PacketRing) -> None:
    sound = sound_between(ring, -5.0, 1.0)
    assert sound is not None
    assert abs(sound.size - 16_000) < 2000
    assert sound_between(ring, SECONDS + 5, SECONDS + 10) is None
    assert sound_between(PacketRing(max_bytes=10, max_s=1.0), 0.0, 5.0) is None


def test_pictures_are_those_of_the_moments_in_colour_and_in_order(ring: PacketRing) -> None:
    pictures = pictures_at(ring, (6.0, 1.0))
    assert len(pictures) == 2
    for at_s, picture in zip((1.0, 6.0), pictures, strict=True):
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[1] <= PICTURE_WIDTH_PX
        bar_px = int(picture.mean(axis=(0, 2)).argmax())
        assert abs(bar_px - (at_s / SECONDS * 320 + 8)) < 16


def test_what_has_left_the_ring_is_left_out(tmp_path: Path) -> None:
    ring = filled(make_clip(tmp_path / "long.mp4", seconds=12.0), max_s=4.0)
    assert len(pictures_at(ring, (1.0, 11.0))) == 1
    assert pictures_at(ring, (100.0,)) == ()
    assert sound_between(ring, 1.0, 3.0) is None


def test_a_feed_without_pictures_has_sound_only(tmp_path: Path) -> None:
    ring = filled(make_clip(tmp_path / "sound.mp4", video="", seconds=4.0))
    assert pictures_at(ring, (1.0,)) == ()
    sound = sound_between(ring, 1.0, 2.0)
    assert sound is not None
    assert sound.size == 16_000
