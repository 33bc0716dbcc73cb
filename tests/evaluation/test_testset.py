"""Test sets that are made: what is in them is where the manifest says, and shams go the same way as events."""

from __future__ import annotations

import json
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmstream.errors import ConfigError
from mmstream.evaluation.compose import RATE_HZ
from mmstream.evaluation.manifest import read_manifest
from mmstream.evaluation.material import clip_pictures, sound_in, sounds_in
from mmstream.evaluation.plan import plan
from mmstream.evaluation.shots import EDITS, Shots
from mmstream.sources.sound import sound_of
from mmstream.sources.whole import packets_of, pictures_of
from mmstream.sources.writing import RecordingWriter
from services.cli_eval import eval_app

SIZE_PX = (120, 80)
SOUNDS = {"background": ("street",), "ordinary": ("dog", "children"), "unusual": ("siren", "shot")}


def write_clip(path: Path, *, seconds: int, lane: int, step_px: int = 1) -> None:
    """Somebody of 12 x 6 px walks along a lane."""
    with RecordingWriter(path, size_px=SIZE_PX, fps=10) as writer:
        for number in range(seconds * 10):
            picture = np.full((80, 120, 3), 100, np.uint8)
            left = (number * step_px) % 110
            picture[lane : lane + 12, left : left + 6] = 200
            writer.picture(picture)


def write_sound(path: Path, *, seconds: float, tone_hz: float) -> None:
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(0).normal(0, 0.05, times_s.size)
    samples = noise + (0.4 * np.sin(2 * np.pi * tone_hz * times_s) if tone_hz else 0.0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    for name in ("normal", "unusual", *(f"audio/{kind}" for kind in SOUNDS)):
        (folder / name).mkdir(parents=True)
    for number, lane in enumerate((20, 40, 50)):
        write_clip(folder / "normal" / f"{number}.mp4", seconds=9, lane=lane)
    write_clip(folder / "unusual" / "rush.mp4", seconds=6, lane=30, step_px=5)
    (folder / "labels.json").write_text(json.dumps({"anomalous_frames": {"rush": [[11, 60]]}}))
    for kind, names in SOUNDS.items():
        for number, name in enumerate(names):
            seconds = 6.0 if kind == "background" else 1.5
            tone_hz = {"background": 0.0, "ordinary": 500.0, "unusual": 3000.0}[kind] + 200.0 * number
            write_sound(folder / "audio" / kind / f"{name}.wav", seconds=seconds, tone_hz=tone_hz)
    return folder


@pytest.fixture(scope="module")
def made(material: Path) -> Path:
    out = material / "out"
    options = ["--normal", str(material / "normal"), "--audio", str(material / "audio"), "--out", str(out)]
    options += ["--unusual", str(material / "unusual"), "--labels", str(material / "labels.json")]
    done = CliRunner().invoke(
        eval_app,
        ["make", *options, "--learn-minutes", "1", "--judge-minutes", "6", "--every-minutes", "1.5", "--seed", "3"],
    )
    assert done.exit_code == 0, done.output
    return out / "manifest.yaml"


def test_the_manifest_fits_the_recordings(made: Path) -> None:
    manifest = read_manifest(made)
    learned, judged = manifest.feeds[0].learn[0], manifest.feeds[0].judge
    assert len(list(pictures_of(learned, fps=10, max_width_px=640))) >= 600
    length_s = len(list(pictures_of(judged, fps=10, max_width_px=640))) / 10
    assert length_s >= 360
    assert all(event.end_s <= length_s for event in manifest.events)
    assert len(manifest.events) == round(360 / 90)
    starts_s = sorted(event.start_s for event in manifest.events)
    assert np.diff(starts_s).min() > manifest.budget.block_s, "none hides in the quiet after another"
    samples, _ = sound_of(list(packets_of(judged, audio=True)), RATE_HZ)
    assert len(samples) / RATE_HZ == pytest.approx(length_s, abs=0.2)


def test_untouched_stretches_are_away_from_everything_put_in(made: Path) -> None:
    manifest = read_manifest(made)
    assert {item.modality for item in manifest.untouched} == {"picture", "sound"}
    for item in manifest.untouched:
        assert all(item.end_s < event.start_s or item.start_s > event.end_s for event in manifest.events)


def test_every_recording_has_the_same_settings(made: Path) -> None:
    """A key frame a second and no B pictures, in what is learned as in what is judged."""
    folder = made.parent
    for name in ("learn.mp4", "judge.mp4"):
        packets = [packet for packet in packets_of(folder / name) if packet.kind == "video"]
        keys_s = [packet.start_s for packet in packets if packet.is_key]
        assert np.allclose(np.diff(keys_s), 1.0)


def test_one_clip_follows_another_at_a_key_frame_only(made: Path) -> None:
    """A cut anywhere else would be motion of everything at once."""
    read = np.stack(list(pictures_of(made.parent / "learn.mp4", fps=10, max_width_px=640)))
    walker = (read.mean(axis=3) > 150.0).astype(np.int8)
    cuts = 1 + np.flatnonzero(np.abs(np.diff(walker, axis=0)).mean(axis=(1, 2)) > 0.008)
    assert len(cuts) >= 3
    assert (cuts % 10 == 0).all()


def test_a_sound_event_is_where_the_manifest_says(made: Path) -> None:
    """The unusual sounds are tones around 3 kHz: what is heard there rises during the event, and only then."""
    manifest = read_manifest(made)
    event = next(event for event in manifest.events if event.modality in ("sound", "both") and not event.sham)
    samples, _ = sound_of(list(packets_of(manifest.feeds[0].judge, audio=True)), RATE_HZ)

    def high_share(from_s: float, to_s: float) -> float:
        power = np.abs(np.fft.rfft(samples[round(from_s * RATE_HZ) : round(to_s * RATE_HZ)])) ** 2
        frequency_hz = np.linspace(0, RATE_HZ / 2, len(power))
        return float(power[(frequency_hz > 2700) & (frequency_hz < 3500)].sum() / power.sum())

    during = high_share(event.start_s + 0.2, event.start_s + 1.2)
    assert during > 2.0 * high_share(event.start_s - 1.3, event.start_s - 0.3)
    assert during > 2.0 * high_share(event.start_s + 2.2, event.start_s + 3.2)


def test_a_plan_has_every_kind_and_a_quarter_of_shams(material: Path) -> None:
    sounds = sounds_in(material / "audio")
    items = plan(160, sounds, 2, np.random.default_rng(0))
    counts = Counter(item.modality for item in items if not item.sham)
    assert counts == {"picture": 40, "sound": 40, "both": 20, "camera": 20}
    assert Counter(item.modality for item in items if item.sham) == {"picture": 20, "sound": 20}
    assert {item.edit for item in items if item.edit} == set(EDITS)
    silent = plan(40, None, 0, np.random.default_rng(0))
    assert {item.modality for item in silent} == {"picture", "camera"}


@pytest.mark.parametrize(
    ("unseen", "pools"),
    [(True, ((False, {20, 40}), (True, {50}))), (False, ((False, {20, 40, 50}), (True, {20, 40, 50})))],
)
def test_clips_to_judge_are_never_learned_where_they_must_be_unseen(
    material: Path, unseen: bool, pools: tuple[tuple[bool, set[int]], ...]
) -> None:
    """The third walks on a lane of his own."""
    shots = Shots(sorted((material / "normal").iterdir()), np.random.default_rng(0), unseen=unseen)
    for judged, lanes in pools:
        seen = set()
        for _ in range(12):
            pictures = shots.normal(judged=judged).pictures
            seen.add(int(np.flatnonzero((pictures[0] > 160).any(axis=(1, 2)))[0]))
        assert seen <= {lane + near for lane in lanes for near in (-1, 0, 1)}
        assert len({lane // 10 for lane in seen}) >= len(lanes) - 1


def test_a_clip_that_comes_again_is_not_the_same_to_the_bit(material: Path) -> None:
    """An hour of exact repetitions made everything else infinitely rare: what was a little new scored p = 1e-8."""
    shots = Shots(sorted((material / "normal").iterdir()), np.random.default_rng(0))
    above = [shots.normal(judged=False).pictures[:40, :15].astype(np.int16) for _ in range(2)]  # where nobody walks
    assert 0.5 < np.abs(above[0] - above[1]).mean() < 12.0


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_every_edit_gives_a_shot_that_says_where_it_is(material: Path, edit: str) -> None:
    shots = Shots(sorted((material / "normal").iterdir()), np.random.default_rng(1))
    shot = shots.edited(edit, 2.0 if edit in ("tempo", "hurrying", "defocus", "freeze") else 0.5)
    assert 0 < shot.first < shot.last <= len(shot.pictures)
    assert shot.pictures.shape[1:] == (80, 120, 3)


def test_one_long_recording_is_split_into_what_is_learned_and_what_is_judged(material: Path) -> None:
    write_clip(material / "long.mp4", seconds=24, lane=30)
    shots = Shots([material / "long.mp4"], np.random.default_rng(0))
    assert len(shots.normal(judged=True).pictures) > 0
    with pytest.raises(ConfigError, match="too short or too few"):
        Shots([material / "unusual" / "rush.mp4"], np.random.default_rng(0))


def test_folders_that_hold_nothing_are_told(material: Path, tmp_path: Path) -> None:
    cases = [
        (["--normal", str(tmp_path)], "neither a recording nor a folder"),
        (["--normal", str(material / "normal"), "--audio", str(tmp_path)], "holds no sounds"),
        (["--normal", str(material / "normal"), "--unusual", str(material / "unusual")], "belong together"),
    ]
    for options, sentence in cases:
        done = CliRunner().invoke(eval_app, ["make", *options, "--out", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert sentence in done.stderr
    assert clip_pictures(material / "normal" / "0.mp4").shape == (90, 80, 120, 3)
    assert len(sound_in(material / "audio" / "ordinary" / "dog.wav")) == 1.5 * RATE_HZ
