from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import av
import numpy as np
import pytest

from mmstream.sources.remux import remux
from tests.sources.material import EPOCH_S, changed, pictures_of, read_packets, write_clip


def save(path: Path, mp4: bytes | None) -> Path:
    assert mp4 is not None
    path.write_bytes(mp4)
    return path


def boxes(mp4: bytes) -> list[bytes]:
    """The kinds of the top-level boxes, in order (ISO/IEC 14496-12)."""
    kinds, at = [], 0
    while at < len(mp4):
        kinds.append(mp4[at + 4 : at + 8])
        at += int.from_bytes(mp4[at : at + 4], "big")
    return kinds


@pytest.mark.parametrize(
    ("video", "tag"), [("h264", "avc1"), ("h264_b", "avc1"), ("hevc", "hvc1"), ("mpeg4", "mp4v"), ("mjpeg", "mp4v")]
)
def test_pictures_come_out_bit_exactly_as_the_camera_sent_them(tmp_path: Path, video: str, tag: str) -> None:
    source = write_clip(tmp_path / ("a.mov" if video == "mjpeg" else "a.mp4"), video=video)
    clip = save(tmp_path / "clip.mp4", remux(read_packets(source), start_s=EPOCH_S))
    wanted, got = pictures_of(source), pictures_of(clip)
    assert len(got) == len(wanted) == 30
    assert all((a == b).all() for a, b in zip(got, wanted, strict=True))
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec_tag == tag
        assert stream.duration is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(3.0, abs=0.12)
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([number / 10 for number in range(30)], abs=0.002)


def test_the_index_stands_in_front_so_that_a_browser_starts_at_once(tmp_path: Path) -> None:
    mp4 = remux(read_packets(write_clip(tmp_path / "a.mp4", audio="aac")), start_s=EPOCH_S)
    assert mp4 is not None
    assert boxes(mp4).index(b"moov") < boxes(mp4).index(b"mdat")


def test_the_clip_starts_at_the_last_key_frame_before_what_was_asked_for(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", audio="aac")
    clip = save(tmp_path / "clip.mp4", remux(read_packets(source), start_s=EPOCH_S + 1.75))
    got = pictures_of(clip)
    assert len(got) == 20
    assert (got[0] == pictures_of(source)[10]).all()
    with av.open(str(clip)) as container:
        assert container.streams.video[0].start_time == 0
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(2.0, abs=0.1)


def test_pictures_only_after_the_asked_for_start_begin_at_the_first_key_frame(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))[3:]
    clip = save(tmp_path / "clip.mp4", remux(packets, start_s=EPOCH_S - 60))
    assert len(pictures_of(clip)) == 20


@pytest.mark.parametrize("codec", ["pcm_mulaw", "pcm_alaw"])
def test_sound_of_most_cameras_becomes_aac_in_step_with_the_pictures(tmp_path: Path, codec: str) -> None:
    source = write_clip(tmp_path / "a.mov", audio=codec, audio_rate_hz=8_000, tone_hz=1000.0)
    clip = save(tmp_path / "clip.mp4", remux(read_packets(source), start_s=EPOCH_S + 1.0))
    with av.open(str(clip)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac"
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(sound)])
        assert len(samples) / sound.codec_context.sample_rate == pytest.approx(2.0, abs=0.15)
    spectrum = np.abs(np.fft.rfft(samples[8_000:24_000]))
    assert int(np.argmax(spectrum)) == 1000
    assert len(pictures_of(clip)) == 20


@pytest.mark.parametrize(
    ("codec", "rate_hz", "suffix", "name"),
    [("libopus", 48_000, "mkv", "opus"), ("libmp3lame", 44_100, "mp4", "mp3"), ("aac", 16_000, "mp4", "aac")],
)
def test_a_microphone_alone_becomes_a_clip_of_sound_alone(
    tmp_path: Path, codec: str, rate_hz: int, suffix: str, name: str
) -> None:
    packets = read_packets(write_clip(tmp_path / f"a.{suffix}", video="", audio=codec, audio_rate_hz=rate_hz))
    clip = save(tmp_path / "clip.mp4", remux(packets, start_s=EPOCH_S + 1.0))
    with av.open(str(clip)) as container:
        assert not container.streams.video
        (sound,) = container.streams.audio
        assert sound.codec_context.codec.canonical_name == name
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(sound))
    assert seconds == pytest.approx(2.0, abs=0.1)


def test_only_the_newest_connection_goes_into_the_clip(tmp_path: Path) -> None:
    old = read_packets(write_clip(tmp_path / "a.mp4", audio="aac"), epoch=1)
    new_clip = write_clip(tmp_path / "b.mp4", video="hevc", seconds=2, size_px=(256, 128))
    new = read_packets(new_clip, epoch=2, epoch_s=EPOCH_S + 10)
    clip = save(tmp_path / "clip.mp4", remux([*old, *new], start_s=EPOCH_S))
    got, wanted = pictures_of(clip), pictures_of(new_clip)
    assert len(got) == 20
    assert all((a == b).all() for a, b in zip(got, wanted, strict=True))


def test_a_clock_that_stands_still_or_steps_back_still_gives_a_playable_clip(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", seconds=2))
    for number in (4, 5, 6):
        packets[number] = changed(packets[number], {"start_s": EPOCH_S + 0.2})
    clip = save(tmp_path / "clip.mp4", remux(packets, start_s=EPOCH_S))
    with av.open(str(clip)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 20
    assert times == sorted(times)


def test_packets_without_time_stamps_take_the_clock_of_the_feed(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", seconds=1))
    packets[0].payload.pts = packets[0].payload.dts = None
    clip = save(tmp_path / "clip.mp4", remux(packets, start_s=EPOCH_S))
    assert len(pictures_of(clip)) == 10


def test_the_ring_keeps_its_packets_as_they_were(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", audio="aac"))
    before = [(bytes(p.payload), p.payload.pts, p.payload.dts, p.payload.time_base) for p in packets]
    assert remux(packets, start_s=EPOCH_S) == remux(packets, start_s=EPOCH_S)
    assert [(bytes(p.payload), p.payload.pts, p.payload.dts, p.payload.time_base) for p in packets] == before


def test_nothing_to_show_gives_no_clip(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))
    assert remux([], start_s=0.0) is None
    assert remux([packet for packet in packets if not packet.is_key], start_s=EPOCH_S) is None
    odd = [changed(packet, {"stream": dataclasses.replace(packet.stream, codec="rawvideo")}) for packet in packets]
    assert remux(odd, start_s=EPOCH_S) is None


@pytest.mark.footage
@pytest.mark.parametrize(
    "name", ["clips/motorway.avi", "clips/fall_with_sound.avi", "clips/nasa_13013.mp4", "clips/parking_entry.mp4"]
)
def test_real_recordings_survive_bit_exactly(footage: Path, name: str) -> None:
    packets = [packet for packet in read_packets(footage / name) if packet.start_s < EPOCH_S + 6]
    mp4 = remux(packets, start_s=EPOCH_S)
    assert mp4 is not None
    with av.open(io.BytesIO(mp4)) as container:
        got = [frame.to_ndarray() for frame in container.decode(video=0)]
    stream = packets[0].stream.index if packets[0].kind == "video" else 0
    with av.open(str(footage / name)) as container:
        wanted = [
            frame.to_ndarray() for frame, _ in zip(container.decode(container.streams[stream]), got, strict=False)
        ]
    assert len(got) >= 70
    assert all((a == b).all() for a, b in zip(got[:-4], wanted, strict=False))
