"""Rules of a running site: set and removed while two shards watch, judged with a real replica and a real ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray import serve

from mmstream.config import RuleConfig, SiteConfig
from mmstream.sources.synthetic import render_clip
from mmstream.storage.base import AlertQuery
from mmstream.storage.open import open_store
from mmstream.types import Alert, TextSpan
from services.app import API_APP, LedgerCommands, Site
from services.encoders import app_name
from services.ports import free_port
from tests.rtsp.site import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ENCODER = "tests.rules.double:LightEncoder"


class RuledSite:
    """A looped clip on one shard, pushed words on another, and a rule of its site.yaml."""

    def __init__(self, folder: Path) -> None:
        render_clip("yard", folder / "yard.mp4", duration_s=10.0, seed=1, size=(320, 180))
        self.site = Site(
            SiteConfig.model_validate(
                {
                    "site": {"data_dir": folder / "data"},
                    "api": {"port": free_port()},
                    "archive": {"enabled": False},
                    "shards": {"feeds_per_shard": 1},
                    "encoders": {"edge": ["words"], "replicas": [ENCODER], "device": "cpu", "max_replicas": 1},
                    "rules": [{"name": "light", "looks_like": "a light scene"}],
                    "feeds": [
                        {"id": "yard", "url": str(folder / "yard.mp4"), "loop": True},
                        {"id": "hall", "url": "push:"},
                    ],
                }
            )
        )

    def stop(self) -> None:
        """Without `Site.stop`, which would end the cluster of all tests."""
        self.site._stop_supervisor()
        for name in (API_APP, app_name(ENCODER)):
            serve.delete(name)
        self.site._stop_ledger()

    def rules_on(self, feed_id: str) -> dict[str, Any]:
        status = self.site.statuses().get(feed_id, {})
        return dict(status.get("analysis", {}).get("rules", {}))

    def alerts(self) -> Sequence[Alert]:
        reader = open_store(self.site.config, write=False)
        try:
            return reader.alerts(AlertQuery(limit=50)).alerts
        finally:
            reader.close()


@pytest.fixture(scope="module")
def site(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuledSite]:  # noqa: ARG001
    running = RuledSite(tmp_path_factory.mktemp("ruled"))
    running.site.start()
    yield running
    running.stop()


def say(text: str) -> None:
    now_s = time.time()
    span = TextSpan(feed_id="hall", start_s=now_s, end_s=now_s, text=text, origin="pushed")
    asyncio.run(LedgerCommands().push_text([span]))


def test_a_rule_of_site_yaml_has_its_text_from_the_replica_and_learns_the_camera(site: RuledSite) -> None:
    def learns() -> bool:
        rule = site.rules_on("yard").get("light", {})
        return bool(rule.get("windows_learned", 0) > 3 and rule["trouble"] == "")

    wait_until(learns, within_s=120, what=f"pictures are compared with the rule's text: {site.rules_on('yard')}")


def test_a_rule_set_over_the_api_holds_on_all_shards_without_restarting_a_feed(site: RuledSite) -> None:
    def holds(name: str) -> list[bool]:
        say("Good morning.")  # a feed that only words come to reports with its windows
        return [name in site.rules_on(feed_id) for feed_id in ("yard", "hall")]

    wait_until(lambda: all(holds("light")), within_s=120, what="both shards run")
    before = {feed_id: (status["pid"], status["shard"]) for feed_id, status in site.site.statuses().items()}
    assert len(set(before.values())) == 2
    asyncio.run(LedgerCommands().put_rule(RuleConfig(name="help", says=("help me", "救命"))))
    wait_until(lambda: all(holds("help")), within_s=30, what="both shards know the rule")

    def told() -> list[Alert]:
        say("快来人啊，救命！")
        return [alert for alert in site.alerts() if alert.kind == "rule" and alert.cause == "help"]

    alert = wait_until(told, within_s=60, what="the words raise the rule's alert")[0]
    assert (alert.feed_id, alert.alert_id.endswith("-help")) == ("hall", True)
    assert "救命" in alert.sentences["zh"]
    assert asyncio.run(LedgerCommands().remove_rule("help"))
    wait_until(lambda: not any(holds("help")), within_s=30, what="both shards forget the rule")
    after = {feed_id: (status["pid"], status["shard"]) for feed_id, status in site.site.statuses().items()}
    assert after == before
