"""The measurement of the sound channel: its arithmetic, its material, and one small run of all of it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmstream.errors import ConfigError
from mmstream.evaluation.compose import RATE_HZ, coloured
from mmstream.evaluation.sound import REFRACTORY_S, Places, evaluate_sound, one_alert, peaks, read_sounds
from mmstream.types import Float32
from services.cli_eval import eval_app


def write_wav(path: Path, samples: Float32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())


def tone(frequency_hz: float, seconds: float) -> Float32:
    wave_: Float32 = (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(
        np.float32
    )
    return wave_


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips by UrbanSound's names: noises as bed, hums and barks as ordinary, a pure high tone as event."""
    folder = tmp_path_factory.mktemp("sounds")
    random = np.random.default_rng(0)
    write_wav(folder / "soundscape" / "bgonly_street.wav", 0.1 * coloured(10 * RATE_HZ, 0.6, random))
    write_wav(folder / "urbansound" / "1-0-0-0.wav", tone(150.0, 4.0))
    write_wav(folder / "urbansound" / "2-5-0-0.wav", tone(90.0, 4.0) + 0.02 * coloured(4 * RATE_HZ, 0.2, random))
    write_wav(folder / "urbansound" / "3-3-0-0.wav", tone(600.0, 0.5))
    write_wav(folder / "urbansound" / "4-8-0-0.wav", tone(3000.0, 4.0))
    return folder


def test_peaks_come_highest_first_and_none_is_near_a_higher_one():
    scores = np.zeros(300)
    scores[[50, 60, 200]] = [5.0, 4.0, 3.0]
    found = peaks(scores)
    assert found[:2] == [5.0, 3.0]
    assert len(found) <= 300 / REFRACTORY_S


def test_above_the_threshold_of_one_alert_there_is_one_alert():
    scores = np.random.default_rng(1).exponential(size=3600)
    assert sum(peak > one_alert(scores) for peak in peaks(scores)) == 1


def test_places_share_no_sample_but_those_of_the_events(sounds: Path):
    material = read_sounds(sounds)
    places = Places.of(material)
    assert places.known.beds[0].size + places.unseen.beds[0].size == material.beds[0].size
    for name, clip in material.ordinary.items():
        known, unseen = places.known.ordinary[name], places.unseen.ordinary[name]
        np.testing.assert_array_equal(np.concatenate([known, unseen]), clip)
    assert {clip.size for clip in places.elsewhere.beds} == {4 * RATE_HZ}
    assert set(places.elsewhere.ordinary) == {"3-3-0-0"}
    assert set(places.known.events) == {"4-8-0-0"}


def test_a_folder_without_sounds_is_refused_with_what_is_wanted(tmp_path: Path):
    with pytest.raises(ConfigError, match="background"):
        read_sounds(tmp_path)
    (tmp_path / "urbansound").mkdir()
    with pytest.raises(ConfigError, match="lacks"):
        read_sounds(tmp_path)
    answer = CliRunner().invoke(eval_app, ["sound", "--audio", str(tmp_path)])
    assert answer.exit_code == 2


def test_a_pure_tone_in_composed_noise_is_found_and_chance_finds_nothing(sounds: Path):
    report = evaluate_sound(sounds, seeds=(1,), hour_s=300.0)
    known = report["mean"]["known"]
    assert known["auc"] > 0.9
    assert known["auc"] > known["controls"]["level"]["auc"]
    assert 0.1 < known["controls"]["random"]["auc"] < 0.9
    assert known["recall_from_5_db"] is None or 0.0 <= known["recall_from_5_db"] <= 1.0
    assert report["mean"]["unseen"]["first_hours"]["hours"] == 2
    assert report["seeds"]["1"]["known"]["auc"] == known["auc"]


@pytest.mark.footage
def test_the_real_clips_are_told_apart_by_kind(footage: Path):
    material = read_sounds(footage / "audio")
    assert len(material.beds) == 1
    assert len(material.ordinary) == len(material.events) == 5
    assert material.beds[0].size == 10 * RATE_HZ
