"""What was around an alert is kept as footage, whole, beside what is recorded by the minute."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mmstream.alert_footage import AROUND_PEAK_S, keep_alert_footage
from mmstream.config import EncoderSection, FeedConfig, GateSection, SiteConfig
from mmstream.errors import StoreError
from mmstream.evidence import PacketRing
from mmstream.shard import Shard
from mmstream.sources.media import MediaSource
from mmstream.training.footage import Burst
from mmstream.training.footage_chunks import chunk_keys, key, read_bursts
from mmstream.training.footage_files import ALERT_SHARE, FootageFiles
from mmstream.types import EvidenceRequest, Packet
from tests.rtsp.clips import make_clip
from tests.test_shard import DictMedia, ListFuse, run_to_the_end
from tests.training.test_footage_files import ALL, MemoryMedia, small_burst

SECONDS = 60
GATE = GateSection()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=SECONDS)


@pytest.fixture(scope="module")
def ring(clip: Path) -> PacketRing:
    ring = PacketRing(max_bytes=10**9, max_s=1e9)
    for item in MediaSource(FeedConfig(id="cam", url=str(clip)), epoch_s=1000.0):
        if isinstance(item, Packet):
            ring.push(item)
    return ring


def request_at(peak_s: float, *, final: bool = True) -> EvidenceRequest:
    return EvidenceRequest(
        feed_id="cam",
        alert_id="cam:1030000",
        start_s=peak_s - 10,
        end_s=peak_s + 10,
        peak_s=peak_s,
        spectrogram=False,
        final=final,
    )


def files_in(media: MemoryMedia, *, max_bytes: int = 10**9) -> FootageFiles:
    return FootageFiles("cam", media, max_bytes=max_bytes, keep_s=1e9)


def kept_in(media: MemoryMedia | DictMedia) -> list[Burst]:
    return list(read_bursts(media, "cam", *ALL))


def test_the_half_minute_around_the_peak_is_kept_without_a_gap_with_pictures_sound_and_motion(
    ring: PacketRing,
) -> None:
    media = MemoryMedia()
    background = np.full((144, 240), 60, np.uint8)
    num_kept = keep_alert_footage(ring, request_at(1030.0), files_in(media), gate=GATE, background=background)
    bursts = kept_in(media)
    assert len(bursts) == num_kept >= 5
    assert np.diff([burst.start_s for burst in bursts]).tolist() == [4.0] * (len(bursts) - 1)
    assert bursts[0].start_s <= 1030 - AROUND_PEAK_S + 4
    assert bursts[-1].end_s >= 1030 + AROUND_PEAK_S - 4
    for glimpse in (glimpse for burst in bursts for glimpse in burst.glimpses):
        assert glimpse.picture is not None
        assert glimpse.mel is not None
        bar = np.flatnonzero(glimpse.picture[56, :, 1] > 140)
        assert abs(bar.mean() / 112 - (glimpse.start_s - 1000 + 1.3) / SECONDS) < 0.06
    # the background is the feed's, in which the bar stands nowhere
    assert all(np.abs(sample.background.astype(int) - 60).max() < 60 for burst in bursts for sample in burst.motion)
    assert sum(len(burst.motion) for burst in bursts) >= 2 * len(bursts)


def test_an_alert_that_is_told_again_overwrites_its_footage(ring: PacketRing) -> None:
    media = MemoryMedia()
    for _ in range(2):
        keep_alert_footage(ring, request_at(1030.0), files_in(media), gate=GATE, background=None)
    names = chunk_keys(media, "cam")
    assert len(names) == 1
    assert names[0].endswith("-alert.npz")


def test_an_alert_whose_packets_have_gone_or_a_full_disk_costs_nothing_but_the_footage(ring: PacketRing) -> None:
    media = MemoryMedia()
    files = files_in(media)
    assert keep_alert_footage(ring, request_at(9000.0), files, gate=GATE, background=None) == 0
    media.steps_left = 0
    assert keep_alert_footage(ring, request_at(1030.0), files, gate=GATE, background=None) == 0
    assert media.files == {}


def test_footage_of_alerts_is_not_thinned_while_the_rest_is_and_has_a_bound_of_its_own() -> None:
    media = MemoryMedia()
    max_bytes = 60_000
    files = files_in(media, max_bytes=max_bytes)
    of_alert = [small_burst(100.0), small_burst(104.0)]
    files.push_alert(of_alert)
    for minute in range(100):
        files.push(small_burst(minute * 60.0))
        assert media.size_bytes == files.size_bytes <= max_bytes
    assert files.counters["footage_thinned"] > 0
    assert {100.0, 104.0} < {burst.start_s for burst in kept_in(media)}
    for number in range(20):
        files.push_alert([small_burst(10_000.0 + 100 * number)])
        assert media.size_bytes == files.size_bytes <= max_bytes
    alerts = [name for name in chunk_keys(media, "cam") if name.endswith("-alert.npz")]
    assert sum(len(media.files[name]) for name in alerts) <= ALERT_SHARE * max_bytes
    assert alerts[-1] == key("cam", 11_900.0, of_alert=True)
    assert alerts[0] != key("cam", 100.0, of_alert=True)


def test_what_the_minute_and_the_alert_both_have_comes_in_order() -> None:
    media = MemoryMedia()
    files = files_in(media)
    for start_s in (540.0, 600.0):
        files.push(small_burst(start_s))
    files.push_alert([small_burst(start_s) for start_s in (592.0, 596.0, 600.0, 604.0)])
    assert [burst.start_s for burst in kept_in(media)] == [540.0, 592.0, 596.0, 600.0, 604.0]
    assert [burst.start_s for burst in read_bursts(media, "cam", 600.0, 1e9)] == [600.0, 604.0]


@pytest.mark.parametrize("final", [False, True])
def test_a_shard_keeps_footage_of_an_alert_when_that_has_closed(clip: Path, final: bool) -> None:
    media, fuse = DictMedia(), ListFuse()
    site = SiteConfig(encoders=EncoderSection(edge=("appearance",), replicas=()))
    fuse.wanted = [request_at(30.0, final=final)]
    run_to_the_end(Shard(site, encoders={}, fuse=fuse, media=media), FeedConfig(id="cam", url=str(clip)))
    starts = [burst.start_s for burst in kept_in(media)]
    assert [at_s for at_s in starts if abs(at_s - 30) < AROUND_PEAK_S + 4] == ([*starts[1:]] if final else [])
    assert len(starts) >= (6 if final else 1)


def test_a_full_disk_does_not_take_the_clip_of_an_alert_away(clip: Path) -> None:
    class NoRoomForFootage(DictMedia):
        def put(self, key: str, data: bytes) -> None:
            if "footage" in key:
                raise StoreError(f"cannot write {key}: no space left for {len(data)} bytes")
            super().put(key, data)

    media, fuse = NoRoomForFootage(), ListFuse()
    site = SiteConfig(encoders=EncoderSection(edge=("appearance",), replicas=()))
    fuse.wanted = [dataclasses.replace(request_at(30.0), alert_id="cam:30000")]
    shard = Shard(site, encoders={}, fuse=fuse, media=media)
    run_to_the_end(shard, FeedConfig(id="cam", url=str(clip)))
    (done,) = [done for batch in fuse.batches for done in batch.evidence]
    assert done.clip in media.files
    assert shard.counters["clips_failed"] == 0
