"""Pictures of the past: bounded, thinned with age, found again by time."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmstream import moments
from mmstream.errors import StoreError
from mmstream.moments import (
    GRID,
    MAX_BYTES,
    MAX_PICTURES,
    MomentArchive,
    kept_with_alert,
    nearest_ms,
    shrunk,
    thinned,
)
from mmstream.storage.media import FolderMediaStore
from mmstream.types import Alert, NormalMoment

NOW_S = 1_700_000_000.0


def make_jpeg(width_px: int = 640, height_px: int = 360, *, noise: int = 20) -> bytes:
    random = np.random.default_rng(3)
    rows, cols = np.mgrid[:height_px, :width_px]
    scene = 120 + 60 * np.sin(rows / 30) * np.cos(cols / 50)
    colours = scene[..., None] + random.integers(-noise, noise + 1, (height_px, width_px, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


JPEG = make_jpeg(64, 36)


def files(media: FolderMediaStore) -> list[int]:
    return moments.times_ms(media.keys(moments.folder("cam")))


@pytest.fixture
def media(tmp_path: Path) -> FolderMediaStore:
    return FolderMediaStore(tmp_path)


def test_awake_a_picture_is_due_every_ten_seconds_asleep_every_minute(media: FolderMediaStore) -> None:
    archive = MomentArchive("cam", media)
    assert archive.due(NOW_S, awake=True)
    archive.push(NOW_S, JPEG)
    assert not archive.due(NOW_S + 9.9, awake=True)
    assert archive.due(NOW_S + 10.0, awake=True)
    assert not archive.due(NOW_S + 59.0, awake=False)
    assert archive.due(NOW_S + 60.0, awake=False)
    assert archive.due(NOW_S - 500.0, awake=True), "a clock that was set back must not end the pictures"


def test_eight_days_leave_few_pictures_dense_at_the_end(
    media: FolderMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "shrunk", lambda jpeg: jpeg)
    kept: dict[str, bytes] = {}
    monkeypatch.setattr(FolderMediaStore, "put", lambda _, key, data: kept.__setitem__(key, data))
    monkeypatch.setattr(FolderMediaStore, "delete", lambda _, key: kept.pop(key))
    archive = MomentArchive("cam", media)
    asleep = [NOW_S + 60.0 * number for number in range(8 * 1440)]
    awake = [asleep[-1] + 10.0 * number for number in range(1, 1000)]
    for at_s in asleep + awake:
        archive.push(at_s, b"picture")
        assert len(kept) <= MAX_PICTURES
    times_s = [at_ms / 1000 for at_ms in moments.times_ms(kept)]
    assert len(times_s) >= 600
    assert sum(awake[-1] - time_s < 3600 for time_s in times_s) >= 350
    assert 6.8 * 86_400 < awake[-1] - times_s[0] < 7.1 * 86_400


def test_a_new_archive_goes_on_thinning_what_an_older_one_wrote(media: FolderMediaStore) -> None:
    first = MomentArchive("cam", media)
    for number in range(40):
        first.push(NOW_S + 10.0 * number, JPEG)
    second = MomentArchive("cam", media)
    second.push(NOW_S + 3 * 86_400, JPEG)
    kept = files(media)
    assert len(kept) == 2, "of seven minutes three days ago one picture is enough"
    assert kept[-1] == round((NOW_S + 3 * 86_400) * 1000)


def test_the_same_recording_played_again_overwrites_its_pictures(media: FolderMediaStore) -> None:
    for _ in range(2):
        archive = MomentArchive("cam", media)
        for number in range(5):
            archive.push(10.0 * number, JPEG)
    assert len(files(media)) == 5


@pytest.mark.parametrize("noise", [0, 20, 120])
@pytest.mark.parametrize("size", [(640, 360), (320, 640), (64, 36), (1920, 1080)])
def test_every_picture_is_small_in_size_and_bytes(size: tuple[int, int], noise: int) -> None:
    small = shrunk(make_jpeg(*size, noise=noise))
    assert len(small) <= MAX_BYTES
    with Image.open(io.BytesIO(small)) as image:
        assert max(image.size) <= 320
        assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.05)


times = st.lists(st.integers(-(10**10), 10**10), max_size=200, unique=True).map(sorted)


@given(times, st.floats(-1e7, 1e7))
def test_thinning_twice_is_thinning_once(kept_ms: list[int], now_s: float) -> None:
    once = thinned(kept_ms, now_s)
    assert set(once) <= set(kept_ms)
    assert thinned(once, now_s) == once


@given(times.filter(bool), st.floats(-1e7, 1e7))
def test_the_nearest_picture_is_the_nearest(kept_ms: list[int], at_s: float) -> None:
    best = min(kept_ms, key=lambda at_ms: abs(at_ms - at_s * 1000))
    found = nearest_ms(kept_ms, at_s, within_s=50.0)
    if abs(best - at_s * 1000) > 50_000:
        assert found is None
    else:
        assert found is not None
        assert abs(found - at_s * 1000) == abs(best - at_s * 1000)


def test_a_full_grid_stays_within_the_bound_of_files_and_bytes() -> None:
    from_s = [0.0, *(up_to_s for up_to_s, _ in GRID)]
    count = sum((up_to_s - since_s) / every_s for since_s, (up_to_s, every_s) in zip(from_s, GRID, strict=False))
    assert count + 1 <= MAX_PICTURES
    assert MAX_PICTURES * MAX_BYTES <= 8 * 2**20


def test_a_picture_costs_less_than_half_a_millisecond_per_second_of_the_camera() -> None:
    jpeg = make_jpeg()
    shrunk(jpeg)
    spent = []
    for _ in range(5):
        started = time.thread_time()
        shrunk(jpeg)
        spent.append(time.thread_time() - started)
    assert min(spent) / GRID[0][1] < 0.5e-3


def make_alert(*moments: NormalMoment) -> Alert:
    return Alert(
        alert_id="cam:1700000000000",
        feed_id="cam",
        start_s=NOW_S,
        end_s=NOW_S + 2,
        state="open",
        severity="alert",
        surprise=4.0,
        peak_s=NOW_S + 1,
        expected_every_s=1e5,
        shares={"picture": 1.0},
        normal=moments,
    )


def test_the_pictures_of_an_alert_outlive_the_thinning_and_name_their_copies(media: FolderMediaStore) -> None:
    archive = MomentArchive("cam", media)
    archive.push(NOW_S - 600.0, JPEG)
    source = moments.key("cam", round((NOW_S - 600.0) * 1000))
    alert = make_alert(
        NormalMoment(at_s=NOW_S - 601.0, channel="motion", picture=source),
        NormalMoment(at_s=NOW_S - 900.0, channel="motion", picture=moments.key("cam", 5)),
        NormalMoment(at_s=NOW_S - 950.0, channel="motion"),
    )
    kept = kept_with_alert(alert, media)
    copy = kept.normal[0].picture
    assert copy == "alerts/cam_1700000000000/normal-1699999400000.jpg"
    assert [moment.picture for moment in kept.normal[1:]] == ["", ""], "a picture that is gone is not promised"
    media.delete(source)
    assert kept_with_alert(alert, media) == kept, "the alert goes on, or is judged again after a crash"
    assert kept_with_alert(kept, media) == kept
    assert media.get(copy)


def test_no_alert_waits_for_a_picture_that_cannot_be_written(
    media: FolderMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    MomentArchive("cam", media).push(NOW_S, JPEG)

    def refuse(_: FolderMediaStore, key: str, data: bytes) -> None:
        raise StoreError(f"cannot write {key}: the disk is full of {len(data)} bytes")

    monkeypatch.setattr(FolderMediaStore, "put", refuse)
    moment = NormalMoment(at_s=NOW_S, channel="motion", picture=moments.key("cam", round(NOW_S * 1000)))
    assert kept_with_alert(make_alert(moment), media).normal[0].picture == ""
