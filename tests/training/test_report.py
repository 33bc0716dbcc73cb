"""Figures against values computed by hand, and pictures that are drawn where there is something to draw."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmstream.training.night import Entry, NightReport
from mmstream.training.plots import plot_training, plots, plots_of_night
from mmstream.training.promote import Trial
from mmstream.training.rates import Blocks
from mmstream.training.report import Report, figures, figures_of_trial, narration_figures, region_figures

LABELS = [0, 0, 0, 1, 0, 1, 1, 1]
SCORES = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]


def test_two_classes_by_hand() -> None:
    report = figures(LABELS, SCORES)
    # said: the last four; one of them is normal, and one unusual is missed
    assert report.confusion == ((3, 1), (1, 3))
    assert report.figures["accuracy"] == pytest.approx(6 / 8)
    assert report.figures["precision"] == pytest.approx(3 / 4)
    assert report.figures["recall"] == pytest.approx(3 / 4)
    assert report.figures["f1"] == pytest.approx(3 / 4)
    # of 16 pairs one is the wrong way round
    assert report.figures["auc"] == pytest.approx(15 / 16)
    # precision at each unusual one, from the top: 1, 1, 1, 4/5
    assert report.figures["ap"] == pytest.approx((1 + 1 + 1 + 4 / 5) / 4)
    gaps = [abs(score - label) for score, label in zip(SCORES, LABELS, strict=True)]  # one in every bin
    assert report.figures["ece"] == pytest.approx(float(np.mean(gaps)), abs=1e-6)
    assert report.reliability[0] == pytest.approx(SCORES)
    assert report.reliability[1] == pytest.approx(LABELS)
    assert report.missing == ()
    assert (report.roc[0][0], report.roc[1][0], report.roc[0][-1], report.roc[1][-1]) == (0.0, 0.0, 1.0, 1.0)


def test_scores_that_are_no_probabilities_are_ranked_however_large_they_are() -> None:
    ordinary = figures(LABELS, SCORES)
    large = figures(LABELS, [1000.0 * score for score in SCORES], threshold=500.0)
    assert (large.figures["auc"], large.figures["ap"]) == (ordinary.figures["auc"], ordinary.figures["ap"])
    assert large.confusion == ordinary.confusion
    assert "ece" not in large.figures
    assert large.missing == ("The scores are no probabilities: no calibration.",)


def test_several_classes_by_hand() -> None:
    scores = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.1, 0.6, 0.3]]
    report = figures([0, 0, 1, 1, 2, 2], scores, names=("walk", "run", "fall"))
    assert report.confusion == ((2, 0, 0), (1, 1, 0), (0, 1, 1))
    assert report.figures["accuracy"] == pytest.approx(4 / 6)
    assert report.figures["precision"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert report.figures["recall"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    # one against the rest: walk orders all 8 pairs right; run has 0.7 and 0.4 against 0.1 0.3 0.2 0.6; fall all right
    assert report.figures["auc"] == pytest.approx((1 + 7 / 8 + 1) / 3)
    sure, so = [0.8, 0.6, 0.7, 0.5, 0.7, 0.6], [1, 1, 1, 0, 1, 0]
    wanted = (1 * abs(0.8 - 1) + 2 * abs(0.6 - 0.5) + 2 * abs(0.7 - 1) + 1 * 0.5) / 6
    assert report.figures["ece"] == pytest.approx(wanted, abs=1e-6)
    assert len(sure) == len(so)


def test_what_cannot_be_computed_is_absent_and_said() -> None:
    one = figures([0, 0, 0], [0.1, 0.2, 0.9])
    assert "auc" not in one.figures
    assert one.missing == ("There is nothing but normal: no AUC.",)
    assert one.figures["accuracy"] == pytest.approx(2 / 3)
    lacking = figures([0, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], names=("walk", "run", "fall"))
    assert "auc" not in lacking.figures
    assert lacking.missing == ("There is no fall: no AUC.",)
    for labels, scores in (([0, 1], [0.5]), ([], []), ([0, 1], [0.5, float("nan")])):
        with pytest.raises(ValueError, match="want labels"):
            figures(labels, scores)
    with pytest.raises(ValueError, match="2 classes were scored and 3 have a name"):
        figures([0, 1], [[0.9, 0.1], [0.2, 0.8]], names=("a", "b", "c"))


TRIAL = Trial(
    found={"a": True, "b": False, "c": True},
    confirmed={},
    absorbed={},
    num_alerts=1,
    blocks=(Blocks(rank=3, num_calibrated=40, num_new=4),),
    window_s=0.001,
    memory_bytes=10,
    normal_above=(-2.0, -1.5, -1.0, 0.5),
    events_above=(3.0, -1.2, 2.0),
)


def test_a_trial_is_reported_at_its_own_thresholds() -> None:
    report = figures_of_trial(TRIAL)
    assert report.confusion == ((3, 1), (1, 2))
    assert report.figures["recall"] == pytest.approx(2 / 3)
    assert report.figures["auc"] == pytest.approx((4 + 4 + 2) / 12)
    empty = figures_of_trial(dataclasses.replace(TRIAL, normal_above=(), events_above=()))
    assert (empty.figures, len(empty.missing)) == ({}, 1)


def test_regions_by_hand() -> None:
    there = [((0.0, 0.0, 0.5, 0.5),), ((0.2, 0.2, 0.4, 0.4),)]
    # the first is half as wide as it should be, the second is missed: 0.5 and 0
    found = [{(0.0, 0.0, 0.25, 0.5): 0.9}, {}]
    values, missing = region_figures(found, there)
    assert values["iou"] == pytest.approx(0.25)
    assert missing == () or "pycocotools is not installed" in missing[0]
    if not missing:
        # at 0.5 one of two is found, at precision 1: the mean over 101 recalls is 51/101; above 0.5 none is
        assert values["map_50"] == pytest.approx(51 / 101, abs=1e-3)
        assert values["map"] == pytest.approx(51 / 1010, abs=1e-3)
    exact, _ = region_figures([dict.fromkeys(truth, 0.5) for truth in there], there)
    assert exact["iou"] == pytest.approx(1.0)
    assert region_figures([{}], [()]) == ({}, ("There is no region to compare with.",))


def test_without_pycocotools_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmstream.training.report.find_spec", lambda _: None)
    values, (sentence,) = region_figures([{(0.0, 0.0, 1.0, 1.0): 1.0}], [((0.0, 0.0, 1.0, 1.0),)])
    assert values == {"iou": 1.0}
    assert "pycocotools is not installed" in sentence


def test_narration_by_hand() -> None:
    told, reference = "a man runs fast across the yard", "a man runs fast over the yard"
    values, missing = narration_figures([told], [[reference]])
    # 6 of 7 words, 4 of 6 pairs are common; the longest common subsequence has 6 words
    assert values["rouge1"] == pytest.approx(6 / 7)
    assert values["rouge2"] == pytest.approx(4 / 6)
    assert values["rougeL"] == pytest.approx(6 / 7)
    # smoothed from the pairs on: (4 + 1) / (6 + 1), (2 + 1) / (5 + 1), (1 + 1) / (4 + 1); lengths are equal
    assert values["bleu"] == pytest.approx((6 / 7 * 5 / 7 * 3 / 6 * 2 / 5) ** 0.25)
    assert missing == ()
    same, _ = narration_figures([told], [[reference, told]])
    assert same["bleu"] == pytest.approx(1.0)
    assert narration_figures([], [])[0] == {}


def test_pictures_are_drawn_of_all_that_there_is(tmp_path: Path) -> None:
    drawn = plots({"in use": figures(LABELS, SCORES), "new": figures(LABELS, [0.5] * 8)}, tmp_path)
    names = {path.name for path in drawn}
    assert names == {"roc.png", "pr.png", "reliability.png", "confusion-in-use.png", "confusion-new.png"}
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.size == (576, 480)
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    assert plots({"empty": Report()}, tmp_path / "none") == []
    with pytest.raises(ValueError, match="at most 5 lines"):
        plots({str(number): figures(LABELS, SCORES) for number in range(6)}, tmp_path)


def test_the_night_draws_trainings_and_both_sides_of_its_trials(tmp_path: Path) -> None:
    epochs = [{"train/loss": 1.0 / n, "validation/loss": 0.5 + abs(n - 3) / 10} for n in range(1, 6)]
    better = dataclasses.replace(TRIAL, events_above=(3.0, 1.0, 2.0))
    tried = Entry(
        kind="site", subject="site", outcome="promoted", sentence="", epochs=epochs, old=TRIAL, new=better, parent="v1"
    )
    failed = Entry(kind="site", subject="other", outcome="failed", sentence="no")
    report = NightReport(started_s=0.0, ended_s=1.0, entries=(tried, failed))
    drawn = {str(path.relative_to(tmp_path)) for path in plots_of_night(report, tmp_path)}
    assert {"site/training.png", "site/roc.png", "site/pr.png", "site/confusion-new.png"} <= drawn
    assert not (tmp_path / "other").exists()
    numbers = json.loads((tmp_path / "site" / "figures.json").read_text())
    assert numbers["in use"]["confusion"] == [[3, 1], [1, 2]]
    assert numbers["new"]["figures"]["recall"] == 1.0
    assert plot_training([{"seconds": 1.0}], tmp_path / "x.png", title="nothing") is None
    assert plot_training([{"validation/loss": float("nan")}], tmp_path / "nan.png", title="none finite") is not None
    json.dumps(report.to_json(), allow_nan=False)
