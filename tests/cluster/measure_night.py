"""One whole night of a site that goes on watching: ``python -m tests.cluster.measure_night [FOLDER]``.

A rendered camera is watched, and its API asked ten times a second. Footage of the hours before is put there; the night
is started over HTTP, trains the site's networks on two workers of Ray Train, tries them, lets the gate decide, and what
passes is swapped in by the supervisor. Every step is printed with the second in which it was first seen.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.config import SiteConfig
from mmstream.sources.synthetic import render_clip
from mmstream.storage.open import open_media
from mmstream.training.footage import Burst
from mmstream.training.footage_files import FootageFiles
from services.app import Site
from services.client import ApiError, SiteClient
from services.ports import free_port
from tests.rtsp.site import wait_until
from tests.training.passing import passings

FEED = "yard"
NUM_BURSTS = 400
EVERY_S = 60.0
ALARM = "tests.cluster.alarm:AlarmEncoder"
PATIENCE_S = 480.0


class Timeline:
    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._told: set[str] = set()

    def note(self, what: str) -> None:
        """Printed the first time it is seen."""
        if what and what not in self._told:
            self._told.add(what)
            print(f"{time.monotonic() - self._began_s:7.1f} s  {what}", flush=True)  # noqa: T201


class Asking(threading.Thread):
    """Asks the API all the time, as a dashboard would."""

    def __init__(self, client: SiteClient) -> None:
        super().__init__(name="asking", daemon=True)
        self._client, self._ended = client, threading.Event()
        self.took_s: list[float] = []
        self.num_windows = 0
        """Of the camera, since this began."""
        self.failed: Counter[str] = Counter()

    def run(self) -> None:
        before: int | None = None
        while not self._ended.wait(0.1):
            began_s = time.monotonic()
            try:
                feeds = list(self._client.feeds())
            except ApiError as error:
                self.failed[str(error)] += 1
            else:
                now = int(((feeds[0].get("status") or {}).get("counters") or {}).get("windows", 0))
                if before is not None:  # the shard starts anew with the site's first version, and so does its count
                    self.num_windows += now - before if now >= before else now
                before = now
            self.took_s.append(time.monotonic() - began_s)

    def end(self) -> str:
        self._ended.set()
        self.join()
        p50, p99 = np.quantile(self.took_s, [0.5, 0.99])
        return f"{len(self.took_s)} requests, {sum(self.failed.values())} failed, p50 {p50:.3f} s, p99 {p99:.3f} s"


def settings_in(folder: Path) -> dict[str, Any]:
    return {
        "site": {"data_dir": str(folder / "data")},
        "api": {"port": free_port()},
        "archive": {"enabled": False},
        "encoders": {"edge": [ALARM], "replicas": ["site", "site-sound"], "device": "cpu", "max_replicas": 1},
        "budget": {"alerts_per_camera_per_day": 8000, "block_s": 5, "warmup_s": 10},
        "training": {
            "models": ["site"],
            "workers": 2,
            "cpus_per_worker": 1,
            "options": {"site": {"epochs": 10, "precision": "fp32", "batch": 16}},
        },
        "gate": {"enabled": False},
        "feeds": [{"id": FEED, "url": str(folder / "yard.mp4"), "loop": True}],
    }


def film_the_past(site: SiteConfig) -> None:
    """Things that pass and sound like what they are (`tests.training.passing`), until a quarter of an hour ago."""
    files = FootageFiles(FEED, open_media(site), max_bytes=2**30, keep_s=1e9)
    first_s = time.time() - 900.0 - NUM_BURSTS * EVERY_S
    for number, burst in enumerate(passings(FEED, NUM_BURSTS)):
        files.push(moved(burst, first_s + number * EVERY_S - burst.start_s))


def moved(burst: Burst, by_s: float) -> Burst:
    glimpses = (
        dataclasses.replace(each, start_s=each.start_s + by_s, end_s=each.end_s + by_s) for each in burst.glimpses
    )
    return dataclasses.replace(burst, glimpses=tuple(glimpses))


def one_night(folder: Path) -> None:
    timeline = Timeline()
    render_clip("yard", folder / "yard.mp4", duration_s=10.0, seed=1, size=(320, 180))
    site = Site(SiteConfig.model_validate(settings_in(folder)))
    film_the_past(site.config)
    timeline.note(f"{NUM_BURSTS} bursts of footage lie there")
    site.start()
    try:
        with SiteClient(site.url, site.new_key or "") as client:
            watched_night(client, timeline)
    finally:
        site.stop()


def watched_night(client: SiteClient, timeline: Timeline) -> None:
    def status() -> dict[str, Any]:
        return next(iter(client.feeds())).get("status") or {}

    wait_until(lambda: status().get("state") == "live", within_s=PATIENCE_S, what="the camera is watched")
    timeline.note("the camera is watched")
    asking = Asking(client)
    asking.start()
    began_s = time.monotonic()
    client.train({"models": ["site"], "promote": True})
    timeline.note("the night is asked for")

    def ended() -> dict[str, Any] | None:
        answer = client.training()
        current = answer["current"]
        if current is None:
            return dict(answer["last"][0])
        epoch = f", epoch {current['epoch']} of {current['epochs']}" if current["epoch"] else ""
        timeline.note(f"{current['phase']}: {current['subject']}{epoch}")
        for model in client.models():
            swap = model.get("swap") or {}
            timeline.note(f"swap {swap.get('state')}" if swap else "")
        return None

    job = wait_until(ended, within_s=PATIENCE_S, what="the night is over")
    timeline.note(f"the night is over: {job['state']}. {job['sentence']}")
    results = job["results"] or [{}]
    timeline.note(f"{results[0].get('outcome')}: {results[0].get('sentence')}")
    version = results[0].get("version", "")
    if results[0].get("outcome") == "refused":
        client.promote("site", version, force=True)
        timeline.note("refused by the gate, so it is promoted by hand")

    def judged() -> bool:
        return any(f"site@{version}" in alert["models"] for alert in client.alerts(limit=20))

    wait_until(judged, within_s=PATIENCE_S, what="an alert names the version")
    timeline.note(f"an alert names site@{version}")
    swap = client.model("site").get("swap") or {}
    timeline.note(f"the swap took {swap.get('seconds')}; {swap.get('sentence')}")
    rate = asking.num_windows / (time.monotonic() - began_s)
    timeline.note(f"{rate:.2f} windows a second (1 is all of them); {asking.end()}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_night(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="mmstream-night-") as made:
            one_night(Path(made))
