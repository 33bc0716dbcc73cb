"""The command line as a user meets it: exit codes, plain sentences, JSON that programs can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.cli import app
from tests.rtsp.clips import make_clip

runner = CliRunner()


def test_probe_says_what_a_recording_is_and_saves_a_picture(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", video="libx264", audio="aac")
    frame = tmp_path / "frame.jpg"
    done = runner.invoke(app, ["probe", str(clip), "--frame", str(frame), "--json"])
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["video"]["codec"], report["video"]["width"], report["audio"]["codec"]) == ("h264", 320, "aac")
    assert report["clock"]["source"] == "file"
    assert report["first_frame_s"] >= 0
    assert frame.read_bytes()[:2] == b"\xff\xd8"


def make_bad(folder: Path) -> dict[str, Path]:
    whole = make_clip(folder / "whole.mp4").read_bytes()
    files = {"empty": b"", "noise": bytes(range(256)) * 40, "cut": whole[: len(whole) // 3], "text": b"no video\n" * 9}
    for name, content in files.items():
        (folder / f"{name}.mp4").write_bytes(content)
    return {name: folder / f"{name}.mp4" for name in files}


@pytest.mark.parametrize("name", ["empty", "noise", "cut", "text"])
def test_a_file_that_is_no_recording_is_a_sentence_and_exit_code_2(tmp_path: Path, name: str) -> None:
    assert_refused(make_bad(tmp_path)[name], tmp_path)


@pytest.mark.footage
@pytest.mark.parametrize(
    "name", ["emptyfile.mp3", "invalid_userdata.mp4", "pocketsphinx_bad.wav", "truncated-64bit.mp4"]
)
def test_every_bad_file_of_the_footage_is_a_sentence_and_exit_code_2(footage: Path, tmp_path: Path, name: str) -> None:
    assert_refused(footage / "bad" / name, tmp_path)


def assert_refused(path: Path, folder: Path) -> None:
    done = runner.invoke(app, ["probe", str(path), "--frame", str(folder / "frame.jpg"), "--json"])
    assert done.exit_code == 2, done.stdout
    error = json.loads(done.stdout)["error"]
    assert error["code"] in ("damaged", "unsupported_codec", "ended", "not_found")
    assert len(error["message"]) > 20
    assert "Traceback" not in done.stderr
    assert error["message"].split(";")[0][:30] in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["probe", "gopher://camera"], "gopher"),
        (["probe", "no/such/file.mp4"], "no/such/file.mp4"),
        (["bench", "pipeline", "a.mp4", "--only", "warp"], "warp"),
        (["doctor", "no/such/site.yaml"], "no/such/site.yaml"),
    ],
)
def test_wrong_use_is_exit_code_2_and_names_what_is_wrong(arguments: list[str], word: str) -> None:
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2
    assert word in done.stderr.replace("\n", "").replace(" ", "") or word in done.stderr


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, typer.core.TyperGroup):
            found += commands(command, (*path, name))
    return found


ROOT = typer.main.get_command(app)
assert isinstance(ROOT, typer.core.TyperGroup)


@pytest.mark.parametrize("command", [(), *commands(ROOT)], ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = runner.invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    assert len(done.stdout) > 60


def test_doctor_tells_findings_as_json() -> None:
    done = runner.invoke(app, ["doctor", "--json"])
    findings = json.loads(done.stdout)
    assert {finding["ok"] for finding in findings} <= {"ok", "warning", "failed"}
    assert all(finding["cure"] for finding in findings if finding["ok"] != "ok")
    assert done.exit_code == (1 if any(finding["ok"] == "failed" for finding in findings) else 0)
