"""A running site gets a model, another one, and the first one back, while a camera is watched: nothing is lost."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from safetensors.torch import save

from mmstream.config import SiteConfig
from mmstream.encoders.site_net import PictureNet, about
from mmstream.errors import MmstreamError
from mmstream.sources.synthetic import render_clip
from mmstream.storage.base import AlertQuery
from mmstream.storage.open import open_media, open_store
from mmstream.training.footage import Burst, Glimpse
from mmstream.training.footage_files import FootageFiles
from mmstream.training.registry import Lineage, Registry
from mmstream.training.swap import Swapped
from mmstream.training.versions import registry_of
from mmstream.types import Alert
from services.actors import find
from services.app import API_APP, LedgerCommands, Site
from services.encoders import app_name, push_model, replica_stats
from services.model_record import MODEL_SWAPS, SwapRecord, read_swaps
from services.ports import free_port
from services.supervisor import SUPERVISOR
from tests.rtsp.site import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PATIENCE_S = 120.0
ALARM = "tests.cluster.alarm:AlarmEncoder"
LOST = ("failed", "unavailable", "replica_died", "misfit", "not_finite")
"""Why an answer of an encoder can be missing, other than that the machine is too slow."""


def until(what: str, happened: Callable[[], bool]) -> None:
    wait_until(happened, within_s=PATIENCE_S, what=what)


def models() -> list[str]:
    """What the replicas run; empty while none answers."""
    try:
        return [stats.model for stats in replica_stats("site")]
    except (RayError, RayServeException, TimeoutError):
        return []


class SwappedSite:
    """A looped clip, an encoder that has no model at first, and a footage of the hours before."""

    def __init__(self, folder: Path) -> None:
        render_clip("yard", folder / "yard.mp4", duration_s=10.0, seed=1, size=(320, 180))
        settings = {
            "site": {"data_dir": folder / "data"},
            "api": {"port": free_port()},
            "archive": {"enabled": False},
            "encoders": {"edge": [ALARM], "replicas": ["site"], "device": "cpu", "max_replicas": 1},
            "budget": {"alerts_per_camera_per_day": 8000, "block_s": 5, "warmup_s": 10},
            "training": {"footage_days": 30},
            "gate": {"enabled": False},
            "feeds": [{"id": "yard", "url": str(folder / "yard.mp4"), "loop": True}],
        }
        self.site = Site(SiteConfig.model_validate(settings))
        self.registry = Registry(registry_of(self.site.config))
        self._film_the_past()

    def _film_the_past(self) -> None:
        random = np.random.default_rng(0)
        files = FootageFiles("yard", open_media(self.site.config), max_bytes=2**30, keep_s=1e9)
        start_s = time.time() - 3 * 3600.0
        background = random.integers(60, 180, (112, 112))  # the yard is seen in infrared
        for number in range(120):
            at_s = start_s + 60.0 * number
            shown = [background + random.normal(0, 8, (112, 112)) for _ in "1234"]
            grey = [np.repeat(np.clip(each, 0, 255).astype(np.uint8)[..., None], 3, axis=2) for each in shown]
            glimpses = [Glimpse(start_s=at_s + i, end_s=at_s + i + 2, picture=p) for i, p in enumerate(grey)]
            files.push(Burst(feed_id="yard", glimpses=tuple(glimpses)))

    def add(self, number: int, data: bytes | None = None) -> str:
        torch.manual_seed(number)
        net = {f"picture.{name}": value for name, value in PictureNet().state_dict().items()}
        data = data if data is not None else save(net, about(parts=("picture",)))
        made = self.registry.add("site", {"model.safetensors": data}, Lineage(code="1"), made_s=1e9 + number)
        return made.version

    def promote(self, version: str) -> Swapped:
        done: Swapped = ray.get(find(SUPERVISOR).promote_model.remote("site", version, "Better."), timeout=300)
        return done

    def roll_back(self) -> None:
        """As the API does, which does not wait."""
        asyncio.run(LedgerCommands().begin_swap("roll back", "site", "", "Too loud."))
        until("it is rolled back", lambda: (self.swap().what, self.swap().state) == ("roll back", "done"))

    def swap(self) -> SwapRecord:
        reader = open_store(self.site.config, write=False)
        try:
            return read_swaps(reader.value(MODEL_SWAPS))["site"]
        finally:
            reader.close()

    def status(self) -> Mapping[str, Any]:
        return self.site.statuses().get("yard", {})

    def encoders(self) -> Mapping[str, Mapping[str, int]]:
        found: Mapping[str, Mapping[str, int]] = self.status().get("shard_counters", {}).get("encoders", {"site": {}})
        return found

    def rows(self) -> Mapping[str, int]:
        found: Mapping[str, int] = self.status().get("analysis", {}).get("bank_rows", {})
        return found

    def counters(self) -> Mapping[str, int]:
        return dict(self.encoders().get("site", {}))

    def alerts(self) -> Sequence[Alert]:
        reader = open_store(self.site.config, write=False)
        try:
            found: list[Alert] = []
            for quiet in (False, True):
                found += reader.alerts(AlertQuery(limit=500, quiet=quiet)).alerts
            return [alert for alert in found if alert.kind == "unusual"]
        finally:
            reader.close()

    def judged_by(self, version: str) -> list[Alert]:
        return [alert for alert in self.alerts() if f"site@{version}" in alert.models]

    def stop(self) -> None:
        """Without `Site.stop`, which would end the cluster of all tests."""
        self.site._stop_supervisor()
        for name in (API_APP, app_name("site")):
            serve.delete(name)
        self.site._stop_ledger()


@pytest.fixture(scope="module")
def running(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwappedSite]:  # noqa: ARG001
    site = SwappedSite(tmp_path_factory.mktemp("swap"))
    site.site.start()
    yield site
    site.stop()


def test_models_come_and_go_while_a_camera_is_watched(running: SwappedSite) -> None:
    until("the camera is watched", lambda: running.status().get("state") == "live")
    assert "not trained yet" in running.site.without["site"]

    first = running.add(1)
    running.promote(first)
    until("the encoder is asked", lambda: bool(running.counters().get("encoded")))
    until("its answers are judged", lambda: "site" in running.rows())
    assert running.rows()["site"] >= 64  # from footage: of its own windows it needs more than a minute
    until("alerts", lambda: len(running.judged_by(first)) >= 1)

    second = running.add(2)
    before = running.counters()
    began_s = time.time()
    done = running.promote(second)
    swapped_s = time.time()
    assert models() == [f"site@{second}"]
    until("alerts", lambda: len(running.judged_by(second)) >= 1)
    assert lost(before, running.counters()) == 0
    assert done.notes == ("yard: too little footage to make the threshold anew; it stays as it is",)
    print(f"swap: {done.seconds}, {swapped_s - began_s:.1f} s in all")  # noqa: T201 - a figure

    assert_one_model_each(running, {first: (0.0, swapped_s), second: (began_s, time.time())})
    before = running.counters()
    back_s = time.time()
    running.roll_back()
    rolled_s = time.time()
    num_before = len(running.judged_by(first))
    until("alerts", lambda: len(running.judged_by(first)) > num_before)
    assert lost(before, running.counters()) == 0
    print(f"rollback: {rolled_s - back_s:.1f} s")  # noqa: T201 - a figure
    assert (running.registry.in_use("site").version, running.registry.in_use("site").rolled_back) == (first, True)
    newest = [alert for alert in running.alerts() if alert.start_s > rolled_s + 10.0]
    assert all(f"site@{second}" not in alert.models for alert in newest)


def lost(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    return sum(after.get(name, 0) - before.get(name, 0) for name in LOST)


def assert_one_model_each(running: SwappedSite, used: Mapping[str, tuple[float, float]]) -> None:
    """Every alert names one version, that which was in use at its peak; none was raised twice."""
    alerts = running.alerts()
    assert len({alert.alert_id for alert in alerts}) == len(alerts)
    for alert in alerts:
        models = [model for model in alert.models if model.startswith("site@")]
        assert len(models) <= 1
        for model in models:
            from_s, until_s = used[model.removeprefix("site@")]
            assert from_s - 10.0 <= alert.peak_s <= until_s + 10.0


def test_a_version_that_cannot_be_run_changes_nothing(running: SwappedSite) -> None:
    before = running.registry.in_use("site").version
    damaged = running.add(3, data=b"no weights at all")
    with pytest.raises(MmstreamError):
        running.promote(damaged)
    assert running.registry.in_use("site").version == before
    assert models() == [f"site@{before}"]


def test_what_a_swap_left_behind_when_it_was_killed_is_brought_back(running: SwappedSite) -> None:
    """The encoders had the new version already, and the registry did not: whoever starts puts that right."""
    before = running.registry.in_use("site").version
    weights = Path(running.site.config.site.data_dir, "models", "site", running.add(4), "model.safetensors")
    push_model("site", {"weights": str(weights), "version": "halfway"})
    assert models() == ["site@halfway"]
    supervisor = find(SUPERVISOR)
    pid = ray.get(supervisor.pid.remote(), timeout=60)
    os.kill(pid, 9)
    until("it is back", lambda: models() == [f"site@{before}"])


def test_without_any_version_the_encoder_stands_by_and_the_camera_is_watched_on(running: SwappedSite) -> None:
    assert len(running.registry.in_use("site").before) == 0
    running.roll_back()
    assert running.registry.in_use("site").version == ""
    assert models() == [""]
    until("the shard runs without it", lambda: "site" not in running.encoders())
    windows = running.status()["counters"]["windows"]
    until("it is watched on", lambda: running.status()["counters"]["windows"] != windows)
