"""The frame on an alert's picture, and the band on its spectrogram."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmstream.evidence import cut_evidence
from mmstream.spectrogram import spectrogram_png
from mmstream.thumbnail import INNER, framed
from tests.sources.material import EPOCH_S, read_packets, write_clip
from tests.test_evidence import make_request, make_ring


def make_jpeg(shade: int, width_px: int = 640, height_px: int = 360) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (shade, shade, shade)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def pixels(picture: bytes) -> npt.NDArray[np.float64]:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def yellow(picture: bytes) -> npt.NDArray[np.bool_]:
    return np.abs(pixels(picture) - INNER).max(axis=-1) < 60


@pytest.mark.parametrize("shade", [0, 128, 255, 200])
def test_the_frame_stands_out_from_black_and_from_white_and_leaves_the_inside_alone(shade: int) -> None:
    jpeg = make_jpeg(shade)
    marked = framed(jpeg, (0.5, 0.25, 0.75, 0.5))
    rows, cols = np.nonzero(yellow(marked))
    assert (cols.min() / 640, rows.min() / 360) == pytest.approx((0.5, 0.25), abs=0.02)
    assert (cols.max() / 640, rows.max() / 360) == pytest.approx((0.75, 0.5), abs=0.02)
    changed = np.abs(pixels(marked) - pixels(jpeg)).max(axis=-1)
    assert changed[110:170, 340:460].max() < 12
    beside = changed[80:190, 308:320].max(axis=1)
    assert (beside > 100).mean() > 0.8, "the line must be seen on every ground"


unit = st.floats(-0.2, 1.2)


@given(unit, unit, unit, unit, st.sampled_from([(640, 360), (64, 36), (90, 640)]))
def test_any_region_is_framed_within_the_picture(
    left: float, top: float, right: float, bottom: float, size: tuple[int, int]
) -> None:
    region = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    marked = framed(make_jpeg(40, *size), region)
    assert pixels(marked).shape == (size[1], size[0], 3)


def test_the_whole_picture_needs_no_frame() -> None:
    jpeg = make_jpeg(90)
    assert framed(jpeg, (0.0, 0.0, 1.0, 1.0)) == jpeg


def test_the_evidence_of_an_alert_is_framed_where_it_happened(tmp_path: Path) -> None:
    ring = make_ring(read_packets(write_clip(tmp_path / "a.mp4", seconds=4, size_px=(640, 360))))
    request = make_request(EPOCH_S, EPOCH_S + 3, EPOCH_S + 2)
    plain, marked = cut_evidence(ring, request), cut_evidence(ring, dataclasses.replace(request, region=(0, 0, 0.3, 1)))
    assert plain is not None
    assert marked is not None
    assert plain.thumbnail_jpeg is not None
    assert marked.thumbnail_jpeg is not None
    assert yellow(plain.thumbnail_jpeg).mean() < 0.001
    assert yellow(marked.thumbnail_jpeg)[:, :220].sum() > 1000
    assert not yellow(marked.thumbnail_jpeg)[:, 220:].any()


def test_the_band_is_marked_on_the_spectrogram_at_its_height() -> None:
    silence = np.zeros(32_000, np.float32)
    png = spectrogram_png(silence, 16_000, band_hz=(2000.0, 4000.0))
    assert png is not None
    rows, cols = np.nonzero(yellow(png))
    assert cols.min() < 70
    assert (rows.min(), rows.max()) == (12 + 100, 12 + 150)
