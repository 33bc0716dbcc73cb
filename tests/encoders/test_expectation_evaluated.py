"""`mmstream eval video --train`: the net learns from the learned clips and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmstream.encoders.expectation_net import TrainedNet
from mmstream.evaluation.video import PAUSE_S, evaluate
from mmstream.types import Frame
from tests.encoders.street import make_net
from tests.sources.material import write_clip


def test_held_back_and_test_clips_are_never_trained_on_and_time_goes_on(tmp_path: Path) -> None:
    for name in ("normal", "test"):
        (tmp_path / name).mkdir()
    for number in range(5):
        write_clip(tmp_path / "normal" / f"{number}.mp4", seconds=3 if number != 3 else 2, step_px=2)
    write_clip(tmp_path / "test" / "a.mp4", seconds=1, step_px=2)
    seen: list[Frame] = []

    def train(frames: Iterator[Frame]) -> TrainedNet:
        seen.extend(frames)
        return make_net()

    report = evaluate(tmp_path / "normal", tmp_path / "test", None, encoders=("motion",), train=train)
    times_s = np.array([frame.start_s for frame in seen])
    steps_s = np.diff(times_s)
    assert (steps_s > 0).all()
    assert (steps_s >= PAUSE_S - 1e-6).sum() == 3, "four clips, the fourth of five is held back"
    parts = np.split(times_s, np.flatnonzero(steps_s >= PAUSE_S - 1e-6) + 1)
    assert all(2.5 < part[-1] - part[0] < 3.5 for part in parts)
    assert len(report["clips"]["a"]["scores"]) > 0
