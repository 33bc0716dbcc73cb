"""``mmstream eval`` as a user meets it: a table, a report, exit code 2 for wrong use."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from services.cli_eval import eval_app
from tests.evaluation.test_series import make_benchmark
from tests.sources.material import write_clip

runner = CliRunner()


def test_the_report_is_printed_and_written(tmp_path: Path) -> None:
    data, windows = make_benchmark(tmp_path)
    out = tmp_path / "report.json"
    done = runner.invoke(eval_app, ["series", "--data", str(data), "--windows", str(windows), "--json", str(out)])
    assert done.exit_code == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["nab_score"] > 90.0
    assert set(report["series"]) == {"hall/calm.csv", "hall/odd.csv"}
    assert "windowed_gaussian" in report["controls"]
    assert f"NAB score {report['nab_score']:.1f}" in done.stdout


def test_wrong_files_are_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    data, windows = make_benchmark(tmp_path)
    out = tmp_path / "report.json"
    cases = {
        "no folder": ["--data", str(tmp_path / "none"), "--windows", str(windows)],
        "cannot read": ["--data", str(data), "--windows", str(tmp_path / "none.json")],
        "make it first": ["--data", str(data), "--windows", str(windows), "--json", str(tmp_path / "no" / "r.json")],
        "says nothing about": ["--data", str(tmp_path), "--windows", str(windows), "--json", str(out)],
    }
    for sentence, options in cases.items():
        done = runner.invoke(eval_app, ["series", *options])
        assert done.exit_code == 2
        assert sentence in done.stderr
        assert "Traceback" not in done.output
    assert not out.exists()


def test_a_forgotten_option_is_wrong_use(tmp_path: Path) -> None:
    assert runner.invoke(eval_app, ["series", "--data", str(tmp_path)]).exit_code == 2


def test_clips_are_judged_and_controls_stand_beside_them(tmp_path: Path) -> None:
    for name, step_px in (("normal/a", 2), ("normal/b", 2), ("normal/c", 2), ("test/slow", 2), ("test/fast", 7)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_clip(tmp_path / f"{name}.mp4", seconds=8 if name.startswith("normal") else 2, step_px=step_px)
    labels, out = tmp_path / "labels.json", tmp_path / "report.json"
    labels.write_text(json.dumps({"anomalous_frames": {"fast": [[1, 20]]}}))
    folders = ["--normal", str(tmp_path / "normal"), "--test", str(tmp_path / "test")]
    done = runner.invoke(eval_app, ["video", *folders, "--labels", str(labels), "--json", str(out)])
    assert done.exit_code == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["micro_auc"] > 0.75
    assert f"AUC {report['micro_auc']:.3f}" in done.stdout
    assert "motion_energy" in done.stdout
    assert runner.invoke(eval_app, ["video", *folders]).exit_code == 0, "without labels the scores alone"


def test_too_little_to_learn_from_is_said(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", seconds=2)
    done = runner.invoke(eval_app, ["video", "--normal", str(tmp_path), "--test", str(tmp_path)])
    assert done.exit_code == 2
    assert "too little to learn from" in done.stderr
    write_clip(tmp_path / "b.mp4", seconds=2)
    done = runner.invoke(eval_app, ["video", "--normal", str(tmp_path), "--test", str(tmp_path)])
    assert done.exit_code == 2
    assert "20 seconds in all" in done.stderr


def test_a_clip_that_cannot_be_read_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    done = runner.invoke(eval_app, ["video", "--normal", str(tmp_path), "--test", str(tmp_path)])
    assert done.exit_code == 2
    assert "mmstream:" in done.stderr
    assert "Traceback" not in done.output
