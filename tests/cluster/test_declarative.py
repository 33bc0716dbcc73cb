"""A site deployed by a Serve config, as KubeRay's RayService and ``serve deploy`` do it, and changed by another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from mmstream.encoders.filterbank import FilterBankEncoder, Precision
from mmstream.sources.synthetic.render import render_clip
from services.app import API_APP
from services.client import ApiError, SiteClient
from services.encoders import app_name, deployment_name
from services.ports import free_port
from tests.cluster.declarative_site import DeclaredSite, make_picture
from tests.rtsp.site import as_json, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ENCODER = app_name("filterbank")
LOST = ("timeout", "replica_died", "unavailable", "failed", "not_finite")


class Declared:
    """The site's files, its Serve config and its API."""

    def __init__(self, folder: Path, precision: Precision) -> None:
        clip = folder / "junction.mp4"
        render_clip("junction", clip, duration_s=20.0, seed=1, size=(320, 180))
        self.port = free_port()
        self.data_dir = folder / "data"
        self.yaml = folder / "site.yaml"
        self.settings: dict[str, Any] = {
            "site": {"data_dir": str(self.data_dir)},
            "api": {"port": self.port},
            "encoders": {"device": "cpu", "max_replicas": 1, "options": {"filterbank": {"precision": precision}}},
            "gate": {"enabled": False},
            "feeds": [{"id": "junction", "url": str(clip), "loop": True, "audio": False}],
        }
        self.write()

    def write(self) -> None:
        self.yaml.write_text(yaml.safe_dump(self.settings))

    def config(self, **user_config: Any) -> dict[str, Any]:
        encoder: dict[str, Any] = {
            "name": ENCODER,
            "route_prefix": None,
            "import_path": "services.declarative:encoder",
            "args": {"site": str(self.yaml), "name": "filterbank"},
        }
        if user_config:
            encoder["deployments"] = [{"name": deployment_name("filterbank"), "user_config": user_config}]
        return {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.port},
            "applications": [
                {
                    "name": API_APP,
                    "route_prefix": "/",
                    "import_path": "services.declarative:api",
                    "args": {"site": str(self.yaml)},
                },
                encoder,
            ],
        }

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def statuses(self) -> dict[str, dict[str, Any]]:
        """feed id -> status; empty while the API does not answer."""
        try:
            with SiteClient(f"http://127.0.0.1:{self.port}", (self.data_dir / "api.key").read_text().strip()) as client:
                return {feed["feed_id"]: feed.get("status") or {} for feed in client.feeds()}
        except ApiError:
            return {}

    def feed(self) -> dict[str, Any]:
        return self.statuses().get("junction", {})

    def has_windows(self, more_than: float) -> bool:
        feed = self.feed()
        return feed.get("state") == "live" and feed["counters"].get("windows", 0) > more_than

    def encoded(self) -> dict[str, float]:
        counters: dict[str, float] = self.feed()["shard_counters"]["encoders"]["filterbank"]
        return counters


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Declared:
    return Declared(tmp_path_factory.mktemp("declared"), "fp32")


@pytest.fixture(scope="module")
def site(declared: Declared) -> Iterator[DeclaredSite]:
    with DeclaredSite(declared.yaml, declared.yaml.with_name("site.log")) as running:
        running.deploy(declared.config())

        def both_run() -> bool:
            applications = running.applications()
            assert not any(app["status"] == "DEPLOY_FAILED" for app in applications.values()), as_json(applications)
            return [app["status"] for app in applications.values()] == ["RUNNING"] * 2

        wait_until(both_run, within_s=150, what="both applications run")
        yield running


def assert_precision(site: DeclaredSite, precision: Precision) -> None:
    expected = FilterBankEncoder(device="cpu", precision=precision).encode(make_picture())[0]
    np.testing.assert_allclose(site.encoder()["vector"], expected, atol=1e-5)


def test_the_two_precisions_can_be_told_apart() -> None:
    fp32, bf16 = (FilterBankEncoder(device="cpu", precision=name).encode(make_picture()) for name in ("fp32", "bf16"))
    assert np.abs(fp32 - bf16).max() > 1e-3


def test_a_deployed_serve_config_is_a_whole_site(site: DeclaredSite, declared: Declared) -> None:
    wait_until(declared.is_ready, within_s=30, what="/readyz answers")
    wait_until(lambda: declared.has_windows(3), within_s=90, what="the feed is live and windows grow")
    wait_until(lambda: declared.encoded().get("encoded", 0) > 3, within_s=30, what="replicas encode its pictures")
    assert_precision(site, "fp32")


def test_a_user_config_gives_running_replicas_another_model_while_the_feed_goes_on(
    site: DeclaredSite, declared: Declared
) -> None:
    before, feed, encoded = site.encoder()["replicas"], declared.feed(), declared.encoded()
    site.deploy(declared.config(options={"precision": "bf16"}))

    def is_swapped() -> bool:
        vector = np.asarray(site.encoder()["vector"])
        return bool(np.abs(vector - FilterBankEncoder(device="cpu").encode(make_picture())[0]).max() > 1e-3)

    wait_until(is_swapped, within_s=30, what="the replica uses the options of the config")
    assert_precision(site, "bf16")
    after = site.encoder()["replicas"]
    assert [replica["pid"] for replica in after] == [replica["pid"] for replica in before]
    assert [replica["last_error"] for replica in after] == [""]

    wait_until(lambda: declared.encoded()["encoded"] > encoded["encoded"] + 3, within_s=30, what="still encoding")
    wait_until(lambda: declared.has_windows(feed["counters"]["windows"] + 3), within_s=30, what="still windows")
    assert declared.feed()["pid"] == feed["pid"], "the decoder went on in its process"
    now = declared.encoded()
    assert {name: now.get(name, 0) - encoded.get(name, 0) for name in LOST} == dict.fromkeys(LOST, 0)


def test_a_changed_argument_has_the_api_built_again_with_the_feeds_of_the_changed_file(
    site: DeclaredSite, declared: Declared
) -> None:
    pid = declared.feed()["pid"]
    declared.settings["feeds"].append({**declared.settings["feeds"][0], "id": "second"})
    declared.write()
    config = declared.config(options={"precision": "bf16"})
    config["applications"][0]["args"]["revision"] = "2"
    site.deploy(config)

    def second_is_live() -> bool:
        return declared.statuses().get("second", {}).get("state") == "live"

    wait_until(second_is_live, within_s=60, what="the second feed is live")
    assert declared.feed()["pid"] == pid, "the first feed went on in its process"
