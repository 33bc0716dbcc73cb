"""``eval events``: what is counted, and a small day through the whole pipeline."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmstream.errors import ConfigError
from mmstream.evaluation.events import report_of
from mmstream.evaluation.judging import Judged, Opening
from mmstream.evaluation.manifest import Event, JudgedFeed, Manifest, Untouched
from mmstream.evaluation.matching import Timeline
from mmstream.evaluation.report import html_of
from mmstream.evaluation.video import Labels
from mmstream.sources.writing import RecordingWriter
from mmstream.types import Alert
from services.cli_eval import eval_app
from tests.sources.material import texture

HOUR_S = 3600


def make_alert(at_s: float, *, kind: str = "unusual", cause: str = "") -> Opening:
    alert = Alert.from_json(
        {
            "alert_id": f"cam:{at_s}",
            "feed_id": "cam",
            "start_s": at_s,
            "end_s": at_s,
            "state": "closed",
            "severity": "alert",
            "surprise": 4.0,
            "peak_s": at_s,
            "expected_every_s": 1.0,
            "shares": {"sound": 1.0},
            "kind": kind,
            "cause": cause,
            "sentence": "Something <b>loud</b> at the gate.",
        }
    )
    return Opening(opened_s=at_s, alert=alert)


def make_judged(heights: dict[float, float], *, alerts: list[float], health: list[float] | None = None) -> Judged:
    end_s = np.arange(2 * HOUR_S, dtype=np.float64)
    value = np.random.default_rng(0).uniform(0.0, 0.5, len(end_s))
    for at_s, height in heights.items():
        value[int(at_s)] = height
    timeline = Timeline(end_s=end_s, value=value, refractory_s=60.0)
    return Judged(
        feed_id="cam",
        timeline=timeline,
        channels={"sound": timeline},
        alerts=tuple(make_alert(at_s) for at_s in alerts),
        health=tuple(make_alert(at_s, kind="health", cause="covered") for at_s in health or ()),
        num_suppressed=1,
        alerts_per_day=24.0,
        phases={"warmup": 0, "provisional": 0, "calibrated": len(end_s)},
        learned_s=600.0,
    )


def make_event(
    start_s: float, kind: str, modality: str, *, magnitude: float | None = None, sham: bool = False
) -> Event:
    return Event.model_validate(
        {
            "feed": "cam",
            "start_s": start_s,
            "end_s": start_s + 4,
            "type": kind,
            "modality": modality,
            "magnitude": magnitude,
            "sham": sham,
        }
    )


def make_manifest(events: list[Event], untouched: list[Untouched] | None = None) -> Manifest:
    feed = JudgedFeed(id="cam", learn=(Path("a.mp4"),), judge=Path("b.mp4"))
    return Manifest(feeds=(feed,), events=tuple(events), untouched=tuple(untouched or ()))


EVENTS = [
    make_event(100, "siren", "sound", magnitude=5),
    make_event(1000, "siren", "sound", magnitude=-5),
    make_event(2000, "cover", "camera", magnitude=1.0),
    make_event(3000, "dog", "sound", sham=True),
    make_event(4000, "dog", "sound", sham=True),
]
UNTOUCHED = [Untouched(feed="cam", start_s=at_s, end_s=at_s + 4, modality="sound") for at_s in (5000, 5100)]


@pytest.fixture
def report() -> dict[str, object]:
    judged = make_judged(
        {102: 5.0, 1001: 0.9, 2001: 2.0, 3002: 1.0, 5002: 1.0, 6000: 1.5, 6500: 4.0},
        alerts=[102.0, 106.0, 3002.0, 6000.0, 6500.0],
        health=[2003.0, 6800.0],
    )
    return report_of(make_manifest(EVENTS, UNTOUCHED), [judged])


def test_events_false_alerts_duplicates_and_shams_are_counted_apart(report: dict[str, object]) -> None:
    assert report["num_events"] == 3
    assert report["event_recall"] == pytest.approx(2 / 3)
    assert report["delay_s"] == {"p50": pytest.approx(2.5), "p90": pytest.approx(2.9)}
    assert report["num_duplicates"] == 1
    assert report["num_suppressed"] == 1
    assert report["shams"] == {"sound": {"num": 2, "recall": 0.5, "delay_s": {"p50": 2.0, "p90": 2.0}}}
    assert report["by_type"]["siren"]["recall"] == 0.5  # type: ignore[index]


def test_the_camera_itself_may_say_that_it_was_covered(report: dict[str, object]) -> None:
    feed = report["feeds"]["cam"]  # type: ignore[index]
    covered = next(event for event in feed["events"] if event["type"] == "cover")
    assert (covered["delay_s"], covered["by_health"]) == (3.0, True)
    assert report["num_false_health"] == 1, "at 6800 s nothing was wrong with it"


def test_the_rate_of_false_alerts_is_told_against_the_budget(report: dict[str, object]) -> None:
    """Two in two hours but for the 60 windows near events and shams; the budget is one an hour."""
    hours = (2 * HOUR_S - 60) / HOUR_S
    assert report["num_false"] == 2
    assert report["false_alerts_per_camera_hour"] == pytest.approx(2 / hours)
    assert report["realised_over_nominal"] == pytest.approx(2 / hours)
    low, high = report["realised_over_nominal_95"]  # type: ignore[misc]
    assert (low * hours, high * hours) == pytest.approx((0.242, 7.225), abs=0.01)


def test_another_threshold_would_have_found_other_things(report: dict[str, object]) -> None:
    at = report["at_one_per_hour"]
    assert isinstance(at, dict)
    assert at["event_recall"] == pytest.approx(2 / 3), "the siren of +5 dB and the cover are above what is false"
    assert at["by_magnitude"]["siren"]["5"]["recall"] == 1.0
    assert at["by_magnitude"]["siren"]["-5"]["recall"] == 0.0
    assert at["sham_rate"] == 0.0
    assert report["recall_of_channels_alone"] == {"sound": 0.6667}


def test_shams_are_compared_with_untouched_stretches(report: dict[str, object]) -> None:
    auc = report["sham_auc"]["sound"]  # type: ignore[index]
    assert auc["num"] == [2, 2]
    assert 0.25 <= auc["auc"] <= 0.75


def test_a_report_is_json_and_a_page_that_needs_nothing_else(report: dict[str, object]) -> None:
    again = json.loads(json.dumps(report, allow_nan=False))
    page = html_of(again, title="A <day>")
    assert "http" not in page
    assert "<script" not in page
    assert "<b>loud</b>" not in page, "what an alert says is text, not markup"
    svgs = [ElementTree.fromstring(part.split("</svg>")[0] + "</svg>") for part in _after_each(page, "<svg")]
    assert len(svgs) >= 8, "curve, rate, types, magnitudes, and four half hours of scores"
    flags = [path for svg in svgs for path in svg.iter("path")]
    assert len(flags) == 7, "every alert has its flag"
    assert sum("missed" in rect.get("class", "") for svg in svgs for rect in svg.iter("rect")) == 1


def _after_each(text: str, mark: str) -> list[str]:
    return [mark + part for part in text.split(mark)[1:]]


def test_a_day_without_events_is_only_counted() -> None:
    report = report_of(make_manifest([]), [make_judged({}, alerts=[50.0])])
    assert report["event_recall"] is None
    assert report["num_false"] == 1
    assert "of 0 events" in html_of(json.loads(json.dumps(report, allow_nan=False)), title="quiet")


def test_a_report_of_clips_is_a_page_too() -> None:
    clip = {"num_frames": 4, "num_unusual": 2, "auc": 1.0, "above_threshold": 2, "scores": [0.1, 0.2, 0.9, 0.8]}
    report = {
        "threshold": 0.5,
        "clips": {"01": clip},
        "micro_auc": 1.0,
        "micro_auc_95": [0.9, 1.0],
        "event_recall": 1.0,
        "false_frame_rate": 0.0,
        "delay_s_median": 0.0,
        "controls": {"motion_energy": 0.6},
    }
    page = html_of(report, title="clips", labels=Labels(ranges={"01": [(3, 4)]}))
    assert page.count("<svg") == 2, "the ROC and the clip"
    assert 'class="span found"' in page
    assert html_of({"threshold": 0.5, "clips": {"01": {**clip, "auc": None}}}, title="clips").count("<svg") == 1
    with pytest.raises(ConfigError, match="no report of"):
        html_of({"nab_score": 1.0}, title="series")


def write_recording(path: Path, steps_px: list[int]) -> None:
    """A second at each of these speeds."""
    at_px = 0
    with RecordingWriter(path, size_px=(160, 96), fps=10) as writer:
        for step_px in steps_px:
            for _ in range(10):
                writer.picture(texture(160, 96, at_px))
                at_px += step_px


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes to learn; then a minute with one stretch in which everything moves four times as fast."""
    folder = tmp_path_factory.mktemp("day")
    write_recording(folder / "learn.mp4", [2] * 120)
    write_recording(folder / "judge.mp4", [2] * 30 + [8] * 6 + [2] * 24)
    (folder / "manifest.yaml").write_text(
        "budget: {alerts_per_camera_per_day: 1000, block_s: 10, warmup_s: 30}\n"
        "encoders: {edge: [motion], replicas: []}\n"
        "feeds: [{id: gate, learn: [learn.mp4], judge: judge.mp4}]\n"
        "events: [{feed: gate, start_s: 30, end_s: 36, type: rush, modality: picture, magnitude: 4}]\n"
    )
    return folder


def test_a_small_day_through_the_whole_pipeline(day: Path) -> None:
    out, page = day / "report.json", day / "report.html"
    done = CliRunner().invoke(eval_app, ["events", str(day / "manifest.yaml"), "--json", str(out), "--html", str(page)])
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert report["event_recall"] == 1.0
    assert 0.0 <= report["delay_s"]["p50"] <= 4.0
    assert report["at_one_per_hour"]["event_recall"] == 1.0
    gate = report["feeds"]["gate"]
    assert gate["learned_s"] == pytest.approx(119, abs=3)
    assert len(gate["scores"]) == len(gate["times_s"]) == pytest.approx(59, abs=2)
    assert gate["times_s"][0] == pytest.approx(2.0, abs=0.2), "times count from the start of the recording"
    assert gate["phases"]["warmup"] == 0, "what was learned counts"
    assert "100% of 1 events found" in done.stdout.replace("\n", " ")
    assert page.read_text().startswith("<!doctype html>")
    assert CliRunner().invoke(eval_app, ["report", str(out), "--html", str(day / "again.html")]).exit_code == 0


def test_what_cannot_be_read_is_an_error_and_not_a_quiet_day(day: Path, tmp_path: Path) -> None:
    for broken in ("judge", "learn"):
        (tmp_path / f"{broken}.mp4").write_bytes(b"no video")
        other = "learn" if broken == "judge" else "judge"
        (tmp_path / f"{other}.mp4").unlink(missing_ok=True)
        (tmp_path / f"{other}.mp4").symlink_to(day / f"{other}.mp4")
        (tmp_path / "manifest.yaml").write_text((day / "manifest.yaml").read_text())
        done = CliRunner().invoke(eval_app, ["events", str(tmp_path / "manifest.yaml")])
        assert done.exit_code == 2
        assert "mmstream:" in done.stderr
        assert "Traceback" not in done.output
        (tmp_path / f"{broken}.mp4").unlink()


def test_wrong_use_of_report_is_a_sentence(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{")
    for source, sentence in ((wrong, "is not JSON"), (tmp_path / "none.json", "cannot read")):
        done = CliRunner().invoke(eval_app, ["report", str(source), "--html", str(tmp_path / "out.html")])
        assert done.exit_code == 2
        assert sentence in done.stderr


def test_time_in_which_no_alert_can_open_counts_for_no_budget() -> None:
    judged = make_judged({}, alerts=[50.0])
    half = dataclasses.replace(judged, phases={"warmup": 3600, "provisional": 0, "calibrated": 3600})
    whole = report_of(make_manifest([]), [judged])["realised_over_nominal"]
    assert report_of(make_manifest([]), [half])["realised_over_nominal"] == pytest.approx(2 * whole)
