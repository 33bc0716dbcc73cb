from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.errors import ConfigError
from mmstream.evaluation import fights as evaluation
from mmstream.sources.synthetic import render_clip
from mmstream.training.audiovisual import Stretches
from mmstream.training.fights import MODALITIES, NUM_MOMENTS, Clips, folds, read_clips


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=5, max_size=60), st.integers(2, 5))
def test_clips_of_one_video_are_never_split(found: list[tuple[int, bool]], count: int) -> None:
    groups, labels = np.array([g for g, _ in found]), np.array([label for _, label in found])
    fold_of = folds(labels, groups, count)
    assert set(fold_of) <= set(range(count))
    for group in set(groups.tolist()):
        assert len(set(fold_of[groups == group])) == 1


def test_folds_are_even_where_groups_allow_it() -> None:
    labels = np.tile([True, False], 20)
    fold_of = folds(labels, np.arange(40) // 2, 5)
    assert [int((fold_of == fold).sum()) for fold in range(5)] == [8] * 5
    assert [int(labels[fold_of == fold].sum()) for fold in range(5)] == [4] * 5


def test_features_of_a_clip_with_sound_and_of_one_without(tmp_path: Path) -> None:
    render_clip("walkway", tmp_path / "mute.mp4", duration_s=3, seed=1)
    render_clip("junction", tmp_path / "street.mp4", duration_s=3, seed=2)
    (tmp_path / "index.csv").write_text("clip,label,source_group\nmute.mp4,0,1\nstreet.mp4,1,2\n")
    clips = read_clips(tmp_path)
    assert clips.labels.tolist() == [False, True]
    assert clips.groups.tolist() == [1, 2]
    assert clips.stretches.present.shape == (2, NUM_MOMENTS, len(MODALITIES))
    assert clips.stretches.present[..., :2].all()
    assert all(np.isfinite(rows).all() for rows in clips.stretches.vectors.values())
    assert clips.stretches.labels[1].all()


def test_a_folder_without_an_index_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"index\.csv.*clip, label, source_group"):
        read_clips(tmp_path)


def make_clips(count: int = 40) -> Clips:
    """Fights are louder, and nothing else."""
    random = np.random.default_rng(0)
    labels = np.tile([True, False], count // 2)
    vectors = {name: random.normal(size=(count, NUM_MOMENTS, 4)).astype(np.float32) for name in MODALITIES}
    vectors["sound"][labels, 5] += 4.0
    return Clips(
        stretches=Stretches(
            vectors=vectors,
            present=np.ones((count, NUM_MOMENTS, 3), np.bool_),
            labels=np.repeat(labels[:, None], NUM_MOMENTS, axis=1).astype(np.float32),
            classes=np.full((count, NUM_MOMENTS), -1),
        ),
        labels=labels,
        groups=np.arange(count) // 4,
    )


def test_what_shows_in_one_moment_is_found_from_labels_of_clips_and_controls_stay_at_chance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evaluation, "read_clips", lambda *_, **__: make_clips())
    monkeypatch.setattr(evaluation, "NUM_FOLDS", 2)
    monkeypatch.setattr(evaluation, "RECIPE", replace(evaluation.RECIPE, num_epochs=12))
    report = evaluation.evaluate_fights(tmp_path, methods=["linear"], num_seeds=1)
    found = report["methods"]
    assert found["linear"]["auc"] > 0.75
    assert found["sound only"]["auc"] > 0.75
    assert found["motion only"]["auc"] < 0.8
    assert found["majority"]["auc"] == 0.5
    low, high = found["linear"]["auc_95"]
    assert low <= found["linear"]["auc"] <= high


@pytest.mark.footage
def test_the_fights_have_motion_in_all_clips_and_sound_in_those_that_are_audible(footage: Path, tmp_path: Path) -> None:
    with (footage / "fights" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = [next(row for row in rows if row["has_audio"] == heard) for heard in "10"]
    with (tmp_path / "index.csv").open("w") as file:
        writer = csv.DictWriter(file, ["clip", "label", "source_group"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(chosen)
    for row in chosen:
        (tmp_path / row["clip"]).parent.mkdir(exist_ok=True)
        (tmp_path / row["clip"]).symlink_to(footage / "fights" / row["clip"])
    clips = read_clips(tmp_path)
    assert clips.stretches.present[..., 1].all()
    assert clips.stretches.present[:, :, 2].all(axis=1).tolist() == [True, False]
