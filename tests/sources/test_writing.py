"""Recordings that are written: same settings for each, and what was written comes out again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmstream.sources.sound import sound_of
from mmstream.sources.whole import packets_of, pictures_of
from mmstream.sources.writing import RecordingWriter
from mmstream.types import UInt8
from tests.sources.material import texture, tone

SIZE_PX = (160, 96)
RATE_HZ = 16_000


def write(path: Path, *, seconds: int = 3, still_from: int = 10**6) -> list[UInt8]:
    pictures = [texture(*SIZE_PX, 3 * min(number, still_from)) for number in range(10 * seconds)]
    with RecordingWriter(path, size_px=SIZE_PX, fps=10, rate_hz=RATE_HZ) as writer:
        for number in range(seconds):
            for picture in pictures[10 * number : 10 * number + 10]:
                writer.picture(picture)
            writer.sound(tone(seconds, RATE_HZ, 440.0)[number * RATE_HZ : (number + 1) * RATE_HZ])
        assert writer.length_s == seconds
    return pictures


def test_pictures_and_sound_come_out_as_they_went_in(tmp_path: Path) -> None:
    written = write(tmp_path / "a.mp4")
    read = list(pictures_of(tmp_path / "a.mp4", fps=10, max_width_px=640))
    assert len(read) == len(written) == 30
    assert read[0].shape == (96, 160, 3)
    assert np.abs(read[-1].astype(float) - written[-1]).mean() < 6.0
    samples, _ = sound_of(list(packets_of(tmp_path / "a.mp4", audio=True)), RATE_HZ)
    assert len(samples) / RATE_HZ == pytest.approx(3.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * RATE_HZ / len(samples) == pytest.approx(440.0, abs=2.0)


def test_an_edit_is_not_marked_by_the_codec(tmp_path: Path) -> None:
    """Key frames come by the clock alone, also where the picture suddenly stands still, and none is reordered."""
    keys = {}
    for name, still_from in (("moving", 10**6), ("frozen", 14)):
        write(tmp_path / f"{name}.mp4", still_from=still_from)
        packets = [p for p in packets_of(tmp_path / f"{name}.mp4") if p.kind == "video"]
        keys[name] = [round(p.start_s, 3) for p in packets if p.is_key]
        assert [p.start_s for p in packets] == sorted(p.start_s for p in packets), "no B pictures"
    assert keys["moving"] == keys["frozen"] == [0.0, 1.0, 2.0]


def test_large_recordings_are_read_smaller_and_slower(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    read = list(pictures_of(tmp_path / "a.mp4", fps=5, max_width_px=81))
    assert len(read) == 15
    assert read[0].shape == (48, 80, 3)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even width and height"):
        RecordingWriter(tmp_path / "a.mp4", size_px=(161, 96), fps=10)
    with RecordingWriter(tmp_path / "b.mp4", size_px=SIZE_PX, fps=10) as writer:
        writer.picture(texture(*SIZE_PX))
        with pytest.raises(ValueError, match="has no sound"):
            writer.sound(tone(1.0, RATE_HZ, 440.0))
        with pytest.raises(ValueError, match="want a picture of"):
            writer.picture(texture(80, 48))
