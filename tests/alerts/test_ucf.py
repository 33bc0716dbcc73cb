"""The alert stage on the noisy score timelines of a public detector (UCF-Crime test videos).

Every score stands for 10 s, so a video lasts 320 s, a little more than a block. The file does not
say how long the videos were, so an event is found when its video raises an alert. The detector
itself is weak: half of its events score like the normal videos.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmstream.alerts.calibrate import Calibrator
from mmstream.alerts.levels import DAY_S
from mmstream.alerts.tracker import AlertTracker
from mmstream.types import Float64
from tests.alerts.driving import BLOCK_S, make_calibrator, make_score

pytestmark = pytest.mark.footage
HOP_S = 10.0
PER_VIDEO = (0.05, 0.1, 0.2, 0.4, 0.8)
REPEATS = 8
"""The normal videos follow one another so often: more than a day, so that thresholds move at night only."""

LIVE_S = 1.5 * DAY_S
"""The start of a block, far from midnight."""


class Videos:
    """Decades above the median score of the normal videos; every second of those teaches."""

    def __init__(self, path: Path) -> None:
        videos = json.loads(path.read_text())["videos"].values()
        normal = np.array([video["scores"] for video in videos if video["cls"] == "Normal"])
        events = np.array([video["scores"] for video in videos if video["cls"] != "Normal"])
        middle = np.log10(np.median(normal))
        self.history, self.normal = (np.maximum(0.0, np.log10(half) - middle) for half in (normal[::2], normal[1::2]))
        self.events = np.maximum(0.0, np.log10(events) - middle)


@pytest.fixture(scope="module")
def videos(footage: Path) -> Videos:
    return Videos(footage / "scores" / "ucf_crime_scores.json")


def taught(videos: Videos, per_video: float, *, shift_s: float = 0.0) -> dict[str, np.ndarray]:
    calibrator = calibrator_for(per_video)
    tracker = AlertTracker("a", calibrator=calibrator)
    for number, value in enumerate(np.tile(videos.history.ravel(), REPEATS).tolist()):
        tracker.push(make_score(value, start_s=shift_s + number * HOP_S, hop_s=HOP_S, history=True))
    return calibrator.state()


def calibrator_for(per_video: float) -> Calibrator:
    return make_calibrator(per_video * DAY_S / (32 * HOP_S))


def openings(scores: Float64, per_video: float, state: dict[str, np.ndarray], *, start_s: float) -> list[list[int]]:
    """Of each video, after which windows an alert opened; every video comes to a fresh tracker."""
    opened = []
    for video in scores:
        calibrator = calibrator_for(per_video)
        calibrator.load(state)
        tracker = AlertTracker("a", calibrator=calibrator)
        windows = [
            make_score(value, start_s=start_s + number * HOP_S, hop_s=HOP_S)
            for number, value in enumerate(video.tolist())
        ]
        opened.append([number for number, window in enumerate(windows) if tracker.push(window).opened])
    return opened


def test_recall_rises_with_the_alerts_that_are_allowed(videos: Videos) -> None:
    """Measured: with 0.05, 0.1, 0.2 and 0.4 alerts per normal video allowed, 31, 47, 66 and 81 % of the videos
    with an event raise one (and 3, 16, 30 and 54 % of the normal ones)."""
    curve = []
    for per_video in PER_VIDEO:
        state = taught(videos, per_video)
        found = openings(videos.events, per_video, state, start_s=LIVE_S)
        false = openings(videos.normal, per_video, state, start_s=LIVE_S)
        recall = float(np.mean([bool(numbers) for numbers in found]))
        curve.append((per_video, sum(map(len, false)) / len(false), recall))
    recalls = [recall for *_, recall in curve]
    assert recalls == sorted(recalls)
    assert recalls[1] >= 0.4, curve
    assert recalls[-1] >= 0.7, curve
    # 38 videos of 38 places: far from exchangeable blocks, so only roughly what was allowed
    assert all(realised <= 2.5 * allowed + 0.1 for allowed, realised, _ in curve)


@pytest.mark.parametrize("shift_s", [BLOCK_S / 2, BLOCK_S / 3, 10.0])
def test_where_the_edges_of_blocks_fall_in_a_video_changes_nothing(videos: Videos, shift_s: float) -> None:
    """With the threshold of the night before, alerts open after the very same windows of every video."""
    for per_video in PER_VIDEO[:3]:
        state = taught(videos, per_video)
        assert openings(videos.events, per_video, state, start_s=LIVE_S) == openings(
            videos.events, per_video, state, start_s=LIVE_S + shift_s
        )


def test_where_the_edges_of_blocks_fall_in_the_history_hardly_matters(videos: Videos) -> None:
    """Other blocks, other maxima, another threshold: but at most one event in twenty more or less."""
    for per_video in PER_VIDEO[:4]:
        found = [
            sum(
                map(
                    bool, openings(videos.events, per_video, taught(videos, per_video, shift_s=shift_s), start_s=LIVE_S)
                )
            )
            for shift_s in (0.0, BLOCK_S / 2)
        ]
        assert abs(found[0] - found[1]) <= 0.05 * len(videos.events)
