"""A sound as a picture that a guard can read: time to the right, kHz upwards, loudness as brightness."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mmstream.types import Float32, UInt8

_FFT = 512
_RANGE_DB = 70.0
_QUIET_DB = 0.0  # silence stays dark instead of being stretched to full brightness
_WIDTH_PX, _HEIGHT_PX = 720, 200
_LEFT_PX, _TOP_PX, _RIGHT_PX, _BOTTOM_PX = 58, 12, 14, 34
_BACKGROUND, _TEXT, _LINE = (15, 18, 24), (198, 206, 218), (70, 78, 92)
_MARK, _BAND = (255, 255, 255), (255, 214, 10)
_COLOURS = np.array(
    [(10, 12, 20), (42, 26, 84), (112, 36, 120), (190, 58, 96), (240, 122, 60), (252, 232, 160)], np.float64
)
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)


def spectrogram_png(
    samples: Float32, rate_hz: int, *, mark_s: float | None = None, band_hz: tuple[float, float] | None = None
) -> bytes | None:
    """-> PNG of (n,) mono ``samples``; None when there is less than one analysis window.

    Short-time Fourier transform, Hann window of 512 samples, 70 dB below the loudest point, linear
    frequency. ``mark_s``: seconds from the start, drawn as a line (the moment of the alert);
    ``band_hz``: lowest and highest of what was unusual, drawn as two lines and a bar at the right.
    """
    if len(samples) < _FFT:
        return None
    plot = _plot(_decibels(samples))
    image = Image.new("RGB", (_LEFT_PX + _WIDTH_PX + _RIGHT_PX, _TOP_PX + _HEIGHT_PX + _BOTTOM_PX), _BACKGROUND)
    image.paste(Image.fromarray(plot), (_LEFT_PX, _TOP_PX))
    draw = ImageDraw.Draw(image)
    _draw_axes(draw, len(samples) / rate_hz, rate_hz / 2000, mark_s)
    if band_hz is not None:
        _draw_band(draw, band_hz, rate_hz / 2)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _decibels(samples: Float32) -> npt.NDArray[np.float64]:
    """(bins, columns): as many columns as the plot is wide; each the loudest moment it stands for."""
    window = np.hanning(_FFT).astype(np.float32)
    begins = np.linspace(0, len(samples) - _FFT, _WIDTH_PX + 1).astype(np.intp)
    columns = np.empty((_FFT // 2 + 1, _WIDTH_PX))
    for column in range(_WIDTH_PX):
        starts = np.arange(begins[column], max(begins[column] + 1, begins[column + 1]), _FFT // 2)
        pieces = samples[starts[:, None] + np.arange(_FFT)] * window
        columns[:, column] = (np.abs(np.fft.rfft(pieces, axis=1)) ** 2).max(axis=0)
    decibels: npt.NDArray[np.float64] = 10 * np.log10(columns + 1e-10)
    return decibels


def _plot(decibels: npt.NDArray[np.float64]) -> UInt8:
    """(height, width, 3), highest frequency on top."""
    level = np.clip((decibels - max(decibels.max(), _QUIET_DB)) / _RANGE_DB + 1, 0, 1)
    rows = np.linspace(level.shape[0] - 1, 0, _HEIGHT_PX).round().astype(np.intp)
    place = np.linspace(0, 1, len(_COLOURS))
    colours = [np.interp(level[rows], place, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(colours, axis=-1).astype(np.uint8)


def _draw_axes(draw: ImageDraw.ImageDraw, seconds: float, top_khz: float, mark_s: float | None) -> None:
    font = ImageFont.load_default(size=13)
    bottom, right = _TOP_PX + _HEIGHT_PX, _LEFT_PX + _WIDTH_PX
    draw.rectangle((_LEFT_PX - 1, _TOP_PX - 1, right, bottom), outline=_LINE)
    step_khz = next(step for step in (1, 2, 5, 10, 50) if top_khz / step <= 5)
    for khz in range(0, int(top_khz) + 1, step_khz):
        y = bottom - round(khz / top_khz * _HEIGHT_PX)
        draw.line((_LEFT_PX - 5, y, _LEFT_PX - 1, y), fill=_TEXT)
        draw.text((_LEFT_PX - 9, y), f"{khz} kHz", fill=_TEXT, font=font, anchor="rm")
    step_s = next((step for step in _STEPS_S if seconds / step <= 10), _STEPS_S[-1])
    for at in range(0, int(seconds) + 1, step_s):
        x = _LEFT_PX + round(at / seconds * _WIDTH_PX)
        draw.line((x, bottom, x, bottom + 4), fill=_TEXT)
        draw.text((x, bottom + 8), f"{at} s", fill=_TEXT, font=font, anchor="mt")
    if mark_s is not None and 0 <= mark_s <= seconds:
        x = _LEFT_PX + round(mark_s / seconds * _WIDTH_PX)
        draw.line((x, _TOP_PX, x, bottom - 1), fill=_MARK)


def _draw_band(draw: ImageDraw.ImageDraw, band_hz: tuple[float, float], top_hz: float) -> None:
    low_y, high_y = (_TOP_PX + _HEIGHT_PX - round(min(1.0, hz / top_hz) * _HEIGHT_PX) for hz in band_hz)
    right = _LEFT_PX + _WIDTH_PX
    for y in (low_y, high_y):
        for x in range(_LEFT_PX, right, 12):
            draw.line((x, y, x + 5, y), fill=_BAND)
    draw.rectangle((right + 3, high_y, right + 8, low_y), fill=_BAND)
