"""How many health alerts an hour without any fault raises: ``python -m tests.measure_quiet_hours NAME ...``.

A name is one of the demo's scenes, rendered for an hour, or a recording, looped for an hour. Played as fast as it goes.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmstream.alerts.health import HealthTracker
from mmstream.condition import ConditionMeter
from mmstream.types import Window
from tests.tampered import film
from tests.test_condition import windows_of

HOUR_S = 3600.0
PICTURE_S = 0.2


def looped(path: Path) -> Iterator[Window]:
    """Its windows again and again, as if time went on."""
    recorded = [window for window in windows_of(path) if window.frames]
    length_s = recorded[-1].end_s - recorded[0].start_s + PICTURE_S
    for turn in range(int(HOUR_S / length_s) + 1):
        shift_s = turn * length_s
        for window in recorded:
            frames = tuple(
                dataclasses.replace(frame, start_s=frame.start_s + shift_s, end_s=frame.end_s + shift_s)
                for frame in window.frames
            )
            yield dataclasses.replace(
                window, start_s=window.start_s + shift_s, end_s=window.end_s + shift_s, frames=frames
            )


def count(name: str, windows: Iterator[Window]) -> None:
    meter, tracker = ConditionMeter("cam"), HealthTracker("cam")
    first_s, end_s, num_windows = float("inf"), 0.0, 0
    told: list[tuple[str | None, float]] = []
    for window in windows:
        condition = meter.measure(window)
        first_s, end_s, num_windows = min(first_s, window.start_s), window.end_s, num_windows + 1
        told += [(a.cause, round(a.start_s - first_s)) for a in tracker.push(condition) if a.state == "open"]
    minutes = (end_s - first_s) / 60
    sys.stdout.write(f"{name}: {minutes:.1f} minutes, {num_windows} windows, {len(told)} health alerts {told}\n")
    sys.stdout.flush()


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(name)
            if path.suffix:
                count(path.name, looped(path))
                continue
            rendered = film(Path(folder) / f"{name}.mp4", [], seconds=HOUR_S, scene=name)
            count(name, windows_of(rendered))
            rendered.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
