"""Footage comes back as it was seen, stays within its bound, reaches back, and survives damage and sudden ends."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.alert_footage import bursts_in
from mmstream.config import GateSection
from mmstream.errors import StageError, StoreError
from mmstream.storage.media import FolderMediaStore
from mmstream.training.footage import BURST_WINDOWS, MEL_BANDS, MEL_FRAMES, PICTURE_PX, Burst, Glimpse, MotionSample
from mmstream.training.footage_bytes import (
    MEL_STEP,
    SPEED_STEP,
    PackedBurst,
    bursts_of,
    chunk_of,
    packed,
    unpacked,
)
from mmstream.training.footage_chunks import CHUNK_S, burst_starts, chunk_keys, folder, key, read_bursts
from mmstream.training.footage_files import DAY_S, FootageFiles, prune_footage
from tests.sources.material import read_packets, write_clip

ALL = (float("-inf"), float("inf"))
BLURRED = 6
"""Levels a JPEG of a smooth picture may be off."""


class MemoryMedia:
    """A media store in memory that can refuse to go on."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.steps_left = 10**9

    def _step(self) -> None:
        if self.steps_left == 0:
            raise StoreError("the disk has gone")
        self.steps_left -= 1

    def put(self, key: str, data: bytes) -> None:
        self._step()
        self.files[key] = data

    def get(self, key: str) -> bytes | None:
        return self.files.get(key)

    def local_path(self, key: str) -> str | None:  # noqa: ARG002 (nothing is on a disk)
        return None

    def delete(self, key: str) -> None:
        self._step()
        self.files.pop(key, None)

    def keys(self, prefix: str) -> Sequence[str]:
        return sorted(key for key in self.files if key.startswith(prefix))

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.files.values()))


def smooth(height: int, width: int, phase: float) -> np.ndarray:
    rows, cols = np.mgrid[0:height, 0:width]
    return (128 + 80 * np.sin(rows / 17 + phase) * np.cos(cols / 23)).astype(np.uint8)


def make_burst(start_s: float, *, num_samples: int = 1, noise: bool = False) -> Burst:
    rng = np.random.default_rng(round(start_s * 10) % 2**32)
    mel = rng.uniform(-23, 0, (MEL_BANDS, MEL_FRAMES)).astype(np.float32) if noise else None
    picture = np.stack([smooth(PICTURE_PX, PICTURE_PX, start_s + channel) for channel in range(3)], axis=-1)
    glimpses = tuple(
        Glimpse(start_s=start_s + n, end_s=start_s + n + 2, picture=picture if n != 2 else None, mel=mel)
        for n in range(BURST_WINDOWS)
    )
    motion = tuple(
        MotionSample(
            at_s=start_s + n,
            luma=smooth(134, 240, start_s),
            background=smooth(134, 240, 0.0),
            speeds=rng.uniform(0, 12, (34, 60)).astype(np.float32),
        )
        for n in range(num_samples)
    )
    return Burst(feed_id="cam", glimpses=glimpses, motion=motion)


@functools.cache
def small_burst(start_s: float) -> Burst:
    """One that is quick to make."""
    picture = np.full((8, 8, 3), round(start_s) % 250, np.uint8)
    glimpses = tuple(Glimpse(start_s=start_s + n, end_s=start_s + n + 2, picture=picture) for n in range(BURST_WINDOWS))
    return Burst(feed_id="cam", glimpses=glimpses)


def push_all(files: FootageFiles, starts: Sequence[float]) -> None:
    for start_s in starts:
        files.push(small_burst(start_s))


def make_files(media: MemoryMedia | FolderMediaStore, *, max_bytes: int = 10**9, keep_s: float = DAY_S) -> FootageFiles:
    return FootageFiles("cam", media, max_bytes=max_bytes, keep_s=keep_s)


def starts_in(media: MemoryMedia | FolderMediaStore, from_s: float = ALL[0], to_s: float = ALL[1]) -> list[float]:
    return [burst.start_s for burst in read_bursts(media, "cam", from_s, to_s)]


# -- what comes back ---------------------------------------------------------------------------------


def test_a_burst_comes_back_with_pictures_mels_and_speeds_as_near_as_their_coding_allows(tmp_path: Path) -> None:
    media = FolderMediaStore(tmp_path)
    burst = make_burst(1_700_000_000.0, num_samples=2, noise=True)
    make_files(media).push(burst)
    (back,) = read_bursts(media, "cam", *ALL)
    assert back.feed_id == "cam"
    for was, is_now in zip(burst.glimpses, back.glimpses, strict=True):
        assert (was.start_s, was.end_s) == (is_now.start_s, is_now.end_s)
        assert (was.picture is None) == (is_now.picture is None)
        if was.picture is not None and is_now.picture is not None:
            assert np.abs(was.picture.astype(int) - is_now.picture).mean() < BLURRED
        assert was.mel is not None
        assert is_now.mel is not None
        assert is_now.mel.dtype == np.float32
        assert np.abs(was.mel - is_now.mel).max() <= 0.51 * MEL_STEP
    for shown, kept in zip(burst.motion, back.motion, strict=True):
        assert shown.at_s == kept.at_s
        assert np.abs(shown.luma.astype(int) - kept.luma).mean() < BLURRED
        assert np.abs(shown.background.astype(int) - kept.background).mean() < BLURRED
        assert np.abs(shown.speeds - kept.speeds).max() <= 0.51 * SPEED_STEP


def test_what_a_camera_showed_and_sounded_comes_back_from_the_files(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", audio="aac", seconds=6.5)
    (burst,) = bursts_in("cam", read_packets(clip), gate=GateSection())
    make_files(media := FolderMediaStore(tmp_path / "media")).push(burst)
    (back,) = read_bursts(media, "cam", *ALL)
    assert len(back.motion) == len(burst.motion) >= 3
    for was, is_now in zip(burst.glimpses, back.glimpses, strict=True):
        assert was.picture is not None
        assert is_now.picture is not None
        assert was.mel is not None
        assert is_now.mel is not None
        assert np.corrcoef(was.picture.ravel(), is_now.picture.ravel())[0, 1] > 0.97
        assert was.mel.std() > 1.0
        assert np.abs(was.mel - is_now.mel).max() <= 0.51 * MEL_STEP
    for shown, kept in zip(burst.motion, back.motion, strict=True):
        assert np.corrcoef(shown.luma.ravel(), kept.luma.ravel())[0, 1] > 0.97
        assert np.abs(shown.speeds - kept.speeds).max() <= 0.51 * SPEED_STEP


def test_mels_and_speeds_that_come_back_are_kept_again_without_any_further_loss() -> None:
    once = unpacked("cam", packed(make_burst(5.0, noise=True)))
    twice = unpacked("cam", packed(once))
    for first, second in zip(once.glimpses, twice.glimpses, strict=True):
        np.testing.assert_array_equal(first.mel, second.mel)
    np.testing.assert_array_equal(once.motion[0].speeds, twice.motion[0].speeds)


def test_silence_and_the_loudest_sound_are_within_the_range_of_the_steps() -> None:
    mel = np.array([[np.log(1e-10), np.log(1.7)] * 48] * 64, np.float32)
    burst = Burst(feed_id="cam", glimpses=(Glimpse(start_s=0.0, end_s=2.0, mel=mel),))
    back = unpacked("cam", packed(burst)).glimpses[0].mel
    assert back is not None
    assert np.abs(back - mel).max() <= 0.51 * MEL_STEP


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=60, unique=True), st.data())
def test_any_interval_gives_the_bursts_that_begin_in_it_in_order(at: list[int], data: st.DataObject) -> None:
    media = MemoryMedia()
    files = make_files(media)
    for start_s in sorted(at):
        files.push(small_burst(float(start_s)))
    from_s, to_s = sorted(data.draw(st.tuples(st.integers(-10, 20_010), st.integers(-10, 20_010))))
    assert starts_in(media, from_s, to_s) == [float(start_s) for start_s in sorted(at) if from_s <= start_s < to_s]
    assert burst_starts(media, "cam") == sorted(map(float, at))


def test_a_file_holds_ten_minutes_and_one_at_a_time_is_read() -> None:
    media = MemoryMedia()
    files = make_files(media)
    for minute in range(60):
        files.push(small_burst(minute * 60.0))
    assert chunk_keys(media, "cam") == [key("cam", n * CHUNK_S) for n in range(6)]
    reading = read_bursts(media, "cam", *ALL)
    next(reading)
    for name in list(media.files):
        del media.files[name]
    assert len(list(reading)) == 9  # the rest of the file that was open


# -- bounds ------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    st.lists(st.floats(5.0, 900.0), min_size=30, max_size=80),
    st.integers(15_000, 60_000),
)
def test_the_files_never_take_more_than_their_bound_and_reach_back_to_the_first_burst(
    steps_s: list[float], max_bytes: int
) -> None:
    media = MemoryMedia()
    files = make_files(media, max_bytes=max_bytes)
    pushed = np.cumsum(steps_s).tolist()
    for start_s in pushed:
        files.push(small_burst(start_s))
        assert media.size_bytes == files.size_bytes <= max_bytes
    kept = starts_in(media)
    assert len(kept) + files.counters["footage_thinned"] == len(pushed)
    assert (kept[0], kept[-1]) == (pushed[0], pushed[-1])
    if files.counters["footage_thinned"]:
        assert np.diff(kept).max() <= max(3 * (pushed[-1] - pushed[0]) / len(kept), 2 * max(steps_s))


def test_three_days_of_a_busy_camera_are_thinned_evenly() -> None:
    media = MemoryMedia()
    files = make_files(media, max_bytes=150_000, keep_s=3 * DAY_S)
    for minute in range(3 * 24 * 12):
        files.push(small_burst(minute * 300.0))
    days, _ = np.histogram(starts_in(media), bins=3, range=(0, 3 * DAY_S))
    assert days.sum() > 30
    assert days.min() >= 0.7 * days.max()


def test_what_is_older_than_the_days_that_are_kept_goes() -> None:
    media = MemoryMedia()
    files = make_files(media, keep_s=3600.0)
    for minute in range(240):
        files.push(small_burst(minute * 60.0))
    assert starts_in(media)[0] == pytest.approx(239 * 60 - 3600, abs=CHUNK_S)


def test_footage_of_the_future_goes_when_the_clock_has_been_set_back() -> None:
    media = MemoryMedia()
    files = make_files(media, keep_s=3600.0)
    files.push(small_burst(1_000_000.0))
    files.push(small_burst(100.0))
    assert starts_in(media) == [100.0]


def test_a_bound_too_small_for_two_bursts_keeps_none_rather_than_break_it() -> None:
    media = MemoryMedia()
    files = make_files(media, max_bytes=10)
    files.push(small_burst(0.0))
    files.push(small_burst(60.0))
    assert media.files == {}
    with pytest.raises(ValueError, match="max_bytes"):
        make_files(media, max_bytes=0)


# -- restarts, damage, sudden ends ----------------------------------------------------------------------


def test_after_a_restart_recording_goes_on_within_the_same_bound() -> None:
    media = MemoryMedia()
    first = make_files(media, max_bytes=40_000)
    for minute in range(30):
        first.push(small_burst(minute * 60.0))
    second = make_files(media, max_bytes=40_000)
    for minute in range(30, 90):
        second.push(small_burst(minute * 60.0))
        assert media.size_bytes == second.size_bytes <= 40_000
    assert (starts_in(media)[0], starts_in(media)[-1]) == (0.0, 89 * 60.0)


def test_a_recording_that_is_played_again_overwrites_its_footage() -> None:
    media = MemoryMedia()
    for _ in range(2):
        files = make_files(media)
        for minute in range(25):
            files.push(small_burst(minute * 60.0))
    looped = make_files(media)
    for minute in [*range(25), *range(25)]:
        looped.push(small_burst(minute * 60.0))
    assert starts_in(media) == [minute * 60.0 for minute in range(25)]
    assert len(media.files) == 3


def test_bursts_of_the_same_ten_minutes_in_two_files_come_in_order_and_once() -> None:
    media = MemoryMedia()
    for starts in ([0.0, 120.0, 240.0], [60.0, 180.0, 240.0]):
        files = make_files(media)  # each a start of the program
        for start_s in starts:
            files.push(small_burst(start_s))
    assert len(media.files) == 2
    assert starts_in(media) == [0.0, 60.0, 120.0, 180.0, 240.0]


@given(st.integers(0, 150))
@settings(max_examples=25)
def test_whatever_step_is_the_last_one_the_files_can_be_read_and_the_next_run_mends_the_bound(steps: int) -> None:
    media = MemoryMedia()
    media.steps_left = steps
    files = make_files(media, max_bytes=20_000)
    pushed = [minute * 60.0 for minute in range(200)]
    with pytest.raises(StoreError):
        push_all(files, pushed)
    media.steps_left = 10**9
    assert list(read_bursts(media, "cam", *ALL, on_damaged=pytest.fail)) is not None
    again = make_files(media, max_bytes=20_000)
    again.push(small_burst(3e5))
    assert media.size_bytes <= 20_000
    assert starts_in(media)[-1] == 3e5


def test_a_burst_that_could_not_be_written_does_not_come_with_a_later_one() -> None:
    media = MemoryMedia()
    files = make_files(media)
    files.push(small_burst(0.0))
    media.steps_left = 0
    with pytest.raises(StoreError):
        files.push(small_burst(60.0))
    media.steps_left = 10
    files.push(small_burst(120.0))
    assert starts_in(media) == [0.0, 120.0]


def test_a_damaged_file_is_left_out_logged_once_and_gone_when_its_time_has_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    media = MemoryMedia()
    files = make_files(media)
    for minute in range(40):
        files.push(small_burst(minute * 60.0))
    for name in (key("cam", 600.0), key("cam", 1200.0)):
        media.files[name] = media.files[name][:-200]
    with caplog.at_level(logging.WARNING):
        assert starts_in(media) == [minute * 60.0 for minute in [*range(10), *range(30, 40)]]
    assert len(caplog.records) == 1
    told: list[str] = []
    assert len(list(read_bursts(media, "cam", *ALL, on_damaged=told.append))) == 20
    assert len(told) == 2
    again = make_files(media, keep_s=3600.0)
    again.push(small_burst(2400.0))
    assert again.counters["footage_damaged"] == 2
    again.push(small_burst(10_000.0))
    assert starts_in(media) == [10_000.0]
    assert len(media.files) == 1


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_flipped_byte_is_taken_for_footage_of_something_else(place: int, flip: int) -> None:
    chunk = bytearray(chunk_of([packed(small_burst(0.0)), packed(small_burst(60.0))]))
    chunk[place % len(chunk)] ^= flip
    try:
        found = bursts_of(bytes(chunk))
    except StageError:
        return
    # not every byte of a zip's directory matters
    assert [unpacked("cam", burst).start_s for burst in found] == [0.0, 60.0]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_what_is_no_footage_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(StageError, match="damaged and left out"):
        bursts_of(content)


def test_a_burst_whose_picture_is_damaged_is_refused_in_a_sentence() -> None:
    burst = packed(small_burst(0.0))
    with pytest.raises(StageError, match="damaged"):
        unpacked("cam", PackedBurst(index=burst.index, blob=b"\x00" * len(burst.blob)))


# -- the site's media ------------------------------------------------------------------------------------


def test_pruning_takes_the_footage_of_removed_feeds_and_of_cameras_that_are_away_and_nothing_else(
    tmp_path: Path,
) -> None:
    media = FolderMediaStore(tmp_path)
    now_s = 1_700_000_000.0
    for feed_id, start_s in (("here", now_s - 60), ("away", now_s - 4 * DAY_S), ("gone", now_s), ("file", 60.0)):
        FootageFiles(feed_id, media, max_bytes=10**9, keep_s=DAY_S).push(small_burst(start_s))
    others = ["feeds/gone/last.jpg", "feeds/gone/moments/5.jpg", "alerts/gone_5/first.mp4", "feeds/gone/footage/a.txt"]
    for name in others:
        media.put(name, b"kept")
    assert prune_footage(media, {"here", "away", "file"}, now_s=now_s, keep_days=3) == 2
    left = [name for name in media.keys("") if name.endswith(".npz")]
    assert left == [key("file", 60.0), key("here", now_s - 60)]
    assert set(others) <= set(media.keys(""))


def test_the_files_are_for_the_owner_only_and_below_the_folder_of_their_feed(tmp_path: Path) -> None:
    media = FolderMediaStore(tmp_path / "media")
    make_files(media).push(small_burst(60.0))
    (name,) = media.keys("")
    assert name == f"{folder('cam')}60000.npz"
    assert os.stat(tmp_path / "media").st_mode & 0o077 == 0
