from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmstream.errors import ConfigError
from mmstream.evaluation.fusion import FusionSize, evaluate_fusion
from mmstream.evaluation.fusion_controls import harmonic_mean
from mmstream.evaluation.fusion_figures import auc_of_event, average_precision, best_threshold, f1, interval
from mmstream.training.audiovisual import rendered_stretches
from services.cli import app


def test_average_precision_against_hand_computed_values() -> None:
    unusual = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), unusual) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros(4), unusual) == pytest.approx(0.5)
    assert np.isnan(average_precision(np.zeros(4), np.zeros(4, np.bool_)))


def test_the_threshold_is_where_f1_is_highest() -> None:
    scores, unusual = np.arange(100.0), np.arange(100) >= 80
    threshold = best_threshold(scores, unusual)
    assert f1(scores >= threshold, unusual) > 0.97
    assert f1(np.zeros(100, np.bool_), unusual) == 0.0


def test_an_interval_over_seeds_is_students_and_one_seed_has_none() -> None:
    assert interval([0.5]) == {"mean": 0.5, "low": None, "high": None}
    found = interval([0.90, 0.91, 0.92])
    assert found["high"] == pytest.approx(0.91 + 9.925 * 0.01 / np.sqrt(3), abs=1e-4)
    assert interval([float("nan")])["mean"] is None


def test_agreement_is_learned_without_labels_and_finds_what_a_single_modality_cannot() -> None:
    train, validation, test = (
        rendered_stretches(count, cameras=cameras, seed=seed)
        for seed, (count, cameras) in enumerate(((1500, range(20)), (300, range(20, 25)), (500, range(100, 110))))
    )
    without, with_it = (harmonic_mean(train, validation, test, agreement=flag) for flag in (False, True))
    assert auc_of_event(without, test, "disagreement") < 0.6
    assert auc_of_event(with_it, test, "disagreement") > 0.7
    assert auc_of_event(with_it, test, "sound") > 0.8


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="encoder-decoder"):
        evaluate_fusion(FusionSize(methods=("magic",)))


def test_the_command_writes_a_table_of_methods_controls_and_variants(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ["eval", "fusion", "--stretches", "150", "--seeds", "2", "--methods", "linear", "--epochs", "1"]
    done = CliRunner().invoke(app, [*words, "--json", str(out)])
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    rows = report["methods"]
    assert report["seeds"] == 2
    assert {row["group"] for row in rows.values()} == {"control", "without labels", "method", "variant"}
    assert {"majority", "picture only", "sound only", "harmonic mean", "linear"} <= set(rows)
    assert rows["majority"]["auc"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert rows["linear"]["auc"]["low"] <= rows["linear"]["auc"]["mean"] <= rows["linear"]["auc"]["high"]
    assert rows["linear"]["parameters"]["mean"] > 1000
    assert report["live_us"]["trained"] > 0.0
    assert "harmonic mean + agreement" in done.output


def test_wrong_use_ends_with_a_sentence_and_code_2() -> None:
    done = CliRunner().invoke(app, ["eval", "fusion", "--methods", "magic"])
    assert done.exit_code == 2
    assert "there is no fusion magic" in done.output
