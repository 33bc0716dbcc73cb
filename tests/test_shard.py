"""A shard keeps its feeds apart, holds what fusion has not taken, and waits for recordings only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mmstream.config import EncoderSection, FeedConfig, SiteConfig
from mmstream.shard import FuseBatch, FuseReply, Shard
from mmstream.types import Embedding, EncodedWindow, EvidenceRequest, PictureSpec, Snapshot, TextSpan
from tests.rtsp.clips import make_clip

SPEC = PictureSpec(width_px=16, height_px=8, rate_hz=1.0)


class DictMedia:
    """A media store in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        self.files[key] = data

    def get(self, key: str) -> bytes | None:
        return self.files.get(key)

    def local_path(self, key: str) -> str | None:
        raise NotImplementedError(key)

    def delete(self, key: str) -> None:
        del self.files[key]

    def keys(self, prefix: str) -> Sequence[str]:
        return [key for key in self.files if key.startswith(prefix)]


class ListFuse:
    """Keeps what it is given; away for the first ``away`` calls."""

    def __init__(self, away: int = 0) -> None:
        self.batches: list[FuseBatch] = []
        self.begun: list[str] = []
        self.released: list[str] = []
        self.wanted: list[EvidenceRequest] = []
        self._away = away

    async def begin(self, feed_id: str) -> bool:
        self.begun.append(feed_id)
        return True

    async def push(self, batch: FuseBatch) -> FuseReply:
        if self._away > 0:
            self._away -= 1
            raise ConnectionError("fusion is being restarted")
        self.batches.append(batch)
        answered = {(done.alert_id, done.final) for done in batch.evidence}
        self.wanted = [request for request in self.wanted if (request.alert_id, request.final) not in answered]
        return FuseReply(wanted=self.wanted)

    async def release(self, feed_id: str) -> None:
        self.released.append(feed_id)

    @property
    def items(self) -> list[EncodedWindow | Embedding]:
        return [item for batch in self.batches for item in batch.items]


async def answer(snapshots: Sequence[Snapshot]) -> Sequence[Embedding] | None:
    return [
        Embedding(
            feed_id=snapshot.feed_id,
            start_s=snapshot.start_s,
            end_s=snapshot.end_s,
            channel="fake",
            vector=np.ones(2, np.float32),
            model="fake@1",
        )
        for snapshot in snapshots
    ]


def make_shard(
    fuse: ListFuse, encode: Callable[[Sequence[Snapshot]], Awaitable[Sequence[Embedding] | None]] = answer
) -> Shard:
    site = SiteConfig(encoders=EncoderSection(edge=("motion", "appearance", "sound"), replicas=()))
    return Shard(site, encoders={"fake": (SPEC, encode)}, fuse=fuse, media=DictMedia())


def run_to_the_end(shard: Shard, *feeds: FeedConfig, within_s: float = 30) -> None:
    async def drive() -> None:
        running = asyncio.create_task(shard.run())
        for feed in feeds:
            await shard.add(feed)
        async with asyncio.timeout(within_s):
            while not shard.drained:
                await asyncio.sleep(0.02)
        shard.stop()
        await running

    asyncio.run(drive())


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed-")]


def recording(folder: Path, name: str = "cam", seconds: float = 6.0) -> FeedConfig:
    return FeedConfig(id=name, url=str(make_clip(folder / f"{name}.mp4", seconds=seconds)))


def test_every_window_of_a_recording_reaches_fusion_complete_and_in_order(tmp_path: Path) -> None:
    fuse = ListFuse()
    run_to_the_end(make_shard(fuse), recording(tmp_path))
    windows = [item for item in fuse.items if isinstance(item, EncodedWindow)]
    assert [window.start_s for window in windows] == sorted(window.start_s for window in windows)
    assert len(windows) >= 5
    assert all(not window.pending for window in windows)
    assert sum(any(e.channel == "fake" for e in window.embeddings) for window in windows) >= 4
    assert feed_threads() == []


def test_a_recording_asks_again_when_the_encoder_is_away(tmp_path: Path) -> None:
    fuse, refused = ListFuse(), iter([True, True])

    async def sometimes(snapshots: Sequence[Snapshot]) -> Sequence[Embedding] | None:
        return None if next(refused, False) else await answer(snapshots)

    shard = make_shard(fuse, sometimes)
    run_to_the_end(shard, recording(tmp_path))
    windows = [item for item in fuse.items if isinstance(item, EncodedWindow)]
    assert sum(any(e.channel == "fake" for e in window.embeddings) for window in windows) >= 4
    assert shard.counters["chunks_dropped"] == 2


def test_an_encoder_that_never_answers_costs_its_channel_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmstream.shard.PATIENT_ATTEMPTS", 1)

    async def never(_: Sequence[Snapshot]) -> Sequence[Embedding] | None:
        return None

    fuse = ListFuse()
    run_to_the_end(make_shard(fuse, never), recording(tmp_path))
    windows = [item for item in fuse.items if isinstance(item, EncodedWindow)]
    assert len(windows) >= 5
    assert {e.channel for window in windows for e in window.embeddings} >= {"appearance", "sound"}


def test_what_fusion_could_not_take_is_held_and_given_again(tmp_path: Path) -> None:
    present, absent = ListFuse(), ListFuse(away=3)
    run_to_the_end(make_shard(present), recording(tmp_path))
    shard = make_shard(absent)
    run_to_the_end(shard, recording(tmp_path))
    assert shard.counters["fuse_retries"] == 3
    starts = [[item.start_s for item in fuse.items if isinstance(item, EncodedWindow)] for fuse in (present, absent)]
    assert starts[0] == starts[1]


def test_a_damaged_recording_fails_with_a_sentence_and_its_neighbour_is_read(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 50)
    fuse = ListFuse()
    shard = make_shard(fuse)
    run_to_the_end(shard, FeedConfig(id="bad", url=str(tmp_path / "bad.mp4")), recording(tmp_path))
    statuses = shard.statuses()
    assert statuses["bad"]["state"] == "failed"
    assert statuses["bad"]["sentence"].startswith("bad: ")
    assert statuses["cam"]["state"] == "ended"
    assert {item.feed_id for item in fuse.items} == {"cam"}


def test_history_is_learned_first_marked_as_such_and_placed_before_now(tmp_path: Path) -> None:
    feed = recording(tmp_path).model_copy(update={"history": (str(make_clip(tmp_path / "old.mp4", seconds=4)),)})
    fuse = ListFuse()
    run_to_the_end(make_shard(fuse), feed)
    flags = [item.history for item in fuse.items if isinstance(item, EncodedWindow)]
    assert flags[0] is True
    assert flags[-1] is False
    assert flags == sorted(flags, reverse=True)


def test_a_recording_to_learn_from_that_cannot_be_read_does_not_keep_the_camera_from_being_watched(
    tmp_path: Path,
) -> None:
    feed = recording(tmp_path).model_copy(update={"history": (str(tmp_path / "nothing.mp4"),)})
    fuse = ListFuse()
    shard = make_shard(fuse)
    run_to_the_end(shard, feed)
    assert shard.statuses()["cam"]["counters"]["history_failed"] == 1
    assert len(fuse.items) >= 5


def test_a_feed_is_added_twice_changed_and_removed_without_touching_its_neighbour(tmp_path: Path) -> None:
    fuse = ListFuse()
    shard = make_shard(fuse)
    steady = recording(tmp_path, "steady").model_copy(update={"loop": True})
    moving = recording(tmp_path, "moving").model_copy(update={"loop": True})

    async def drive() -> None:
        running = asyncio.create_task(shard.run())
        await shard.add(steady, 1)
        await shard.add(moving, 1)
        await shard.add(moving, 1)
        assert shard.num_threads == 2
        await shard.add(moving, 2)
        assert shard.feeds() == {"steady": 1, "moving": 2}
        await shard.remove("moving")
        assert shard.feeds() == {"steady": 1}
        assert fuse.released == ["moving"]
        async with asyncio.timeout(10):
            while shard.num_threads > 1 or shard.statuses()["steady"]["counters"]["windows"] < 1:
                await asyncio.sleep(0.02)
        shard.stop()
        await running

    asyncio.run(drive())


def test_pushed_words_join_the_windows_of_their_feed() -> None:
    fuse = ListFuse()
    site = SiteConfig(encoders=EncoderSection(edge=("words",), replicas=()))
    shard = Shard(site, encoders={}, fuse=fuse, media=DictMedia())

    async def drive() -> None:
        running = asyncio.create_task(shard.run())
        await shard.add(FeedConfig(id="reports", url="push:"))
        for at_s in (time.time() - 9.0, time.time() - 4.0):
            span = TextSpan(feed_id="reports", start_s=at_s, end_s=at_s, text="smoke at gate 3", origin="pushed")
            assert shard.inject(span)
        assert not shard.inject(TextSpan(feed_id="else", start_s=1, end_s=1, text="x", origin="pushed"))
        async with asyncio.timeout(10):
            while not fuse.items:
                await asyncio.sleep(0.02)
        shard.stop()
        await running

    asyncio.run(drive())
    first = fuse.items[0]
    assert isinstance(first, EncodedWindow)
    assert [embedding.text for embedding in first.embeddings] == ["smoke at gate 3"]


def test_a_wanted_clip_is_cut_from_the_ring_and_reported(tmp_path: Path) -> None:
    fuse = ListFuse()
    media = DictMedia()
    site = SiteConfig(encoders=EncoderSection(edge=("appearance",), replicas=()))
    shard = Shard(site, encoders={}, fuse=fuse, media=media)
    feed = recording(tmp_path, seconds=8)
    request = EvidenceRequest(
        feed_id="cam", alert_id="cam:2000", start_s=1.0, end_s=6.0, peak_s=3.0, spectrogram=True, final=False
    )
    fuse.wanted = [request]
    run_to_the_end(shard, feed)
    done = [done for batch in fuse.batches for done in batch.evidence]
    assert done[0].clip == "alerts/cam_2000/first.mp4"
    assert media.files[done[0].clip][4:8] == b"ftyp"
    assert media.files[done[0].thumbnail][:2] == b"\xff\xd8"
    assert media.files[done[0].spectrogram][:4] == b"\x89PNG"
