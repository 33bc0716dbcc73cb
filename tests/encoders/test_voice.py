"""Who speaks is found; engines, sirens and music are not somebody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from mmstream.encoders import voice
from mmstream.encoders.voice import PIECE, Voice, VoiceActivity
from mmstream.errors import ConfigError
from mmstream.types import Float32
from tests.encoders.sounds import RATE_HZ, read_sound

pytestmark = pytest.mark.usefixtures("one_thread")


def in_torch(samples: Float32) -> list[float]:
    """The published network, written down once more as its layers say: the control of the NumPy one."""
    weights = {name: torch.tensor(values) for name, values in voice._weights().items()}
    padded = torch.tensor(np.pad(samples, (64, -len(samples) % PIECE)))
    cell = torch.nn.LSTMCell(128, 128)
    cell.load_state_dict({name.removeprefix("lstm_cell."): w for name, w in weights.items() if "lstm" in name})
    state, found = (torch.zeros(1, 128), torch.zeros(1, 128)), []
    with torch.inference_mode():
        for start in range(0, len(padded) - 64, PIECE):
            piece = functional.pad(padded[None, None, start : start + 64 + PIECE], (0, 64), mode="reflect")
            both = functional.conv1d(piece, weights["stft_conv.weight"], stride=128)
            values = (both[:, :129] ** 2 + both[:, 129:] ** 2).sqrt()
            for layer, stride in enumerate((1, 2, 2, 1), start=1):
                weight, bias = weights[f"conv{layer}.weight"], weights[f"conv{layer}.bias"]
                values = functional.conv1d(values, weight, bias, stride=stride, padding=1).relu()
            state = cell(values[:, :, 0], state)
            last = functional.conv1d(
                state[0].relu()[:, :, None], weights["final_conv.weight"], weights["final_conv.bias"]
            )
            found.append(float(last.sigmoid()))
    return found


@pytest.mark.parametrize("num_samples", [1, PIECE, 5000, 70 * PIECE + 7])
def test_probabilities_are_those_of_the_published_network(num_samples: int):
    generator = np.random.default_rng(num_samples)
    samples = (0.2 * generator.standard_normal(num_samples)).astype(np.float32)
    found = VoiceActivity().probabilities(samples)
    assert found.shape == (-(-num_samples // PIECE),)
    np.testing.assert_allclose(found, in_torch(samples), atol=1e-4)


@pytest.mark.footage
def test_of_real_speech_too(footage: Path):
    samples = read_sound(footage / "speech" / "jfk.flac")[: 3 * RATE_HZ]
    np.testing.assert_allclose(VoiceActivity().probabilities(samples), in_torch(samples), atol=1e-3)


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros(0, np.float32), id="nothing"),
        pytest.param(np.zeros(2 * RATE_HZ, np.float32), id="silence"),
        pytest.param(np.full(2 * RATE_HZ, np.nan, np.float32), id="not numbers"),
        pytest.param(np.full(2 * RATE_HZ, np.inf, np.float32), id="no end"),
        pytest.param(np.random.default_rng(0).normal(0, 0.2, 2 * RATE_HZ).astype(np.float32), id="noise"),
        pytest.param((0.5 * np.sin(np.arange(2 * RATE_HZ) * 0.17)).astype(np.float32), id="a tone"),
        pytest.param(np.ones(2 * RATE_HZ, np.float32), id="a constant"),
    ],
)
def test_what_is_nobody_is_nobody(samples: Float32):
    assert VoiceActivity().listen(samples) == Voice(share=0.0, segments=())


def test_sound_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="want float32"):
        VoiceActivity().listen(np.zeros(10, np.int16))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"between 0\.15 and 1, got 2"):
        VoiceActivity(threshold=2)


def test_nothing_is_remembered_from_one_call_to_the_next():
    activity = VoiceActivity()
    first = np.random.default_rng(1).normal(0, 0.2, RATE_HZ).astype(np.float32)
    before = activity.probabilities(first)
    activity.probabilities(-first[::-1].copy())
    np.testing.assert_array_equal(activity.probabilities(first), before)


def test_segments_bridge_gaps_drop_clicks_and_stay_apart(monkeypatch: pytest.MonkeyPatch):
    shares = np.zeros(100, np.float32)
    shares[10:30] = 0.9
    shares[30:36] = 0.1  # 0.19 s: a breath
    shares[36:50] = 0.4  # goes on, though less sure
    shares[60:63] = 1.0  # 0.1 s: a click
    shares[80:100] = 0.8
    activity = VoiceActivity()
    monkeypatch.setattr(activity, "probabilities", lambda _: shares)
    spoken = activity.listen(np.zeros(100 * PIECE, np.float32))
    first, second = spoken.segments
    assert first == pytest.approx((10 * 0.032 - 0.1, 50 * 0.032 + 0.1))
    assert second == pytest.approx((80 * 0.032 - 0.1, 3.2))
    assert spoken.share == pytest.approx((first[1] - first[0] + second[1] - second[0]) / 3.2)


def test_without_its_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(voice.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"silero-vad, which is not installed; pip install 'mmstream\[models\]'"):
        VoiceActivity()


@pytest.mark.footage
@pytest.mark.parametrize("name", ["jfk.flac", "librivox"])
def test_every_window_of_real_speech_holds_speech(name: str, footage: Path):
    found = footage / "speech" / name
    activity = VoiceActivity()
    for path in sorted(found.glob("*.wav")) if found.is_dir() else [found]:
        samples = read_sound(path)
        starts = range(0, len(samples) - 2 * RATE_HZ, RATE_HZ)
        shares = [activity.listen(samples[start : start + 2 * RATE_HZ]).share for start in starts]
        assert min(shares) > 0.3, path
        assert activity.listen(samples).share > 0.7


@pytest.mark.footage
def test_no_window_of_the_city_holds_speech(footage: Path):
    activity = VoiceActivity()
    paths = sorted((footage / "audio").rglob("*.wav"))
    assert len(paths) == 12
    for path in paths:
        samples = read_sound(path)
        for start in range(0, max(1, len(samples) - RATE_HZ), RATE_HZ):
            window = np.zeros(2 * RATE_HZ, np.float32)
            heard = samples[start : start + 2 * RATE_HZ]
            window[: len(heard)] = heard
            assert activity.listen(window).share < 0.1, path
