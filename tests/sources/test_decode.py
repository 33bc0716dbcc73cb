from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmstream.errors import Damaged
from mmstream.sources.decode import ANALYSIS_WIDTH_PX, MAX_DAMAGED_IN_A_ROW, Decoder, Pace
from mmstream.sources.motion_field import MotionGrid
from mmstream.types import AudioChunk, Frame, Packet, PictureSpec, TextSpan
from tests.sources.material import EPOCH_S, changed, damaged, read_packets, texture, write_clip


def make_decoder(**options: object) -> Decoder:
    return Decoder("cam", **{"analysed_fps": 5.0, "pictures": {}, **options})  # type: ignore[arg-type]


def run(decoder: Decoder, packets: Sequence[Packet]) -> list[Frame | AudioChunk | TextSpan]:
    return [item for packet in packets for item in decoder.push(packet)] + decoder.flush()


def frames_of(items: Sequence[object]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def offsets(frames: Sequence[Frame]) -> list[float]:
    return [round(frame.start_s - EPOCH_S, 3) for frame in frames]


def test_every_packet_is_decoded_but_only_the_asked_for_rate_is_analysed(tmp_path: Path) -> None:
    decoder = make_decoder(analysed_fps=5.0)
    frames = frames_of(run(decoder, read_packets(write_clip(tmp_path / "a.mp4"))))
    assert decoder.counters["frames_decoded"] == 30
    assert decoder.counters["frames_analysed"] == len(frames) == 15
    assert offsets(frames[:3]) == [0.0, 0.2, 0.4]
    assert frames[0].luma.shape == (144, ANALYSIS_WIDTH_PX)
    assert frames[0].is_key
    assert not frames[1].is_key
    assert frames[1].end_s == pytest.approx(frames[1].start_s + 0.1)


def test_key_frames_are_looked_at_even_where_a_steady_pace_would_always_skip_them(tmp_path: Path) -> None:
    """Every third picture was taken, no key frame was among them, and the gate never had one to compare."""
    packets = read_packets(write_clip(tmp_path / "a.mp4", fps=15, seconds=4))
    decoder = make_decoder(analysed_fps=5.0)
    frames = frames_of(run(decoder, packets))
    keys = [frame for frame in frames if frame.is_key]
    assert offsets(keys) == pytest.approx([0.0, 4 / 3, 8 / 3], abs=0.002)
    assert len(frames) <= 20 + len(keys)


@pytest.mark.parametrize("video", ["h264", "h264_b", "hevc", "mpeg4", "mjpeg"])
def test_each_frame_shows_the_picture_of_its_own_time(tmp_path: Path, video: str) -> None:
    packets = read_packets(write_clip(tmp_path / ("a.mov" if video == "mjpeg" else "a.mp4"), video=video, seconds=2))
    frames = frames_of(run(make_decoder(analysed_fps=30.0), packets))
    assert offsets(frames) == pytest.approx([number / 10 for number in range(20)], abs=0.002)
    for number in (0, 7, 19):
        wanted = np.asarray(
            Image.fromarray(texture(320, 192, number * 4)[:, :, 0]).resize((240, 144), Image.Resampling.BOX)
        )
        errors = [np.abs(frame.luma.astype(float) - wanted).mean() for frame in frames]
        assert int(np.argmin(errors)) == number


def test_luma_is_full_range_and_gray_pictures_have_neutral_chroma(tmp_path: Path) -> None:
    frame = frames_of(run(make_decoder(), read_packets(write_clip(tmp_path / "a.mp4", seconds=1))))[0]
    assert frame.luma.mean() == pytest.approx(texture(320, 192).mean(), abs=3)
    assert frame.chroma == pytest.approx((128, 128), abs=1)


@pytest.mark.parametrize(
    ("video", "size_px"), [("h264", (320, 192)), ("h264", (640, 384)), ("h264_b", (320, 192)), ("h264", (1280, 720))]
)
def test_motion_says_how_far_things_moved_in_thousandths_of_the_width_per_tenth_of_a_second(
    tmp_path: Path, video: str, size_px: tuple[int, int]
) -> None:
    step_px = size_px[0] // 80
    clip = write_clip(tmp_path / "a.mp4", video=video, size_px=size_px, seconds=1, step_px=step_px)
    frames = frames_of(run(make_decoder(analysed_fps=10.0), read_packets(clip)))
    motion = frames[5].motion
    assert motion is not None
    assert motion.shape == (round(90 * size_px[1] / size_px[0]), 90, 2)
    assert motion.dtype == np.float32
    assert np.median(motion[..., 0]) == pytest.approx(1000 * step_px / size_px[0], rel=0.1)
    assert abs(np.median(motion[..., 1])) < 0.5


def test_a_key_frame_repeats_the_motion_before_it_but_key_frames_alone_have_none(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))
    frames = frames_of(run(make_decoder(analysed_fps=10.0), packets))
    assert frames[10].is_key
    assert frames[0].motion is None
    assert frames[10].motion is frames[9].motion is not None
    keys = frames_of(run(make_decoder(), [packet for packet in packets if packet.is_key]))
    assert offsets(keys) == [0.0, 1.0, 2.0]
    assert all(frame.motion is None for frame in keys)


def test_motion_is_the_mean_of_what_two_neighbouring_analysed_pictures_say(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))
    every = frames_of(run(make_decoder(analysed_fps=10.0), packets))
    second = frames_of(run(make_decoder(analysed_fps=5.0), packets))
    fifth = frames_of(run(make_decoder(analysed_fps=2.0), packets))
    alone = {frame.start_s: frame.motion for frame in fifth}  # half a second apart: nothing to average with
    assert every[1].motion is not None
    raw = [every[1].motion]
    for frame in every[2:10]:
        assert frame.motion is not None
        raw.append(2 * frame.motion - raw[-1])
    fifth_alone, fourth = alone[every[5].start_s], second[2].motion
    assert fifth_alone is not None
    assert fourth is not None
    np.testing.assert_allclose(fifth_alone, raw[4], atol=1e-3)
    np.testing.assert_allclose(fourth, (raw[3] + raw[1]) / 2, atol=1e-3)


@pytest.mark.parametrize("pitch_px", [4, 8, 16])
def test_blocks_of_every_size_cover_their_own_area_and_no_more(pitch_px: int) -> None:
    grid = MotionGrid(90 * pitch_px, 48)
    blocks = [
        (0, 0, 16, 16),
        (16, 0, 8, 16),
        (24, 0, 8, 8),
        (24, 8, 4, 8),
        (28, 8, 4, 4),
        (32, 16, 16, 8),
        (48, 32, 8, 4),
    ]
    wanted = np.zeros((48, -(-90 * pitch_px // 16) * 16))
    array = np.zeros(len(blocks), EXPORTED)
    for number, (left, top, width, height) in enumerate(blocks):
        wanted[top : top + height, left : left + width] = number + 1
        array[number] = (-1, width, height, left + width // 2, top + height // 2, -4 * (number + 1), 0, 4)
    raster = wanted.reshape(48 // pitch_px, pitch_px, -1, pitch_px).mean(axis=(1, 3))
    field = grid.lay_out(Exported(array), 0.1)
    rows = (np.arange(grid.shape[0]) + 0.5) * 48 / grid.shape[0] // pitch_px
    np.testing.assert_allclose(field[..., 0], raster[rows.astype(int)][:, :90] * 1000 / (90 * pitch_px), rtol=1e-5)
    assert not field[..., 1].any()


def test_vectors_that_point_out_of_the_picture_are_moved_inside() -> None:
    array = np.array([(-1, 16, 16, 30_000, -30_000, -4, 0, 4), (-1, 16, 8, -9, 30_000, -4, 0, 4)], EXPORTED)
    for width_px in (360, 720, 1440):
        assert MotionGrid(width_px, 96).lay_out(Exported(array), 0.1)[..., 0].any()


EXPORTED = [("source", "i4"), ("w", "u1"), ("h", "u1"), ("dst_x", "i2"), ("dst_y", "i2"), ("motion_x", "i4"),
            ("motion_y", "i4"), ("motion_scale", "u2")]  # fmt: skip


class Exported:
    """What PyAV gives for exported motion vectors."""

    def __init__(self, array: object) -> None:
        self._array = array

    def to_ndarray(self) -> object:
        return self._array


def test_colour_is_measured_once_a_second_and_held_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = itertools.count(100)
    monkeypatch.setattr("mmstream.sources.decode.chroma_means", lambda _: (float(next(values)), 128.0))
    frames = frames_of(run(make_decoder(), read_packets(write_clip(tmp_path / "a.mp4"))))
    assert [frame.chroma[0] for frame in frames] == [100.0] * 5 + [101.0] * 5 + [102.0] * 5


@pytest.mark.parametrize("video", ["hevc", "mjpeg"])
def test_codecs_without_motion_vectors_give_no_motion(tmp_path: Path, video: str) -> None:
    packets = read_packets(write_clip(tmp_path / ("a.mov" if video == "mjpeg" else "a.mp4"), video=video, seconds=1))
    frames = frames_of(run(make_decoder(), packets))
    assert len(frames) == 5
    assert all(frame.motion is None for frame in frames)


def test_waking_up_replays_the_group_exactly_and_gives_no_moment_twice(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))
    whole = {frame.start_s: frame for frame in frames_of(run(make_decoder(analysed_fps=30.0), packets))}
    decoder = make_decoder(analysed_fps=30.0)
    asleep = [packets[0], packets[10], packets[20]]
    woken = [item for packet in asleep for item in decoder.push(packet)] + run(decoder, packets[10:])
    frames = frames_of(woken)
    assert offsets(frames) == [0.0, 1.0, 2.0, *(n / 10 for n in range(11, 20)), *(n / 10 for n in range(21, 30))]
    assert decoder.counters["replays"] == 1
    for frame in frames:
        assert (frame.luma == whole[frame.start_s].luma).all()


def test_what_was_glanced_at_is_close_to_the_truth_and_what_follows_waking_up_is_exact(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))
    whole = {frame.start_s: frame for frame in frames_of(run(make_decoder(analysed_fps=30.0), packets))}
    decoder = make_decoder(analysed_fps=30.0)
    glanced = frames_of([item for at in (0, 10, 20) for item in decoder.push(packets[at], glance=True)])
    followed = frames_of(run(decoder, packets[20:]))
    assert offsets([*glanced, *followed]) == [0.0, 1.0, 2.0, *(n / 10 for n in range(21, 30))]
    for frame in glanced:
        assert np.abs(frame.luma.astype(int) - whole[frame.start_s].luma).max() <= 12
    for frame in followed:
        assert (frame.luma == whole[frame.start_s].luma).all()
        assert frame.motion is not None


def test_models_see_a_still_place_every_six_seconds_and_all_they_asked_for_once_it_wakes(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", seconds=14))
    decoder = make_decoder(pictures={"model": PictureSpec(width_px=32, height_px=32, rate_hz=1.0)})
    keys = [packet for packet in packets if packet.is_key]
    glanced = frames_of([item for packet in keys for item in decoder.push(packet, glance=True)])
    assert offsets([frame for frame in glanced if frame.pictures]) == [0.0, 6.0, 12.0]
    awake = frames_of(run(decoder, packets[-10:]))
    assert any(frame.pictures for frame in awake)


def test_waking_up_inside_a_group_goes_on_with_the_same_decoder(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))
    decoder = make_decoder(analysed_fps=30.0)
    frames = frames_of(run(decoder, [packets[0], *packets[10:]]))
    assert len(frames) == 21
    assert decoder.counters["replays"] == 0


def test_a_new_connection_gets_a_new_decoder_of_its_own_size_and_codec(tmp_path: Path) -> None:
    first = read_packets(write_clip(tmp_path / "a.mp4", seconds=1), epoch=1)
    second = read_packets(
        write_clip(tmp_path / "b.mp4", video="hevc", size_px=(256, 256), seconds=1), epoch=2, epoch_s=EPOCH_S + 5
    )
    frames = frames_of(run(make_decoder(analysed_fps=10.0), [*first, *second]))
    assert [frame.luma.shape for frame in frames] == [(144, 240)] * 10 + [(240, 240)] * 10


def test_joining_in_the_middle_of_a_group_waits_for_the_key_frame(tmp_path: Path) -> None:
    decoder = make_decoder(analysed_fps=30.0)
    frames = frames_of(run(decoder, read_packets(write_clip(tmp_path / "a.mp4"))[4:]))
    assert offsets(frames)[0] == 1.0
    assert decoder.counters["frames_corrupt"] == decoder.counters["damaged_packets"] == 0


def test_after_a_damaged_packet_a_live_feed_waits_for_the_next_key_frame(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4"))
    packets[5] = damaged(packets[5], b"\x00\x00\x00\x05\x41\xff\xff\xff\xff")
    decoder = make_decoder(analysed_fps=30.0, live=True)
    frames = frames_of(run(decoder, packets))
    assert decoder.counters["damaged_packets"] + decoder.counters["frames_corrupt"] >= 1
    assert 0.5 not in offsets(frames)
    assert offsets(frames)[-20:] == [number / 10 for number in range(10, 30)]


def test_a_file_with_nothing_but_damage_is_given_up_with_a_sentence(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", seconds=8))
    broken = [packets[0], *(damaged(packet, b"\x00\x00\x00\x01\x09") for packet in packets[1:])]
    with pytest.raises(Damaged, match=f"'cam': {MAX_DAMAGED_IN_A_ROW} damaged h264 packets in a row"):
        run(make_decoder(live=False), broken)
    live = make_decoder(live=True)
    run(live, broken)
    assert live.counters["damaged_packets"] >= 1


def test_pictures_for_encoders_come_in_their_shape_and_at_their_own_rate(tmp_path: Path) -> None:
    specs = {
        "colour": PictureSpec(width_px=64, height_px=48, colour=True, rate_hz=1.0),
        "gray": PictureSpec(width_px=32, height_px=32, rate_hz=2.5),
    }
    frames = frames_of(run(make_decoder(pictures=specs), read_packets(write_clip(tmp_path / "a.mp4", seconds=4))))
    for name, count in (("colour", 4), ("gray", 10)):
        given_ = [frame.pictures[name] for frame in frames if name in frame.pictures]
        assert len(given_) == count
        assert {picture.shape for picture in given_} == {specs[name].shape}
    assert frames[0].pictures["colour"].dtype == np.uint8


@pytest.mark.parametrize(
    ("codec", "rate_hz", "suffix"),
    [("aac", 16_000, "mp4"), ("aac", 44_100, "mp4"), ("libmp3lame", 44_100, "mp4"), ("libopus", 48_000, "mkv"),
     ("pcm_mulaw", 8_000, "mov"), ("pcm_alaw", 8_000, "mov")],
)  # fmt: skip
def test_every_sound_codec_becomes_mono_at_the_analysis_rate(
    tmp_path: Path, codec: str, rate_hz: int, suffix: str
) -> None:
    clip = write_clip(tmp_path / f"a.{suffix}", video="", audio=codec, audio_rate_hz=rate_hz, tone_hz=1000.0)
    decoder = make_decoder()
    chunks = [item for item in run(decoder, read_packets(clip)) if isinstance(item, AudioChunk)]
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert {chunk.sample_rate_hz for chunk in chunks} == {16_000}
    assert decoder.counters["audio_s"] == pytest.approx(3.0, abs=0.15)
    assert chunks[0].start_s == pytest.approx(EPOCH_S, abs=0.08)
    assert all(
        a.end_s == pytest.approx(b.start_s, abs=0.002) for a, b in itertools.pairwise(chunks[1:])
    )  # Opus: the first is trimmed
    middle = samples[16_000:32_000]
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    assert int(np.argmax(np.abs(np.fft.rfft(middle)))) == 1000


def test_damaged_sound_is_counted_and_does_not_stop_the_pictures(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", audio="aac"))
    broken = [damaged(packet, b"\xff\xff\xff\xff\xff") if packet.kind == "audio" else packet for packet in packets]
    decoder = make_decoder()
    items = run(decoder, broken)
    assert len(frames_of(items)) == 15
    assert decoder.counters["damaged_sounds"] > 10


def test_sound_that_nothing_can_decode_is_refused_once_and_the_pictures_go_on(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", audio="aac"))
    unknown = [
        changed(packet, {"stream": dataclasses.replace(packet.stream, codec="no_such_codec")})
        if packet.kind == "audio"
        else packet
        for packet in packets
    ]
    decoder = make_decoder()
    assert len(frames_of(run(decoder, unknown))) == 15
    assert decoder.counters["damaged_sounds"] == 1


def test_the_preview_is_the_newest_picture_and_is_renewed_only_so_often(tmp_path: Path) -> None:
    packets = read_packets(write_clip(tmp_path / "a.mp4", size_px=(1280, 720)))
    decoder = make_decoder()
    assert decoder.preview(2.0) is None
    decoder.push(packets[0])
    first = decoder.preview(2.0)
    assert first is not None
    assert Image.open(io.BytesIO(first)).size == (640, 360)
    for packet in packets[1:20]:
        decoder.push(packet)
    assert decoder.preview(2.0) is first
    for packet in packets[20:22]:
        decoder.push(packet)
    assert decoder.preview(2.0) not in (None, first)


@given(
    rate_hz=st.floats(0.5, 30),
    camera_fps=st.floats(1, 60),
    jitter=st.lists(st.floats(-0.2, 0.2), min_size=200, max_size=200),
)
def test_the_pace_is_kept_whatever_the_camera_rate(rate_hz: float, camera_fps: float, jitter: list[float]) -> None:
    pace = Pace(rate_hz)
    times = [(number + jitter[number]) / camera_fps for number in range(200)]
    picked = [at for at in times if pace.due(at)]
    assert len(picked) <= (times[-1] - times[0]) * rate_hz + 2
    if camera_fps > 2 * rate_hz:
        assert len(picked) >= (times[-1] - times[0]) * rate_hz * 0.9 - 1


def test_the_pace_starts_again_when_time_goes_back() -> None:
    pace = Pace(1.0)
    assert [pace.due(at) for at in (10.0, 10.5, 4.0, 4.5, 5.0)] == [True, False, True, False, True]


@pytest.mark.footage
def test_captions_inside_a_file_become_words_at_their_time(footage: Path) -> None:
    spans = [
        item
        for item in run(make_decoder(), read_packets(footage / "clips" / "nasa_13013.mp4"))
        if isinstance(item, TextSpan)
    ]
    assert "optical and science segment" in spans[0].text
    assert all(span.origin == "caption" and span.end_s > span.start_s for span in spans)


@pytest.mark.footage
def test_real_files_decode_without_damage(footage: Path) -> None:
    for name in ("clips/motorway.avi", "clips/fall_with_sound.avi", "clips/delayed_start.mp4", "ped2/test/01.mp4"):
        decoder = make_decoder()
        frames = frames_of(run(decoder, read_packets(footage / name)))
        assert decoder.counters["damaged_packets"] == decoder.counters["frames_corrupt"] == 0
        assert all(a.start_s < b.start_s for a, b in itertools.pairwise(frames)), name
        extra = len(frames) - 5 * (frames[-1].start_s - frames[0].start_s)
        assert -2 <= extra <= 2 + sum(frame.is_key for frame in frames), name
