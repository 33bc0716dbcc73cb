"""What the recorder keeps of a feed, when, and that neither a sleeping camera nor a full disk troubles the watching."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmstream.config import EncoderSection, FeedConfig, GateSection, SiteConfig, TrainingSection
from mmstream.encoders.expectation_input import MOVING, samples_of
from mmstream.encoders.footage_mel import footage_mel
from mmstream.errors import StoreError
from mmstream.feed_stages import FeedStages
from mmstream.recording import FOOTAGE, MAX_WAIT_S, SPEC, YOUNG_BURSTS, FootageRecorder
from mmstream.shard import Shard
from mmstream.training.footage import BURST_WINDOWS, Burst
from mmstream.training.footage_chunks import read_bursts
from mmstream.types import Float32, Frame, Window
from tests.encoders.street import SLOW, Thing, make_frame
from tests.rtsp.clips import make_clip
from tests.sources.material import read_packets, write_clip
from tests.test_shard import DictMedia, ListFuse, run_to_the_end

FPS = 2


class Camera:
    """Windows of a drawn street as a decoder would give them: a picture a second when the recorder wants one."""

    def __init__(self, recorder: FootageRecorder, *, walks: bool = True, pictures: bool = True, sound: bool = True):
        self.recorder, self.walks, self.pictures, self.sound = recorder, walks, pictures, sound
        self.frames: dict[float, Frame] = {}
        self.num_pictures = 0

    def frame(self, at_s: float) -> Frame:
        things = (Thing(kind="walker", x=(at_s * 6) % 96, speed=SLOW),) if self.walks else ()
        frame = make_frame(at_s, *things)
        if self.recorder.wants and self.pictures and at_s == round(at_s):
            self.num_pictures += 1
            picture = np.full(SPEC.shape, round(at_s) % 200, np.uint8)
            return dataclasses.replace(frame, pictures={FOOTAGE: picture})
        return frame

    def watch(self, from_s: int, to_s: int) -> None:
        """Windows that begin in ``[from_s, to_s)``; a window closes when all of it has been decoded."""
        for start_s in range(from_s, to_s):
            for number in range(2 * FPS):
                at_s = start_s + number / FPS
                if at_s not in self.frames:
                    self.frames[at_s] = self.frame(at_s)
            inside = [frame for at_s, frame in sorted(self.frames.items()) if start_s <= at_s < start_s + 2]
            self.frames = {at_s: frame for at_s, frame in self.frames.items() if at_s >= start_s}
            samples = sound_at(start_s) if self.sound else np.zeros(0, np.float32)
            self.recorder.push(
                Window(
                    feed_id="cam",
                    start_s=float(start_s),
                    end_s=start_s + 2.0,
                    frames=tuple(inside),
                    samples=samples,
                    sample_rate_hz=16_000 if self.sound else 0,
                )
            )


def sound_at(start_s: int) -> Float32:
    return np.random.default_rng(start_s).normal(0, 0.1, 32_000).astype(np.float32)


def watched(seconds: int, **how: bool) -> tuple[list[Burst], Camera]:
    bursts: list[Burst] = []
    camera = Camera(FootageRecorder("cam", bursts.append), **how)
    camera.watch(0, seconds)
    return bursts, camera


def test_a_burst_is_four_windows_in_a_row_each_with_its_own_newest_picture_and_the_mel_of_its_sound() -> None:
    bursts, _ = watched(10)
    glimpses = bursts[0].glimpses
    assert [glimpse.start_s for glimpse in glimpses] == [0.0, 1.0, 2.0, 3.0]
    assert [glimpse.end_s for glimpse in glimpses] == [2.0, 3.0, 4.0, 5.0]
    for glimpse in glimpses:
        assert glimpse.picture is not None
        assert glimpse.picture.shape == (112, 112, 3)
        assert glimpse.picture[0, 0, 0] == glimpse.start_s + 1
        assert glimpse.mel is not None
        np.testing.assert_array_equal(glimpse.mel, footage_mel(sound_at(round(glimpse.start_s))))


def test_the_moving_pictures_of_a_burst_are_what_the_expectation_net_would_be_given() -> None:
    bursts, _ = watched(200)
    street = Camera(FootageRecorder("cam", lambda _: None), pictures=False)
    expected = {sample.at_s: sample for sample in samples_of(street.frame(number / FPS) for number in range(200 * FPS))}
    kept = [sample for burst in bursts for sample in burst.motion]
    assert len(kept) >= 4 * len(bursts)
    for sample in kept:
        np.testing.assert_array_equal(sample.luma, expected[sample.at_s].luma)
        np.testing.assert_array_equal(sample.background, expected[sample.at_s].background)
        np.testing.assert_array_equal(sample.speeds, expected[sample.at_s].speeds)
        assert sample.speeds.max() > MOVING


def test_an_hour_of_a_busy_camera_gives_a_burst_a_minute_and_more_than_a_hundred_moving_pictures() -> None:
    bursts, camera = watched(3600, sound=False)
    starts = np.array([burst.start_s for burst in bursts])
    assert 55 <= len(bursts) <= 60
    assert np.diff(starts).max() <= 65
    assert sum(len(burst.motion) for burst in bursts) > 200
    assert camera.num_pictures < 0.15 * 3600  # pictures are made for bursts alone


def test_where_nothing_moves_bursts_are_rare_once_the_camera_is_known() -> None:
    bursts, _ = watched(4200, walks=False, sound=False)
    starts = [burst.start_s for burst in bursts]
    assert np.diff(starts[:YOUNG_BURSTS]).max() <= 65
    assert np.diff(starts[YOUNG_BURSTS - 1 :]).min() >= 600
    assert starts[-1] > 4200 - 700
    assert not any(burst.motion for burst in bursts)


def test_a_camera_in_which_something_begins_to_move_is_recorded_often_again() -> None:
    bursts, camera = watched(2400, walks=False, sound=False)
    num_before = len(bursts)
    camera.walks = True
    camera.watch(2400, 3600)
    assert len(bursts) - num_before >= 17


def test_a_feed_without_pictures_gives_no_bursts_and_is_not_asked_for_pictures_without_end() -> None:
    bursts, camera = watched(600, pictures=False)
    assert not bursts
    asked = 0
    for start_s in range(600, 1800):
        camera.watch(start_s, start_s + 1)
        asked += camera.recorder.wants
    assert asked <= 1200 / 60 * (MAX_WAIT_S + 3)


def test_a_mute_feed_gives_bursts_without_mels() -> None:
    bursts, _ = watched(10, sound=False)
    assert [glimpse.mel for glimpse in bursts[0].glimpses] == [None] * BURST_WINDOWS


def test_windows_that_are_missing_end_a_burst_and_the_next_one_is_whole() -> None:
    bursts: list[Burst] = []
    camera = Camera(FootageRecorder("cam", bursts.append))
    camera.watch(0, 2)
    camera.watch(10, 20)
    assert [glimpse.start_s for glimpse in bursts[0].glimpses] == [10.0, 11.0, 12.0, 13.0]
    assert all(sample.at_s >= 10 for sample in bursts[0].motion)


def test_a_recording_that_is_played_again_gives_the_same_bursts_again() -> None:
    bursts, camera = watched(300)
    first = [burst.start_s for burst in bursts]
    camera.frames.clear()
    camera.watch(0, 300)
    again = [burst.start_s for burst in bursts[len(first) :]]
    assert len(again) >= len(first) - 1
    assert again[0] < 10


def test_a_full_disk_is_counted_and_recording_goes_on_when_there_is_room_again() -> None:
    kept: list[Burst] = []
    full = iter([True, True])

    def keep(burst: Burst) -> None:
        if next(full, False):
            raise StoreError("cannot write: no space left")
        kept.append(burst)

    recorder = FootageRecorder("cam", keep)
    Camera(recorder).watch(0, 300)
    assert recorder.counters == {"footage_bursts": len(kept), "footage_failed": 2}
    assert len(kept) >= 2


# -- in a feed, with a decoder -----------------------------------------------------------------------

SECONDS = 14


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=SECONDS)


def shard_of(media: DictMedia, **training: bool) -> Shard:
    site = SiteConfig(
        encoders=EncoderSection(edge=("appearance",), replicas=()), training=TrainingSection.model_validate(training)
    )
    return Shard(site, encoders={}, fuse=ListFuse(), media=media, now=lambda: 5000.0)


def footage_in(media: DictMedia) -> Iterator[Burst]:
    return read_bursts(media, "cam", float("-inf"), float("inf"))


def test_a_feed_leaves_bursts_with_pictures_sound_and_motion_and_counts_them(clip: Path) -> None:
    media = DictMedia()
    shard = shard_of(media)
    run_to_the_end(shard, FeedConfig(id="cam", url=str(clip)))
    burst = next(footage_in(media))
    counters = shard.statuses()["cam"]["counters"]
    assert (counters["footage_bursts"], counters["footage_failed"], counters["footage_thinned"]) == (1, 0, 0)
    for glimpse in burst.glimpses:
        assert glimpse.picture is not None
        bar = np.flatnonzero(glimpse.picture[56, :, 1] > 140)
        # the bar goes through the picture once; its newest picture is of the second half of the window
        assert abs(bar.mean() / 112 - (glimpse.start_s + 1.3) / SECONDS) < 0.08
        assert glimpse.mel is not None
        loudest = glimpse.mel.mean(axis=1).argmax()
        assert 8 <= loudest <= 12  # 440 Hz
    assert len(burst.motion) >= 3
    assert all(sample.luma.shape == (144, 240) for sample in burst.motion)


def test_history_is_not_recorded(clip: Path) -> None:
    media = DictMedia()
    run_to_the_end(shard_of(media), FeedConfig(id="cam", url=str(clip), history=(str(clip),)))
    assert {burst.start_s < 100 for burst in footage_in(media)} == {True}


def test_nothing_is_recorded_when_the_site_does_not_learn(clip: Path) -> None:
    media = DictMedia()
    shard = shard_of(media, enabled=False)
    run_to_the_end(shard, FeedConfig(id="cam", url=str(clip)))
    assert not [name for name in media.files if "footage" in name]
    assert "footage_bursts" not in shard.statuses()["cam"]["counters"]


def test_a_full_disk_costs_the_footage_and_not_the_feed(clip: Path) -> None:
    class FullDisk(DictMedia):
        def put(self, key: str, data: bytes) -> None:
            raise StoreError(f"cannot write {key}: no space left for {len(data)} bytes")

    shard = shard_of(FullDisk())
    run_to_the_end(shard, FeedConfig(id="cam", url=str(clip)))
    counters = shard.statuses()["cam"]["counters"]
    assert (counters["footage_bursts"], counters["footage_failed"], counters["crashes"]) == (0, 1, 0)
    assert counters["windows"] >= SECONDS - 3


def test_a_sleeping_camera_gives_rare_bursts_of_the_key_frames_that_are_decoded_anyway(tmp_path: Path) -> None:
    still = write_clip(tmp_path / "still.mp4", seconds=120, fps=5, step_px=0)
    bursts: list[Burst] = []
    recorder = FootageRecorder("cam", bursts.append, busy_every_s=30, idle_every_s=30)
    stages = FeedStages("cam", gate=GateSection(learn_s=10, hold_s=1), gated=True, live=True, pictures={FOOTAGE: SPEC})
    for packet in read_packets(still):
        for window in stages.push(packet):
            recorder.push(window)
            stages.decoder.want(FOOTAGE, wanted=recorder.wants)
    gate = stages.gate.counters
    assert gate["asleep_s"] > 80
    assert gate["packets_decoded"] < 0.6 * gate["packets_seen"]
    assert len(bursts) == 4
    for burst in bursts:
        assert any(glimpse.picture is not None for glimpse in burst.glimpses)
        assert not burst.motion


def test_the_decoder_makes_pictures_for_the_footage_only_while_a_burst_is_taken(tmp_path: Path) -> None:
    stages = FeedStages("cam", gate=GateSection(), gated=False, live=False, pictures={FOOTAGE: SPEC})
    recorder = FootageRecorder("cam", lambda _: None, busy_every_s=20)
    windows: list[Window] = []
    for packet in read_packets(write_clip(tmp_path / "clip.mp4", seconds=30)):
        for window in stages.push(packet):
            windows.append(window)
            recorder.push(window)
            stages.decoder.want(FOOTAGE, wanted=recorder.wants)
    pictured = [any(FOOTAGE in frame.pictures for frame in window.frames) for window in windows]
    assert all(pictured[:BURST_WINDOWS])
    assert not any(pictured[9:20])
    assert sum(pictured[20:26]) >= BURST_WINDOWS
