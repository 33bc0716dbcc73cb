"""Ten thousand pieces of text a minute over the real API: bounded, every loss counted, and no camera hurt."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from mmstream.config import EncoderSection, FeedConfig, SiteConfig, SiteSection
from mmstream.pipeline import LocalSite
from mmstream.types import Reading, TextSpan
from tests.rtsp.clips import make_clip
from tests.services.running import BEARER, FakeSite, StoreCommands, serving

PER_REQUEST, NUM_REQUESTS = 1000, 10


class LiveCommands(StoreCommands):
    """Pushed items go to the feeds that run in this process."""

    site: LocalSite
    loop: asyncio.AbstractEventLoop

    async def push_text(self, spans: Sequence[TextSpan]) -> int:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._inject(spans), self.loop))

    async def _inject(self, items: Sequence[TextSpan | Reading]) -> int:
        return sum(self.site.shard.inject(item) for item in items)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[httpx.Client, LocalSite]]:
    """A site of two cameras and a desk that takes words, with its API."""
    clip = str(make_clip(tmp_path / "clip.mp4", seconds=6.0))
    fake = FakeSite(tmp_path, now_s=time.time())
    site = LocalSite(
        SiteConfig(
            site=SiteSection(data_dir=tmp_path),
            encoders=EncoderSection(edge=("motion", "words"), replicas=()),
            feeds=(
                FeedConfig(id="cam", url=clip, loop=True),
                FeedConfig(id="beside", url=clip, loop=True),
                FeedConfig(id="desk", url="push:"),
            ),
        ),
        store=fake.store,
        media=fake.media,
    )
    commands = fake.commands = LiveCommands(fake.store)
    commands.site, commands.loop = site, asyncio.new_event_loop()
    thread = threading.Thread(target=commands.loop.run_until_complete, args=(site.run(for_s=300.0),))
    thread.start()
    try:
        poll(lambda: counters(site, "beside").get("windows", 0.0) >= 2 and bool(counters(site, "desk")))
        with serving(fake.app()) as url, httpx.Client(base_url=url, headers=BEARER, trust_env=False) as client:
            yield client, site
    finally:
        commands.loop.call_soon_threadsafe(site.shard.stop)
        thread.join(60)
        commands.loop.close()
        fake.close()
    assert not thread.is_alive()


def counters(site: LocalSite, feed_id: str) -> dict[str, Any]:
    status = site.shard.statuses().get(feed_id, {})
    return dict(status.get("counters", {})) if status.get("state") == "live" else {}


def poll(ready: Callable[[], bool], within_s: float = 60.0) -> None:
    until_s = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < until_s, "it did not come to it in time"
        threading.Event().wait(0.05)


def push(client: httpx.Client, feed_id: str, number: int, size: int = PER_REQUEST) -> int:
    spans = [{"feed_id": feed_id, "text": f"report {number}.{n}: nothing to see at gate {n}"} for n in range(size)]
    answer = client.post("/api/v1/text", json={"spans": spans}, timeout=60)
    assert answer.status_code == 202, answer.text
    return int(answer.json()["accepted"])


@pytest.mark.parametrize("feed_id", ["cam", "desk"])
def test_a_burst_is_bounded_and_what_was_taken_and_what_was_lost_add_up(
    running: tuple[httpx.Client, LocalSite], feed_id: str
) -> None:
    client, site = running
    before = counters(site, "beside")["windows"]
    accepted = sum(push(client, feed_id, number) for number in range(NUM_REQUESTS))
    sent = NUM_REQUESTS * PER_REQUEST
    poll(lambda: counters(site, feed_id)["num_crowded_out"] > 0.8 * accepted)
    windows = counters(site, feed_id)["windows"]

    def goes_on() -> bool:
        nonlocal accepted, sent
        accepted += push(client, feed_id, 0, 17)
        sent += 17
        return counters(site, feed_id)["windows"] >= windows + 2

    poll(goes_on)  # while more and more is said, its time goes on
    lost = counters(site, feed_id)
    assert accepted + lost["pushed_refused"] == sent
    assert accepted >= PER_REQUEST
    # some are read, as many as fit: two seconds' worth of characters for each second that the flood took
    assert accepted - lost["num_crowded_out"] - lost["num_late"] > 0
    assert lost["windows_dropped"] == lost["encoder_errors"] == lost["crashes"] == 0
    poll(lambda: counters(site, "beside")["windows"] >= before + 5)
    other = counters(site, "beside")
    assert other["windows_dropped"] == other["num_late"] == other["pushed_refused"] == other["crashes"] == 0
    assert site.fuse.core.counters["bad_items"] == 0
