"""Log-mel bands and their poolings, against published numbers, arithmetic and real sounds."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from mmstream.encoders.sound import NUM_BANDS, POOLS, SoundEncoder, mel_bands, mel_of, mel_points
from mmstream.stages import Locating
from mmstream.types import Float32, Window

RATE_HZ = 16_000


def make_tone(frequency_hz: float, *, seconds: float = 2.0, level: float = 1.0) -> Float32:
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone: Float32 = (level * np.sin(2 * np.pi * frequency_hz * times_s)).astype(np.float32)
    return tone


def make_noise(level: float = 0.05, seed: int = 0, seconds: float = 2.0) -> Float32:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ)).astype(np.float32)


def encode(samples: Float32) -> Float32:
    window = Window(feed_id="cam", start_s=0.0, end_s=2.0, samples=samples, sample_rate_hz=RATE_HZ)
    answer = SoundEncoder().encode(window)
    assert answer is not None
    assert answer.vector.shape == (390,)
    return answer.vector


def mean_of(vector: Float32) -> Float32:
    return vector[:64]


def gwrp_of(vector: Float32) -> Float32:
    return vector[64:128]


def peak_of(vector: Float32) -> Float32:
    return vector[128:192]


@pytest.mark.parametrize(
    ("frequency_hz", "mel"),
    # Values of the HTK formula as tabulated in textbooks: 2595 log10(1 + f / 700)
    [(0.0, 0.0), (100.0, 150.49), (500.0, 607.45), (1000.0, 999.99), (4000.0, 2146.06), (8000.0, 2840.02)],
)
def test_the_mel_scale_is_the_published_one(frequency_hz: float, mel: float) -> None:
    assert float(mel_of(frequency_hz)) == pytest.approx(mel, abs=0.02)


def test_bands_are_triangles_between_mel_points_that_add_up_to_one() -> None:
    points = mel_points()
    assert points[0] == pytest.approx(50.0)
    assert points[-1] == pytest.approx(8000.0)
    np.testing.assert_allclose(np.diff(mel_of(points)), np.diff(mel_of(points))[0], rtol=1e-9)
    bands = mel_bands(RATE_HZ, 1024)
    bins_hz = np.arange(513) * RATE_HZ / 1024
    assert bands.shape == (513, NUM_BANDS)
    assert (bands.max(axis=0) > 0.5).all()
    inside = (bins_hz >= points[1]) & (bins_hz <= points[-2])
    np.testing.assert_allclose(bands[inside].sum(axis=1), 1.0, atol=1e-5)
    assert not bands[(bins_hz < 50) | (bins_hz > 8000)].any()


@pytest.mark.parametrize("frequency_hz", [100.0, 440.0, 1000.0, 3000.0, 6000.0])
def test_a_tone_is_in_the_band_around_it_and_nowhere_else(frequency_hz: float) -> None:
    bands = mean_of(encode(make_tone(frequency_hz)))
    points = mel_points()
    loudest = int(bands.argmax())
    assert points[loudest] <= frequency_hz <= points[loudest + 2]
    assert bands.max() > -6.0
    assert np.delete(bands, range(max(0, loudest - 3), loudest + 4)).max() < -40.0


def test_level_and_crest_of_a_sine_at_full_scale_are_0_and_3_db() -> None:
    vector = encode(make_tone(1000.0))
    assert vector[192] == pytest.approx(0.0, abs=0.05)
    assert vector[193] == pytest.approx(3.01, abs=0.05)
    assert vector[194] == pytest.approx(0.0, abs=0.1)


def test_half_the_amplitude_is_6_db_less_everywhere() -> None:
    loud, soft = encode(make_noise(0.1)), encode(make_noise(0.1) * np.float32(0.5))
    np.testing.assert_allclose(loud[:193] - soft[:193], 6.02, atol=0.05)


def test_poolings_agree_on_a_steady_sound_and_are_ordered_on_any() -> None:
    steady = encode(make_tone(1000.0))
    loudest = int(mean_of(steady).argmax())
    assert gwrp_of(steady)[loudest] == pytest.approx(float(mean_of(steady)[loudest]), abs=0.1)
    noise = encode(make_noise())
    assert (mean_of(noise) <= gwrp_of(noise)).all()
    assert (gwrp_of(noise) <= peak_of(noise)).all()


def test_gwrp_weighs_the_loudest_frames_by_powers_of_nine_tenths() -> None:
    samples = np.full(32_000, 1e-3, np.float32) * make_noise(1.0)
    samples[16_000:17_600] += make_tone(1000.0, seconds=0.1)
    vector = encode(samples)
    loudest = int(peak_of(vector).argmax())
    background, event = float(encode(make_noise(1e-3))[loudest]), float(peak_of(vector)[loudest])
    share = (float(gwrp_of(vector)[loudest]) - background) / (event - background)
    assert 0.35 < share < 0.75  # 5 to 8 frames hold it: 1 - 0.9**n is 0.41 to 0.57, and its flanks
    mean_share = (float(mean_of(vector)[loudest]) - background) / (event - background)
    assert mean_share < 0.12


def test_a_filled_gap_is_left_out_instead_of_heard() -> None:
    whole = encode(make_noise(seed=1))
    broken = make_noise(seed=1)
    broken[9_000:20_000] = 0.0
    cut = encode(broken)
    np.testing.assert_allclose(mean_of(cut), mean_of(whole), atol=3.0)
    assert peak_of(cut).max() < peak_of(whole).max() + 1.0
    assert cut[192] == pytest.approx(float(whole[192]), abs=0.5)


def test_digital_silence_is_a_sound_at_the_floor() -> None:
    vector = encode(np.zeros(32_000, np.float32))
    np.testing.assert_allclose(vector[:193], -100.0, atol=0.01)
    assert np.isfinite(vector).all()


def test_a_mute_feed_is_absent_and_not_zero() -> None:
    assert SoundEncoder().encode(Window(feed_id="cam", start_s=0.0, end_s=2.0)) is None


def test_sound_at_too_low_a_rate_is_refused_with_the_cure() -> None:
    window = Window(feed_id="cam", start_s=0.0, end_s=2.0, samples=make_noise(), sample_rate_hz=8000)
    with pytest.raises(ValueError, match="resample"):
        SoundEncoder().encode(window)


@pytest.mark.parametrize("shift_s", [1.0, 0.5, 0.01, 3.0])
@pytest.mark.parametrize("gap", [False, True])
def test_sound_in_two_windows_gives_the_same_bytes_as_when_transformed_anew(shift_s: float, gap: bool) -> None:
    samples = make_noise(seconds=12.0)
    samples[70_000:74_000] = 0.0 if gap else samples[70_000:74_000]
    warm = SoundEncoder()
    for number in range(4):
        at_s = 100.0 + shift_s * number
        first = round(shift_s * number * RATE_HZ)
        heard = samples[first : first + 2 * RATE_HZ]
        window = Window(feed_id="cam", start_s=at_s, end_s=at_s + 2, samples=heard, sample_rate_hz=RATE_HZ)
        kept = warm.encode(window)
        assert kept is not None
        assert kept.vector[:POOLS].tobytes() == encode(heard)[:POOLS].tobytes()


def test_other_sound_at_the_time_of_the_last_window_is_transformed_anew() -> None:
    warm = SoundEncoder()
    for start_s, seed in ((0.0, 1), (1.0, 2)):
        heard = make_noise(seed=seed)
        window = Window(feed_id="cam", start_s=start_s, end_s=start_s + 2, samples=heard, sample_rate_hz=RATE_HZ)
        kept = warm.encode(window)
        assert kept is not None
        assert kept.vector[:POOLS].tobytes() == encode(heard)[:POOLS].tobytes()


def test_the_second_half_is_the_first_less_the_usual_of_the_last_minute() -> None:
    encoder = SoundEncoder()
    vectors = []
    for second in range(40):
        samples = make_noise(seed=second) + (make_tone(2000.0, level=0.3) if second == 39 else np.float32(0))
        window = Window(
            feed_id="cam", start_s=float(second), end_s=second + 2.0, samples=samples, sample_rate_hz=RATE_HZ
        )
        answer = encoder.encode(window)
        assert answer is not None
        vectors.append(answer.vector)
    last = vectors[-1]
    usual = np.sort(np.stack([vector[:POOLS] for vector in vectors]), axis=0)[19]
    np.testing.assert_allclose(last[POOLS:], last[:POOLS] - usual, atol=1e-4)
    points = mel_points()
    loudest = int(last[POOLS:][:NUM_BANDS].argmax())
    assert points[loudest] <= 2000.0 <= points[loudest + 2]


@pytest.mark.parametrize("frequency_hz", [300.0, 1000.0, 4000.0])
def test_the_band_that_stands_out_against_the_usual_holds_the_tone_and_little_else(frequency_hz: float) -> None:
    usual = encode(make_noise())
    vector = encode(make_noise(seed=1) + make_tone(frequency_hz, level=0.3))
    assert isinstance(SoundEncoder(), Locating)
    found = SoundEncoder.locate(vector, usual)
    assert found is not None
    assert found.band_hz is not None
    low_hz, high_hz = found.band_hz
    assert low_hz <= frequency_hz <= high_hz
    assert mel_of(high_hz) - mel_of(low_hz) < 500


def test_what_has_fallen_silent_is_located_too_and_the_usual_is_nowhere() -> None:
    usual = encode(make_noise() + make_tone(1000.0, level=0.3))
    quieter = SoundEncoder.locate(encode(make_noise(seed=1)), usual)
    assert quieter is not None
    assert quieter.band_hz is not None
    assert quieter.band_hz[0] <= 1000.0 <= quieter.band_hz[1]
    assert SoundEncoder.locate(encode(make_noise(seed=2)), encode(make_noise(seed=3))) is None


def test_without_a_remembered_moment_the_last_minute_is_what_is_usual() -> None:
    encoder = SoundEncoder()
    answer = None
    for second in range(10):
        samples = make_noise(seed=second) + (make_tone(500.0, level=0.3) if second == 9 else np.float32(0))
        window = Window(
            feed_id="cam", start_s=float(second), end_s=second + 2.0, samples=samples, sample_rate_hz=RATE_HZ
        )
        answer = encoder.encode(window)
    assert answer is not None
    found = SoundEncoder.locate(answer.vector, None)
    assert found is not None
    assert found.band_hz is not None
    assert found.band_hz[0] <= 500.0 <= found.band_hz[1]


def read_wav(path: Path) -> Float32:
    """Mono at 16 kHz, by an ideal low pass: test material only."""
    with wave.open(str(path)) as file:
        rate_hz, channels = file.getframerate(), file.getnchannels()
        kind: type[np.signedinteger] = {2: np.int16, 4: np.int32}[file.getsampwidth()]
        raw = np.frombuffer(file.readframes(file.getnframes()), kind)
    samples = raw.reshape(-1, channels).mean(axis=1) / np.iinfo(kind).max
    spectrum = np.fft.rfft(samples)
    count = round(samples.size * RATE_HZ / rate_hz)
    resampled: Float32 = (np.fft.irfft(spectrum[: count // 2 + 1], count) * count / samples.size).astype(np.float32)
    return resampled


@pytest.mark.footage
def test_a_siren_in_the_street_is_farther_from_the_street_than_the_street_itself(footage: Path) -> None:
    folder = footage / "audio" / "soundscape"
    bed = read_wav(folder / "bgonly_soundscape_20200501_44100.wav")
    scene = read_wav(folder / "soundscape_20200501_44100.wav")
    quarter = RATE_HZ // 4
    starts = range(0, bed.size - 2 * RATE_HZ, quarter)
    bank = np.stack([encode(bed[at : at + 2 * RATE_HZ]) for at in starts if at % (2 * quarter) == 0])
    held_out = np.stack([encode(bed[at : at + 2 * RATE_HZ]) for at in starts if at % (2 * quarter)])
    with_siren = np.stack([encode(scene[at : at + 2 * RATE_HZ]) for at in range(2 * RATE_HZ, 5 * RATE_HZ, quarter)])
    spread = bank.std(axis=0) + 1.0

    def nearest(vectors: Float32) -> Float32:
        distances = np.linalg.norm((vectors[:, None] - bank[None]) / spread, axis=2)
        lowest: Float32 = distances.min(axis=1)
        return lowest

    assert np.median(nearest(with_siren)) > 2 * np.median(nearest(held_out))
    assert nearest(with_siren).min() > np.median(nearest(held_out))
