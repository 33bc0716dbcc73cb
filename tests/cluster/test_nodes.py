"""A site on three Ray nodes, one of which is lost: ``mmstream run site.yaml --address ADDRESS``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmstream.sources.synthetic.events import ScriptedEvent
from mmstream.sources.synthetic.render import render_clip
from tests.cluster.three_nodes import ThreeNodes
from tests.rtsp.site import RunningSite, as_json, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

CLIP_S = 30.0
SIZE = (320, 180)
SCENES = {"junction": "wrong_way", "walkway": "runner", "dock": "crash"}
SETTINGS = {
    "budget": {"alerts_per_camera_per_day": 480.0, "block_s": 5.0, "warmup_s": 20},
    "shards": {"snapshot_every_s": 10},
    "clips": {"pre_roll_s": 5, "post_roll_s": 2},
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeNodes]:
    with ThreeNodes(tmp_path_factory.mktemp("nodes") / "cluster.log") as running:
        yield running


def make_feeds(folder: Path) -> list[dict[str, Any]]:
    """Six cameras, two at each scene: an ordinary recording to learn from, a loop in which something happens."""
    feeds = []
    for seed in (1, 2):
        for scene, event in SCENES.items():
            clip, history = folder / f"{scene}-{seed}.mp4", folder / f"{scene}-{seed}-history.mp4"
            happens = [ScriptedEvent(event, CLIP_S - 10, CLIP_S - 5)]
            render_clip(scene, clip, duration_s=CLIP_S, seed=seed, size=SIZE, events=happens)
            render_clip(scene, history, duration_s=CLIP_S, seed=seed + 10, size=SIZE)
            feeds.append({"id": f"{scene}-{seed}", "url": str(clip), "loop": True, "history": [str(history)]})
    return feeds


@pytest.fixture(scope="module")
def site(nodes: ThreeNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    folder = tmp_path_factory.mktemp("site")
    settings = {**SETTINGS, "feeds": make_feeds(folder)}
    arguments = ("--address", nodes.address)
    with RunningSite(folder, settings, arguments=arguments, environment=nodes.environment) as running:
        yield running


def test_feeds_spread(site: RunningSite, nodes: ThreeNodes) -> None:
    def all_live() -> bool:
        statuses = site.statuses()
        return len(statuses) == 6 and all(
            status.get("state") == "live" and status["learning"] is None and status["analysis"].get("windows_learned")
            for status in statuses.values()
        )
    t = time.time()
    try:
        wait_until(all_live, within_s=180, what="all six have learned their history and are live")
    finally:
        print(time.time() - t)
        print(as_json(site.statuses()))
        print(as_json(nodes.actors()))
        print(nodes.ids)
    assert {status["node"] for status in site.statuses().values()} == set(nodes.ids.values())


def test_look(site, nodes):
    t = time.time()
    while time.time() < t + 60:
        time.sleep(2)
        st = site.statuses()
        print(round(time.time() - t), {n: (s["counters"]["windows"], s["analysis"].get("windows_learned"), s["analysis"].get("blocks"), s["analysis"].get("phase"), s["awake"]) for n, s in st.items()}, [a["alert_id"] for a in site.alerts()])
    victim = "worker-1"
    nodes.kill(victim)
    t = time.time()
    while time.time() < t + 60:
        time.sleep(1)
        st = site.statuses()
        print(round(time.time() - t), {n: (s["node"][:4], s["pid"], s["state"], s["counters"]["windows"], s["analysis"].get("windows_learned"), s["analysis"].get("blocks"), s["shard_counters"]["encoders"]["filterbank"].get("encoded")) for n, s in st.items()}, [a["alert_id"] for a in site.alerts()])
    print(as_json(nodes.actors()))
    site.stop()
    print(as_json(nodes.actors()))
    print(site.log.read_text()[-3000:])
