"""`mmstream eval rules` from end to end, far too small to learn anything: what it reports and keeps; repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmstream.evaluation.rule_budget import CASES, BudgetSize
from mmstream.evaluation.rules import RULES, Lesson, Size, evaluate_rules
from mmstream.training.contrastive import Recipe

SIZE = Size(
    num_scenes=60,
    num_moments=80,
    num_queries=20,
    recipe=Recipe(num_steps=2, batch=16),
    shuffled_recipe=Recipe(num_steps=1, batch=16),
    budget=BudgetSize(num_cameras=1, days=1, num_backgrounds=20),
)


def test_the_report_has_every_figure_and_its_controls_and_models_are_kept(tmp_path: Path) -> None:
    said: list[str] = []
    report = evaluate_rules(SIZE, seed=3, models=tmp_path, note=lambda what, _done, _total: said.append(what))
    assert json.loads(json.dumps(report)) == report
    assert set(report["rule_auc"]) == set(RULES)
    assert all(0.0 <= area <= 1.0 for area in report["rule_auc"].values())
    assert set(report["controls"]) == {"untrained", "shuffled_captions"}
    assert set(report["budget"]["event_recall"]) == set(CASES)
    low, high = report["budget"]["alerts_per_day_95"]
    assert low <= report["budget"]["alerts_per_day"] <= high
    assert report["budget"]["most_told_of_one_rule_and_camera"] <= report["budget"]["cap"]
    assert {"training", "budget", "shuffled"} <= set(said)
    kept = {path.name: (path / "model.safetensors").read_bytes() for path in tmp_path.iterdir()}
    assert set(kept) == {"trained", "untrained", "shuffled"}
    assert len(set(kept.values())) == 3


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_learned_as_true_is_true(seed: int) -> None:
    lesson = Lesson.make(seed, SIZE)
    rows = np.arange(40)
    told = lesson.truth(rows, rows)
    assert told.diagonal().all()
    assert 0.02 < told.mean() < 0.5
    again = Lesson.make(seed, SIZE)
    assert np.array_equal(again.pictures, lesson.pictures)
    assert again.texts == lesson.texts
