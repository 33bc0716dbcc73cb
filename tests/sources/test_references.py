"""Motion vectors say "past" or "future"; which picture that is decides how fast things were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmstream.sources.references import MAX_KNOWN, References, is_reference
from mmstream.types import Packet, StreamParameters
from tests.sources.material import read_packets, write_clip
from tests.sources.test_decode import frames_of, make_decoder, run

KEY, DELIMITER, MESSAGE, KEPT_SLICE, DROPPED_SLICE = b"\x65", b"\x09\xf0", b"\x06\x05\x01\x00", b"\x41\x9a", b"\x01\x9e"
AVCC = b"\x01\x64\x00\x1f\xff"


def make_packet(
    at_s: float, payload: bytes, *, codec: str = "h264", extradata: bytes = b"", is_key: bool = False
) -> Packet:
    stream = StreamParameters(kind="video", codec=codec, time_base=(1, 90_000), extradata=extradata)
    return Packet(
        feed_id="cam",
        start_s=at_s,
        end_s=at_s,
        is_key=is_key,
        size_bytes=len(payload),
        stream=stream,
        payload=payload,
    )


def with_start_codes(*units: bytes) -> bytes:
    return b"".join(b"\x00\x00\x00\x01" + unit for unit in units)


def with_lengths(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


@pytest.mark.parametrize(("pack", "extradata"), [(with_start_codes, b""), (with_lengths, AVCC)])
def test_h264_says_in_the_slices_header_whether_a_picture_is_kept_for_reference(pack, extradata) -> None:  # type: ignore[no-untyped-def]
    kept = make_packet(0.0, pack(DELIMITER, MESSAGE, KEPT_SLICE), extradata=extradata)
    dropped = make_packet(0.0, pack(DELIMITER, MESSAGE, DROPPED_SLICE), extradata=extradata)
    assert is_reference(kept)
    assert not is_reference(dropped)
    assert is_reference(make_packet(0.0, pack(DELIMITER), extradata=extradata)), "no slice found: taken as kept"


def test_in_mpeg4_only_b_pictures_are_not_kept() -> None:
    start = b"\x00\x00\x01\xb6"
    kinds = {0: True, 1: True, 2: False, 3: True}
    for kind, kept in kinds.items():
        assert is_reference(make_packet(0.0, start + bytes([kind << 6]), codec="mpeg4")) is kept


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x00\x01", b"\xff" * 2000])
@pytest.mark.parametrize("codec", ["h264", "mpeg4", "hevc"])
def test_garbage_counts_as_kept(payload: bytes, codec: str) -> None:
    assert is_reference(make_packet(0.0, payload, codec=codec))
    assert is_reference(make_packet(0.0, payload, codec=codec, extradata=AVCC))


def test_with_a_pyramid_of_b_pictures_the_nearest_kept_ones_are_meant() -> None:
    """Shown: I0 b1 B2 b3 P4; decoded: I0 P4 B2 b1 b3."""
    references = References()
    kept, dropped = with_start_codes(KEPT_SLICE), with_start_codes(DROPPED_SLICE)
    references.note(make_packet(0.0, with_start_codes(KEY), is_key=True))
    for at_s, payload in ((0.4, kept), (0.2, kept), (0.1, dropped), (0.3, dropped)):
        references.note(make_packet(at_s, payload))
    assert references.distances_s(0.0) == (None, None)
    assert references.distances_s(0.4) == (pytest.approx(0.4), None)
    assert references.distances_s(0.2) == (pytest.approx(0.2), pytest.approx(0.2))
    assert references.distances_s(0.1) == (pytest.approx(0.1), pytest.approx(0.1))
    assert references.distances_s(0.3) == (pytest.approx(0.1), pytest.approx(0.1))
    assert references.distances_s(0.9) == (None, None), "a picture whose packet is not known"


def test_memory_is_bounded() -> None:
    references = References()
    for number in range(10 * MAX_KNOWN):
        references.note(make_packet(number / 10, b""))
    assert len(references._coded) == MAX_KNOWN


@pytest.mark.parametrize("video", ["h264", "h264_b", "h264_pyramid", "h264_flat"])
def test_the_speed_of_a_steady_motion_is_the_same_in_every_picture_whatever_its_kind(
    tmp_path: Path, video: str
) -> None:
    """B pictures used to show half of it or a third: their vectors into the future were left out, and the past ones
    divided by the time since the last P picture."""
    clip = write_clip(tmp_path / "a.mp4", video=video, seconds=2, step_px=4)
    packets = read_packets(clip)
    frames = frames_of(run(make_decoder(analysed_fps=30.0), packets))
    speeds = [float(np.median(frame.motion[..., 0])) for frame in frames[3:] if frame.motion is not None]
    assert len(speeds) == len(frames) - 3
    np.testing.assert_allclose(speeds, 1000 * 4 / 320, rtol=0.15)
    reordered = [p.start_s for p in packets] != sorted(p.start_s for p in packets)
    assert reordered is (video != "h264")
