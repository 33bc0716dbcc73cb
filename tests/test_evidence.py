from __future__ import annotations

import io
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmstream.evidence import PacketRing, cut_evidence
from mmstream.spectrogram import spectrogram_png
from mmstream.types import EvidenceRequest, Packet, StreamParameters
from tests.sources.material import EPOCH_S, read_packets, texture, tone, write_clip

VIDEO = StreamParameters(kind="video", codec="h264", time_base=(1, 90_000))
AUDIO = StreamParameters(kind="audio", codec="aac", time_base=(1, 16_000))


def make_packet(
    start_s: float, *, is_key: bool = False, size_bytes: int = 100, stream: StreamParameters = VIDEO
) -> Packet:
    return Packet(
        feed_id="cam",
        start_s=start_s,
        end_s=start_s + 0.1,
        is_key=is_key,
        size_bytes=size_bytes,
        stream=stream,
        payload=None,
    )


def make_ring(packets: list[Packet], *, max_bytes: int = 10**9, max_s: float = 1e9) -> PacketRing:
    ring = PacketRing(max_bytes=max_bytes, max_s=max_s)
    for packet in packets:
        ring.push(packet)
    return ring


def make_request(start_s: float, end_s: float, peak_s: float, *, spectrogram: bool = False) -> EvidenceRequest:
    return EvidenceRequest(
        feed_id="cam",
        alert_id="cam:1",
        start_s=start_s,
        end_s=end_s,
        peak_s=peak_s,
        spectrogram=spectrogram,
        final=True,
    )


def stream_of(count: int, *, gop: int = 10) -> list[Packet]:
    return [make_packet(number / 10, is_key=number % gop == 0) for number in range(count)]


def starts(packets: list[Packet]) -> list[float]:
    return [packet.start_s for packet in packets]


def test_a_cut_begins_at_the_key_frame_before_it_and_ends_where_asked() -> None:
    ring = make_ring(stream_of(50))
    assert starts(ring.packets_between(2.55, 3.25)) == [number / 10 for number in range(20, 33)]
    assert starts(ring.packets_between(-5.0, 0.2)) == [0.0, 0.1]
    assert ring.packets_between(-5.0, -1.0) == []
    assert ring.newest_s == pytest.approx(5.0)


def test_sound_travels_with_the_pictures_of_its_time() -> None:
    packets = sorted(
        [*stream_of(40), *(make_packet(number / 10 + 0.05, stream=AUDIO, is_key=True) for number in range(40))],
        key=lambda packet: packet.start_s,
    )
    cut = make_ring(packets).packets_between(1.0, 2.0)
    assert [packet.kind for packet in cut].count("audio") == 10
    assert [packet.kind for packet in cut].count("video") == 10


def test_a_full_ring_drops_whole_groups_oldest_first_and_counts_them() -> None:
    ring = make_ring(stream_of(35), max_bytes=2_500)
    assert starts(ring.packets_between(0.0, 9.0)) == [number / 10 for number in range(10, 35)]
    assert ring.num_dropped == 10
    assert ring.num_bytes == 2_500


def test_packets_older_than_the_ring_is_long_are_dropped_by_the_group() -> None:
    ring = make_ring(stream_of(100), max_s=2.0)
    kept = starts(ring.packets_between(0.0, 99.0))
    assert kept[0] == 8.0
    assert kept[-1] == 9.9


def test_a_group_too_large_for_the_ring_goes_whole_and_the_next_key_frame_starts_again() -> None:
    endless = [make_packet(0.0, is_key=True), *(make_packet(number / 10) for number in range(1, 50))]
    ring = make_ring(endless, max_bytes=2_000)
    assert ring.packets_between(0.0, 99.0) == []
    assert ring.num_dropped == 50
    ring.push(make_packet(5.0, is_key=True))
    ring.push(make_packet(5.1))
    assert starts(ring.packets_between(0.0, 99.0)) == [5.0, 5.1]


def test_a_microphone_alone_is_kept_too_and_bounded() -> None:
    ring = make_ring([make_packet(number / 10, stream=AUDIO, is_key=True) for number in range(300)], max_s=10.0)
    kept = starts(ring.packets_between(0.0, 99.0))
    assert kept[-1] == 29.9
    assert 10.0 <= 30.0 - kept[0] <= 13.0
    assert len(ring.packets_between(25.0, 26.0)) <= 31


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 900)), max_size=200),
    st.integers(500, 5_000),
)
def test_the_ring_never_holds_more_than_its_bytes_and_always_starts_decodable(
    kinds: list[tuple[bool, bool, int]], max_bytes: int
) -> None:
    ring = PacketRing(max_bytes=max_bytes, max_s=5.0)
    for number, (is_video, is_key, size) in enumerate(kinds):
        ring.push(make_packet(number / 10, is_key=is_key, size_bytes=size, stream=VIDEO if is_video else AUDIO))
        assert ring.num_bytes <= max_bytes
    kept = ring.packets_between(0.0, 1e9)
    assert sum(packet.size_bytes for packet in kept) == ring.num_bytes
    assert len(kept) + ring.num_dropped == len(kinds)
    pictures = [packet for packet in kept if packet.kind == "video"]
    assert not pictures or pictures[0].is_key


def test_one_thread_pushes_while_another_cuts() -> None:
    ring = PacketRing(max_bytes=50_000, max_s=1e9)
    packets = stream_of(20_000)
    done = threading.Event()

    def push() -> None:
        for packet in packets:
            ring.push(packet)
        done.set()

    writer = threading.Thread(target=push)
    writer.start()
    cuts = 0
    while not done.is_set() or cuts == 0:
        cut = ring.packets_between(ring.newest_s - 5.0, ring.newest_s)
        assert not cut or cut[0].is_key
        assert starts(cut) == sorted(starts(cut))
        cuts += 1
    writer.join()


@pytest.mark.parametrize(("max_bytes", "max_s"), [(0, 1.0), (1, 0.0)])
def test_a_ring_that_holds_nothing_is_a_mistake(max_bytes: int, max_s: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        PacketRing(max_bytes=max_bytes, max_s=max_s)


def test_evidence_is_a_clip_the_picture_at_the_peak_and_the_sound_as_a_picture(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", audio="aac", seconds=6, size_px=(1280, 720), step_px=16, tone_hz=2000.0)
    ring = make_ring(read_packets(source))
    request = make_request(EPOCH_S + 2.2, EPOCH_S + 5.0, EPOCH_S + 3.7, spectrogram=True)
    clip = cut_evidence(ring, request)
    assert clip is not None
    assert clip.start_s == pytest.approx(EPOCH_S + 2.0, abs=0.1)
    assert clip.end_s == pytest.approx(EPOCH_S + 5.0, abs=0.15)
    assert clip.mp4 is not None
    with av.open(io.BytesIO(clip.mp4)) as container:
        assert len(list(container.decode(video=0))) == 30
    assert clip.thumbnail_jpeg is not None
    thumbnail = Image.open(io.BytesIO(clip.thumbnail_jpeg))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (640, 360))
    small = np.asarray(thumbnail.convert("L").resize((160, 90)), float)
    errors = [
        np.abs(
            small - np.asarray(Image.fromarray(texture(1280, 720, 16 * number)).convert("L").resize((160, 90)))
        ).mean()
        for number in range(60)
    ]
    assert int(np.argmin(errors)) == 37
    assert clip.spectrogram_png is not None
    assert Image.open(io.BytesIO(clip.spectrogram_png)).format == "PNG"


def test_evidence_of_a_feed_without_sound_has_no_spectrogram_and_of_a_microphone_no_picture(tmp_path: Path) -> None:
    request = make_request(EPOCH_S, EPOCH_S + 2, EPOCH_S + 1, spectrogram=True)
    silent = cut_evidence(make_ring(read_packets(write_clip(tmp_path / "a.mp4"))), request)
    assert silent is not None
    assert silent.mp4
    assert silent.thumbnail_jpeg
    assert silent.spectrogram_png is None
    blind = cut_evidence(make_ring(read_packets(write_clip(tmp_path / "b.mp4", video="", audio="aac"))), request)
    assert blind is not None
    assert blind.mp4
    assert blind.thumbnail_jpeg is None
    assert blind.spectrogram_png


def test_evidence_of_a_time_that_the_ring_has_not_is_none(tmp_path: Path) -> None:
    ring = make_ring(read_packets(write_clip(tmp_path / "a.mp4")))
    assert cut_evidence(ring, make_request(EPOCH_S - 60, EPOCH_S - 50, EPOCH_S - 55)) is None
    assert cut_evidence(PacketRing(max_bytes=1, max_s=1), make_request(0, 1, 0.5)) is None


def test_a_spectrogram_shows_a_tone_at_its_height_and_its_time() -> None:
    samples = np.concatenate([np.zeros(32_000, np.float32), tone(2.0, 16_000, 6_000.0), np.zeros(32_000, np.float32)])
    png = spectrogram_png(samples, 16_000)
    assert png is not None
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)
    plot = pixels[12:212, 58:778]
    row, column = np.unravel_index(int(plot.argmax()), plot.shape)
    assert row == pytest.approx(200 * (1 - 6 / 8), abs=4)
    assert 235 < column < 485
    assert plot[:, :200].max() < 60


def test_silence_gives_a_dark_spectrogram_and_too_little_sound_none() -> None:
    png = spectrogram_png(np.zeros(16_000, np.float32), 16_000)
    assert png is not None
    plot = np.asarray(Image.open(io.BytesIO(png)).convert("L"))[14:210, 60:776]
    assert plot.max() < 40
    assert spectrogram_png(np.zeros(100, np.float32), 16_000) is None
