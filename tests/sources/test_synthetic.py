"""Rendered clips are decoded again: codecs, events that can be measured, and repeatability."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mmstream.errors import ConfigError
from mmstream.sources.synthetic import SCENES, ScriptedEvent, demo_script, make_scene, render_clip
from mmstream.sources.synthetic.events import SCRIPT_PAGE_S
from mmstream.types import Float32, Float64

SMALL = (320, 180)
EVENTS = {"junction": "wrong_way", "walkway": "runner", "dock": "crash", "yard": "lights_out"}


def decode_sound(path: Path) -> tuple[Float32, int]:
    with av.open(path) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
        chunks = [r.to_ndarray()[0] for frame in container.decode(stream) for r in resampler.resample(frame)]
        return np.concatenate(chunks), stream.rate


def box_speeds(path: Path) -> Float64:
    """Per frame: the fastest 36 x 36 of 360 x 240 box, thousandths of the width per frame, from motion vectors."""
    speeds = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            field = np.zeros((60, 90))
            vectors = frame.side_data.get("MOTION_VECTORS")
            for v in [] if vectors is None else vectors.to_ndarray():
                speed = np.hypot(v["motion_x"], v["motion_y"]) / v["motion_scale"] / frame.width * 1000
                x, y, w, h = (int(v[key]) for key in ("dst_x", "dst_y", "w", "h"))
                rows = slice((y - h // 2) * 60 // frame.height, -(-(y + h // 2) * 60 // frame.height))
                field[rows, (x - w // 2) * 90 // frame.width : -(-(x + w // 2) * 90 // frame.width)] = speed
            sums = np.pad(field.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
            speeds.append((sums[9:, 9:] - sums[:-9, 9:] - sums[9:, :-9] + sums[:-9, :-9]).max() / 81)
    return np.convolve(speeds, np.ones(5) / 5, mode="valid")


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_gives_the_same_picture_and_sound_for_the_same_seed_and_others_for_another(name: str) -> None:
    first, again, other = (make_scene(name, seed=seed, size=SMALL) for seed in (7, 7, 8))
    for k in range(25):
        picture = first.frame(k / 10)
        np.testing.assert_array_equal(picture, again.frame(k / 10))
        assert picture.shape == (180, 320, 3)
        assert picture.dtype == np.uint8
        assert not np.array_equal(picture, other.frame(k / 10))
    in_pieces = np.concatenate([first.sound(k / 10, 1600) for k in range(25)])
    np.testing.assert_array_equal(in_pieces, again.sound(0.0, 40_000))
    if first.has_audio:
        assert 0.005 < float(in_pieces.std()) < 0.3
        assert not np.array_equal(in_pieces, other.sound(0.0, 40_000))
    else:
        assert not in_pieces.any()


@pytest.mark.parametrize("name", SCENES)
def test_what_is_built_looks_the_same_for_every_seed(name: str) -> None:
    np.testing.assert_array_equal(make_scene(name, seed=1).background, make_scene(name, seed=2).background)


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_refuses_events_of_another_scene(name: str) -> None:
    with pytest.raises(ValueError, match=EVENTS[name]):
        make_scene(name, seed=1, size=SMALL).schedule([ScriptedEvent("flood", 3.0, 4.0)])


@pytest.mark.parametrize(
    ("name", "suffix", "video", "audio", "rate_hz"),
    [
        ("junction", ".mp4", "h264", "aac", 16_000),
        ("dock", ".mov", "h264", "pcm_mulaw", 8_000),
        ("dock", ".mov", "h264", "pcm_alaw", 8_000),
        ("dock", ".mp4", "h264", "mp3", 16_000),
        ("yard", ".mkv", "hevc", "libopus", 48_000),
        ("yard", ".mp4", "hevc", None, 0),
        ("walkway", ".mp4", "h264", "aac", 0),
    ],
)
def test_a_clip_decodes_to_what_was_asked_for(
    tmp_path: Path, name: str, suffix: str, video: str, audio: str | None, rate_hz: int
) -> None:
    path, shares = tmp_path / f"clip{suffix}", []
    render_clip(
        name,
        path,
        duration_s=4.5,
        seed=1,
        video_codec=video,  # type: ignore[arg-type]
        audio_codec=audio,  # type: ignore[arg-type]
        size=SMALL,
        progress=shares.append,
    )
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == (video, 320, 180)
        packets = [packet for packet in container.demux(stream) if packet.size]
    times_s = [float(packet.pts * packet.time_base) for packet in packets]
    np.testing.assert_allclose(times_s, np.arange(45) / 10, atol=0.002)  # in order: no B-frames
    assert [k for k, packet in enumerate(packets) if packet.is_keyframe] == [0, 20, 40]
    assert shares == pytest.approx([k / 4.5 for k in (1, 2, 3, 4)])
    assert list(tmp_path.iterdir()) == [path]
    with av.open(path) as container:
        assert len(container.streams.audio) == (1 if rate_hz else 0)
    if rate_hz:
        samples, rate = decode_sound(path)
        assert rate == rate_hz
        assert len(samples) / rate == pytest.approx(4.5, abs=0.15)
        assert float(samples.std()) > 0.005


def test_a_failed_rendering_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16:9"):
        render_clip("dock", tmp_path / "clip.mp4", duration_s=1, seed=1, size=(320, 240))
    with pytest.raises(ConfigError, match=r"clip\.mov"):
        render_clip("dock", tmp_path / "clip.mp4", duration_s=1, seed=1, audio_codec="pcm_mulaw")
    with pytest.raises(ConfigError, match="junction, walkway, dock, yard"):
        render_clip("harbour", tmp_path / "clip.mp4", duration_s=1, seed=1)

    def interrupt(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_clip("dock", tmp_path / "clip.mp4", duration_s=2, seed=1, size=SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "lasts_s", "times"),
    [
        pytest.param("junction", "wrong_way", 5.5, 1.5, id="wrong way"),
        pytest.param("walkway", "runner", 7.5, 1.15, id="runner"),
        pytest.param("walkway", "cyclist", 7.5, 1.2, id="cyclist"),
    ],
)
def test_a_fast_thing_is_faster_in_the_motion_vectors_than_all_that_is_usual(
    tmp_path: Path, name: str, kind: str, lasts_s: float, times: float
) -> None:
    path = tmp_path / "clip.mp4"
    event = ScriptedEvent(kind, 14.0, 14.0 + lasts_s)
    render_clip(name, path, duration_s=19.0, seed=2, events=[event], audio_codec=None)
    speeds = box_speeds(path)
    usual, unusual = speeds[:135], speeds[140:]
    assert unusual.max() > times * usual.max()


def test_a_crash_is_much_louder_than_the_dock_and_changes_nothing_in_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    render_clip("dock", path, duration_s=26, seed=3, events=[ScriptedEvent("crash", 20.0, 25.0)], size=SMALL)
    samples, rate = decode_sound(path)
    levels = np.array([samples[k * rate // 2 : (k + 1) * rate // 2].std() for k in range(50)])
    assert levels[40:47].max() > 3.0 * levels[:40].max()
    quiet, loud = make_scene("dock", seed=3, size=SMALL), make_scene("dock", seed=3, size=SMALL)
    loud.schedule([ScriptedEvent("crash", 1.0, 5.0)])
    np.testing.assert_array_equal(quiet.frame(2.0), loud.frame(2.0))


def test_the_yard_has_no_chroma_and_goes_dark_when_the_lights_go_out(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    render_clip("yard", path, duration_s=14, seed=4, events=[ScriptedEvent("lights_out", 4.0, 12.0)], size=SMALL)
    luma = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            planes = frame.reformat(format="yuv420p").to_ndarray()
            luma.append(float(planes[:180].mean()))
            assert (planes[180:] == 128).all()
    assert np.mean(luma[50:110]) < 0.5 * np.mean(luma[:38])
    assert np.mean(luma[125:]) == pytest.approx(np.mean(luma[:38]), rel=0.1)


def test_the_demo_script_starts_on_time_and_then_repeats_every_three_to_five_minutes() -> None:
    pages = [k * SCRIPT_PAGE_S for k in range(120)]
    starts = {}
    for name in SCENES:
        events = [event for at_s in pages for event in demo_script(name, at_s)]
        make_scene(name, seed=1, size=SMALL).schedule(events)
        starts[name] = np.array([event.start_s for event in events])
        gaps = np.diff(starts[name])
        assert len(gaps) >= 25
        assert gaps.min() >= 180
        assert gaps.max() <= 300
    firsts = sorted((float(times[0]), name) for name, times in starts.items())
    assert firsts[:2] == [(20.0, "dock"), (30.0, "junction")]
    assert [name for _, name in firsts[2:]] == ["walkway", "yard"]
