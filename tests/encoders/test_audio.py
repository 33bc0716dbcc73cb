"""CLAP and AST through the real loading code, and their spectrograms beside those of the real extractors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from mmstream.encoders.audio import AstEncoder, ClapEncoder
from mmstream.encoders.log_mel import AstLogMel, ClapLogMel
from mmstream.encoders.resampling import Resampler
from mmstream.types import Float32
from tests.encoders.tiny import change_settings, make_ast, make_clap, make_inputs

RATE_HZ = 16_000


def make_sounds(seconds: float, rate_hz: int) -> Float32:
    """(5, n): noise, a loud tone over a little noise, clicks in silence, silence, speech-like bursts."""
    num = round(seconds * rate_hz)
    random = np.random.default_rng(3)
    at_s = np.arange(num) / rate_hz
    noise = random.normal(0, 0.1, num)
    tone = 0.9 * np.sin(2 * np.pi * 440 * at_s) + random.normal(0, 1e-4, num)
    clicks = np.zeros(num)
    clicks[:: rate_hz // 7] = 1.0
    bursts = noise * (np.sin(2 * np.pi * 4 * at_s) > 0)
    return np.stack([noise, tone, clicks, np.zeros(num), bursts]).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.0, 6.5])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("fusion", [False, True])
def test_claps_spectrogram_is_that_of_its_own_extractor(seconds: float, padding: str, fusion: bool):
    extractor = transformers.ClapFeatureExtractor(
        feature_size=32,
        max_length_s=5,
        truncation="fusion" if fusion else "rand_trunc",
        padding=padding,
        frequency_min=50,
    )
    sounds = make_sounds(seconds, 48_000)
    ours = ClapLogMel(extractor.to_dict(), torch.device("cpu"))(torch.tensor(sounds)).numpy()
    cut = sounds[:, : 5 * 48_000]  # the extractor would pick a random piece of a longer sound
    theirs = np.stack(extractor(list(cut), sampling_rate=48_000)["input_features"])
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("normalise", [False, True])
def test_asts_spectrogram_is_that_of_its_own_extractor(seconds: float, normalise: bool):
    extractor = transformers.ASTFeatureExtractor(max_length=256, num_mel_bins=32, do_normalize=normalise)
    sounds = make_sounds(seconds, RATE_HZ)
    ours = AstLogMel(extractor.to_dict(), torch.device("cpu"))(torch.tensor(sounds)).numpy()
    theirs = np.stack(extractor(list(sounds), sampling_rate=RATE_HZ)["input_values"])
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("fusion", [False, True])
def test_clap_hears_what_transformers_itself_hears(tmp_path: Path, fusion: bool):
    make_clap(tmp_path, fusion=fusion)
    encoder = ClapEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    sounds = make_sounds(2.0, RATE_HZ)
    resampled = Resampler(RATE_HZ, 48_000)(torch.tensor(sounds)).numpy()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    inputs = extractor(list(resampled), sampling_rate=48_000, return_tensors="pt")
    inputs["is_longer"] = torch.zeros(len(sounds), 1, dtype=torch.bool)  # the extractor says so of a random one
    model = transformers.ClapModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        theirs = functional.normalize(model.get_audio_features(**inputs).pooler_output).numpy()
    np.testing.assert_allclose(encoder.encode(sounds), theirs, atol=1e-4)
    assert encoder.model.startswith("clap@")


def test_ast_hears_what_transformers_itself_hears(tmp_path: Path):
    make_ast(tmp_path)
    encoder = AstEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    sounds = make_sounds(2.0, RATE_HZ)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    model = transformers.ASTModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        inputs = extractor(list(sounds), sampling_rate=RATE_HZ, return_tensors="pt")
        theirs = functional.normalize(model(**inputs).pooler_output).numpy()
    np.testing.assert_allclose(encoder.encode(sounds), theirs, atol=1e-4)
    alone = np.concatenate([encoder.encode(sound[None]) for sound in sounds])
    np.testing.assert_allclose(encoder.encode(sounds), alone, atol=1e-5)


def test_the_extractor_settings_of_the_folder_are_honoured(tmp_path: Path):
    make_ast(tmp_path)
    plain = AstEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    change_settings(tmp_path / "preprocessor_config.json", mean=-1.0, std=2.0)
    changed = AstEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    sounds = make_inputs(plain.wants, 2)
    assert np.abs(plain.encode(sounds) - changed.encode(sounds)).max() > 1e-3
    assert plain.model != changed.model


def test_sound_at_another_rate_is_the_same_sound():
    rates: list[tuple[int, int]] = [(16_000, 48_000), (16_000, 32_000), (16_000, 44_100), (16_000, 8_000)]
    for from_hz, to_hz in rates:
        resampler = Resampler(from_hz, to_hz)
        for tone_hz in (50.0, 1000.0, 3300.0):
            before = np.sin(2 * np.pi * tone_hz * np.arange(from_hz) / from_hz).astype(np.float32)
            after = resampler(torch.tensor(before)[None])[0].numpy()
            wanted = np.sin(2 * np.pi * tone_hz * np.arange(to_hz) / to_hz)
            assert len(after) == to_hz
            middle = slice(to_hz // 10, -to_hz // 10)
            np.testing.assert_allclose(after[middle], wanted[middle], atol=1e-3)


def test_what_is_above_the_band_does_not_fold_back():
    before = np.sin(2 * np.pi * 5000 * np.arange(16_000) / 16_000).astype(np.float32)
    after: Any = Resampler(16_000, 8_000)(torch.tensor(before)[None])[0, 800:-800]
    assert float(after.abs().max()) < 1e-4
    white = np.random.default_rng(1).normal(0, 1, 16_000).astype(np.float32)
    spectrum = (
        np.abs(
            np.fft.rfft(
                Resampler(16_000, 48_000)(torch.tensor(white)[None])[0].numpy()[4800:-4800] * np.hanning(38_400)
            )
        )
        ** 2
    )
    frequency_hz = np.fft.rfftfreq(38_400, 1 / 48_000)
    images = spectrum[frequency_hz > 8500].mean() / spectrum[frequency_hz < 7000].mean()
    assert 10 * np.log10(images) < -80
