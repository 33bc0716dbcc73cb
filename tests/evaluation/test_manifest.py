"""A manifest that is wrong says where and what would be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmstream.errors import ConfigError
from mmstream.evaluation.manifest import read_manifest

GOOD = """\
budget:
  alerts_per_camera_per_day: 24
feeds:
  - id: gate
    learn: [monday.mp4]
    judge: tuesday.mp4
events:
  - {feed: gate, start_s: 61.5, end_s: 64, type: siren, modality: sound, magnitude: 5}
  - {feed: gate, start_s: 90, end_s: 94, type: dog, modality: sound, sham: true}
untouched:
  - {feed: gate, start_s: 10, end_s: 12, modality: sound}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("monday.mp4", "tuesday.mp4"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.yaml"
    path.write_text(text)
    return path


def test_a_manifest_is_read_with_paths_beside_it(folder: Path) -> None:
    manifest = read_manifest(write(folder, GOOD))
    assert manifest.feeds[0].learn == (folder / "monday.mp4",)
    assert manifest.budget.alerts_per_camera_per_day == 24
    assert [event.sham for event in manifest.events] == [False, True]
    assert manifest.untouched[0].end_s == 12


def test_json_is_as_good(folder: Path) -> None:
    text = json.dumps({"feeds": [{"id": "gate", "learn": ["monday.mp4"], "judge": "tuesday.mp4"}]})
    assert read_manifest(write(folder, text)).feeds[0].id == "gate"


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        ("type: siren", "kind: siren", "yaml:8: events.0.type: is missing"),
        ("start_s: 61.5", "start_s: 66", "yaml:8: events.0: end_s must be after start_s"),
        (
            "modality: sound, magnitude",
            "modality: smell, magnitude",
            "yaml:8: events.0.modality: .*'picture', 'sound'.*'smell'",
        ),
        ("feed: gate, start_s: 90", "feed: door, start_s: 90", "an event is of feed 'door'; want one of gate"),
        (
            "judge: tuesday.mp4",
            "judge: friday.mp4",
            "yaml:6: feed 'gate': there is no file friday.mp4; paths count from",
        ),
        ("learn: [monday.mp4]", "learn: []", "yaml:5: feeds.0.learn: .*at least 1"),
        ("untouched:", "untuched:", "yaml:10: untuched: there is no such field"),
        (
            "alerts_per_camera_per_day: 24",
            "alerts_per_camera_per_day: none",
            "yaml:2: budget.alerts_per_camera_per_day: .*'none'",
        ),
        ("feeds:", "feeds: [", "neither YAML nor JSON"),
    ],
)
def test_a_mistake_is_told_with_its_line(folder: Path, wrong: str, right: str, sentence: str) -> None:
    assert wrong in GOOD
    with pytest.raises(ConfigError, match=sentence):
        read_manifest(write(folder, GOOD.replace(wrong, right, 1)))


def test_a_feed_named_twice_and_a_file_that_is_no_manifest(folder: Path) -> None:
    twice = GOOD.replace("events:", "  - {id: gate, learn: [monday.mp4], judge: tuesday.mp4}\nevents:")
    with pytest.raises(ConfigError, match="'gate' is used twice"):
        read_manifest(write(folder, twice))
    with pytest.raises(ConfigError, match="want 'feeds:' and 'events:', got list"):
        read_manifest(write(folder, "- 1"))
    with pytest.raises(ConfigError, match="cannot read"):
        read_manifest(folder / "none.yaml")
