"""Moments on their way through real actors: from fusion to the archive, across the death of its writer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayError

from mmstream.config import SiteConfig
from mmstream.errors import StoreError
from mmstream.shard import FuseBatch
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.moment_query import MomentQuery
from mmstream.testing import make_embedding, make_encoded
from mmstream.types import Channel, Embedding
from services.actors import LEDGER, FusionShard, find, launch
from services.app import start_ledger
from services.archive import start_archive
from services.handing import ARCHIVE
from services.routes.context import ARCHIVE_STATUS
from tests.rtsp.site import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CHANNELS = {
    "appearance": Channel(name="appearance", modality="picture"),
    "words": Channel(name="words", modality="words", density=False),
}
FUSION = "fusion-0"


@pytest.fixture
def site(cluster: None, tmp_path: Path) -> Iterator[SiteConfig]:  # noqa: ARG001 - it must be up
    site = SiteConfig.model_validate({"site": {"data_dir": tmp_path / "data"}})
    start_ledger(site)
    start_archive(site)
    launch(FusionShard, FUSION, 0, site.model_dump_json(), CHANNELS)
    yield site
    for name in (FUSION, ARCHIVE, LEDGER):
        ray.kill(find(name))
        wait_until(lambda name=name: is_gone(name), within_s=60, what=f"Ray has forgotten {name}")


def is_gone(name: str) -> bool:
    """Ray forgets a name a moment after the kill: until then `launch` would find the dying actor."""
    try:
        find(name)
    except ConnectionError:
        return True
    return False


def say(start_s: float, text: str) -> None:
    """One window in which somebody says something, and one after it, through fusion."""
    words = make_embedding(start_s, channel="words")
    spoken = Embedding(
        feed_id="cam",
        start_s=start_s,
        end_s=start_s + 2.0,
        channel="words",
        vector=words.vector,
        model="words@1",
        text=text,
    )
    windows = [make_encoded(start_s, [make_embedding(start_s), spoken]), make_encoded(start_s + 1.0, [])]
    ray.get(find(FUSION).push.remote(FuseBatch(items=windows)), timeout=60)


def found(site: SiteConfig, words: str) -> list[str]:
    try:
        return [moment.text for moment in ArchiveReader.from_site(site).find(MomentQuery(words=words)).moments]
    except StoreError as error:
        if "is starting" not in str(error):
            raise
        return []


def test_what_fusion_judged_is_found_also_after_the_writer_was_killed(site: SiteConfig) -> None:
    say(1000.0, "smoke near the ticket hall")
    assert wait_until(lambda: found(site, "smoke"), within_s=120, what="the words are found") == [
        "smoke near the ticket hall"
    ]
    os.kill(ray.get(find(ARCHIVE).pid.remote(), timeout=60), signal.SIGKILL)
    say(1020.0, "有人打架")
    wait_until(lambda: found(site, "打架"), within_s=120, what="words are found after the writer was killed")
    assert found(site, "smoke") == ["smoke near the ticket hall"]


def test_an_archive_that_cannot_be_written_says_why_and_fusion_goes_on(site: SiteConfig) -> None:
    site.site.data_dir.mkdir(parents=True, exist_ok=True)
    folder = site.site.data_dir / "archive"
    folder.write_text("in the way")
    say(1000.0, "smoke")

    def trouble() -> str:
        try:
            status = ray.get(find(LEDGER).value.remote(ARCHIVE_STATUS), timeout=30)
        except RayError:
            return ""
        return str(json.loads(status or "{}").get("trouble", ""))

    sentence = wait_until(trouble, within_s=90, what="the archive's trouble is in the ledger")
    assert "is a file; give archive.url a folder" in sentence
    say(1010.0, "fire")
