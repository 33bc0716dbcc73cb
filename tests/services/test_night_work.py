"""What a night does beside the night itself: which models, how far, where it trains, what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmstream.config import SiteConfig, TrainingSection
from mmstream.errors import StageError
from mmstream.training.loop import Epoch, FitSettings
from mmstream.training.night import Entry, NightReport, Phase, Progress
from services import night_work
from services.night_work import MAX_KEPT, REPORT, changes_of, models_here, on_ray, results_of, with_curves, write_report
from tests.cluster.tiny_trainee import TinyTrainee

SETTINGS = FitSettings(epochs=2, patience=0, learning_rate=0.1, precision="fp32")
ENTRY = Entry(kind="tiny", subject="tiny", outcome="refused", sentence="No.", figures={"loss": float("nan")})


def make_site(**encoders: Any) -> SiteConfig:
    return SiteConfig.model_validate({"encoders": encoders})


@pytest.mark.parametrize(
    ("encoders", "here"),
    [
        pytest.param({}, ["expectation", "fusion"], id="as it is shipped"),
        pytest.param({"replicas": ["site"]}, ["expectation", "site", "fusion"], id="with the site's networks"),
        pytest.param({"edge": ["motion"]}, ["fusion"], id="without any"),
        pytest.param({"replicas": ["vision"]}, ["expectation", "adapter", "fusion"], id="with a pretrained one"),
    ],
)
def test_only_models_are_trained_whose_encoder_the_site_runs(encoders: dict[str, Any], here: list[str]) -> None:
    models = ["expectation", "site", "adapter", "fusion"]
    found, left_out = models_here(make_site(**encoders), models)
    assert found == here
    assert sorted([*found, *left_out]) == sorted(models)


def test_the_bar_only_moves_forward() -> None:
    def at(phase: Phase, number: int, epoch: int = 0) -> float:
        figures = {"validation/loss": float("nan"), "train/loss": 0.5}
        told = Epoch(number=epoch, of=4, figures=figures, is_best=True) if epoch else None
        changes = changes_of(Progress(subject="site", phase=phase, number=number, of=2, epoch=told))
        assert changes["figures"] == ({"train/loss": 0.5} if epoch else {}), "JSON knows no NaN"
        return float(changes["share"])

    phases: list[Phase] = ["trying", "deciding", "done"]
    shares = [
        at(phase, number, epoch)
        for number in (1, 2)
        for phase, epoch in [("fitting", 0), *(("fitting", epoch) for epoch in range(1, 5)), *((p, 0) for p in phases)]
    ]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_without_a_free_cpu_the_night_trains_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night_work, "num_workers_now", lambda _section: 0)
    told: list[Epoch] = []
    fit_with = with_curves(on_ray(TrainingSection(), tmp_path, lambda: False), tmp_path / "curves")
    fitted = fit_with("tiny", TinyTrainee(batch_s=0.0), SETTINGS, told.append)
    assert len(fitted.history) == len(told) == 2
    assert list((tmp_path / "curves" / "tiny").glob("events.out.tfevents*")), "curves for TensorBoard"


def test_what_is_asked_to_stop_stops_where_the_night_trains_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_work, "num_workers_now", lambda _section: 0)
    with pytest.raises(StageError, match="stopped before the first"):
        on_ray(TrainingSection(), tmp_path, lambda: True)("tiny", TinyTrainee(), SETTINGS, lambda _epoch: None)


def test_the_report_is_json_and_old_ones_go(tmp_path: Path) -> None:
    report = NightReport(started_s=1.0, ended_s=2.0, entries=(ENTRY,))
    for number in range(MAX_KEPT + 3):
        folder = tmp_path / "training" / f"train-{number:03d}"
        assert write_report(report, folder) is report
    kept = sorted(path.name for path in (tmp_path / "training").iterdir())
    assert kept == [f"train-{number:03d}" for number in range(3, MAX_KEPT + 3)]
    written = json.loads((folder / REPORT).read_text())
    assert written["entries"][0]["figures"] == {"loss": None}
    assert results_of(report)[0]["outcome"] == "refused"
