"""What is wrong with a camera that only a live stream can show, on the whole way of a feed: it is gone, its clock is
wrong. What the picture and the sound show is tested on encoded recordings (`tests/test_condition.py`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmstream.alerts.health import HealthTracker
from mmstream.config import EncoderSection, FeedConfig, SiteConfig, SiteSection
from mmstream.feed import FeedRunner
from mmstream.types import Condition, HealthCause
from tests.rtsp.clips import make_clip
from tests.rtsp.server import CameraServer, is_available

pytestmark = [
    pytest.mark.rtsp,
    pytest.mark.skipif(not is_available(), reason="needs Debian's python3-gi and gir1.2-gst-rtsp-server-1.0"),
]


class Shifted:
    """The time of day, and a lead that the test gives it."""

    lead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.lead_s


class Watch:
    """A feed and the tracker of its camera's health; what it has told, in the feed's own seconds."""

    def __init__(self, runner: FeedRunner) -> None:
        self.runner = runner
        self.tracker = HealthTracker("gate")
        self.newest: Condition | None = None

    def until(
        self, cause: HealthCause, state: str, clock: Shifted, *, step_s: float = 0.0, alone: bool = True
    ) -> Condition:
        """The condition that opened or closed it; ``step_s``: so much more passes with every look."""
        deadline = time.monotonic() + 45.0
        told: list[tuple[str | None, str]] = []
        while time.monotonic() < deadline:
            for item in self.runner.take(50):
                if not isinstance(item, Condition):
                    continue
                self.newest = item
                told += [(alert.cause, alert.state) for alert in self.tracker.push(item)]
                if (cause, state) in told:
                    assert not alone or told == [(cause, state)]
                    return item
            clock.lead_s += step_s
            time.sleep(0.05)
        raise AssertionError(f"not seen: {cause} {state}; told {told}, newest {self.newest}")

    def condition(self) -> Condition:
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            found = [item for item in self.runner.take(50) if isinstance(item, Condition) and item.silent_s == 0.0]
            if found:
                for item in found:
                    assert self.tracker.push(item) == []
                return found[-1]
            time.sleep(0.05)
        raise AssertionError("no window came")


@contextmanager
def watched(camera: CameraServer, folder: Path, clock: Shifted) -> Iterator[Watch]:
    feed = FeedConfig(id="gate", url=camera.url("gate"), open_timeout_s=2.0, read_timeout_s=1.0)
    site = SiteConfig(site=SiteSection(data_dir=folder), encoders=EncoderSection(edge=(), replicas=()))
    runner = FeedRunner(feed, site, inputs={}, now=clock)
    runner.start()
    try:
        yield Watch(runner)
    finally:
        runner.stop()


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[CameraServer]:
    with CameraServer({"gate": f"clip:{make_clip(tmp_path / 'gate.mp4')}"}) as server:
        yield server


def test_a_camera_that_was_switched_off_is_offline_within_fifteen_seconds_until_it_is_back(
    camera: CameraServer, tmp_path: Path
) -> None:
    clock = Shifted()
    with watched(camera, tmp_path, clock) as watch:
        last_s = watch.condition().end_s
        camera.kill()
        opened = watch.until("offline", "open", clock, step_s=0.5)
        assert 10.0 <= opened.silent_s <= 15.0
        assert opened.end_s - last_s <= 15.0
        camera.start()
        watch.until("offline", "closed", clock)
        assert watch.tracker.causes == ()


def test_a_camera_whose_clock_is_wrong_is_named_and_cleared_when_it_has_been_set(
    camera: CameraServer, tmp_path: Path
) -> None:
    """Here it is ours that is a minute and a half late and then set: what is told is the difference of the two."""
    clock = Shifted()
    clock.lead_s = -90.0
    with watched(camera, tmp_path, clock) as watch:
        first_s = watch.condition().end_s
        opened = watch.until("clock", "open", clock)
        assert opened.clock_error_s == pytest.approx(90.0, abs=2.0)
        assert opened.end_s - first_s <= 15.0
        clock.lead_s = 0.0
        # our own leap looks as if nothing had come for a minute and a half, which is told too
        watch.until("clock", "closed", clock, alone=False)
