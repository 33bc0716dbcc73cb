"""`mmstream eval video`: on clips made here, and on real ones where they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmstream.errors import ConfigError
from mmstream.evaluation.video import ClipScores, Detector, Labels, evaluate
from tests.sources.material import write_clip

WALKING_PX, RUNNING_PX = 2, 7
"""A frame, in a picture 320 px wide."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``normal``: slow; ``test``: one slow clip, one fast, and what is unusual."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("normal", "test"):
        (folder / name).mkdir()
    for number in range(5):
        write_clip(folder / "normal" / f"{number}.mp4", seconds=5, step_px=WALKING_PX)
    write_clip(folder / "test" / "slow.mp4", seconds=3, step_px=WALKING_PX)
    write_clip(folder / "test" / "fast.mp4", seconds=3, step_px=RUNNING_PX)
    (folder / "labels.json").write_text(json.dumps({"anomalous_frames": {"fast": [[1, 30]]}}))
    return folder


def test_what_is_faster_than_anything_learned_scores_above_everything_ordinary(clips: Path) -> None:
    notes: list[str] = []
    report = evaluate(clips / "normal", clips / "test", clips / "labels.json", note=notes.append)
    assert report["micro_auc"] > 0.95
    assert report["event_recall"] == 1.0
    assert report["delay_s_median"] <= 0.5
    assert set(report["controls"]) == {"motion_energy", "clip_constant", "random_walk"}
    assert report["clips"]["fast"]["num_unusual"] == report["clips"]["fast"]["num_frames"] == 30
    assert report["clips"]["slow"]["num_unusual"] == 0
    assert "learning 3.mp4" not in notes, "every fourth normal clip sets the threshold"
    assert json.loads(json.dumps(report)) == report


def test_the_same_clips_give_the_same_scores_and_the_order_of_tests_does_not_matter(
    clips: Path, tmp_path: Path
) -> None:
    whole = evaluate(clips / "normal", clips / "test", None)
    (tmp_path / "fast.mp4").symlink_to(clips / "test" / "fast.mp4")
    alone = evaluate(clips / "normal", tmp_path, None)
    assert alone["clips"]["fast"] == whole["clips"]["fast"]
    assert "micro_auc" not in whole, "nothing is claimed without labels"


def test_folders_and_labels_that_are_none_are_told_with_their_cure(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        evaluate(tmp_path / "no", clips / "test", None)
    with pytest.raises(ConfigError, match="has no clips"):
        evaluate(tmp_path, clips / "test", None)
    wrong = tmp_path / "labels.json"
    for text in ("{", "[]", '{"frames": {}}', '{"anomalous_frames": {"a": [[1]]}}'):
        wrong.write_text(text)
        with pytest.raises(ConfigError, match="is not a labels file"):
            Labels.read(wrong)
    wrong.write_text('{"anomalous_frames": {"fast.mp4": [[1, 30]]}}')
    with pytest.raises(ConfigError, match="marks no frame of the test clips"):
        evaluate(clips / "normal", clips / "test", wrong)
    with pytest.raises(ConfigError, match="cannot read"):
        Labels.read(tmp_path / "missing.json")


def test_a_clip_s_first_moments_are_judged_but_neither_learned_nor_a_threshold() -> None:
    scores = ClipScores(
        times_s=np.array([0.0, 0.1, 0.5, 0.6]), surprise=np.array([9.0, 7.0, 1.0, 2.0]), energy=np.zeros(4), num_known=4
    )
    assert scores.highest() == 2.0
    only_a_start = ClipScores(times_s=np.array([0.0]), surprise=np.array([9.0]), energy=np.zeros(1), num_known=1)
    assert only_a_start.highest() == 0.0


def test_judging_a_clip_changes_nothing_for_the_next(clips: Path) -> None:
    detector = Detector(("motion", "shapes"))
    for number in range(3):
        detector.learn(clips / "normal" / f"{number}.mp4")
    first = detector.score(clips / "test" / "slow.mp4").surprise
    detector.score(clips / "test" / "fast.mp4")
    assert detector.score(clips / "test" / "slow.mp4").surprise.tolist() == first.tolist()


def test_the_channels_and_what_they_are_made_with_can_be_chosen(clips: Path) -> None:
    report = evaluate(
        clips / "normal",
        clips / "test",
        clips / "labels.json",
        encoders=("motion", "shapes"),
        options={"motion": {"box_share": 0.15}},
    )
    assert report["micro_auc"] > 0.95
    with pytest.raises(ConfigError, match="there is no 'motions'"):
        Detector(("motions",))


@pytest.mark.footage
def test_ped2_as_given_with_its_b_pictures(footage: Path) -> None:
    """0.967, false frames 1.7 %, delay 0.5 s when this was written."""
    root = footage / "ped2"
    report = evaluate(root / "train", root / "test", root / "labels.json")
    assert report["micro_auc"] > 0.955
    assert report["event_recall"] == 1.0
    assert report["false_frame_rate"] <= 0.02
    assert report["delay_s_median"] <= 0.6
    assert report["controls"]["motion_energy"] < 0.75
    assert abs(report["controls"]["random_walk"] - 0.5) < 0.15
