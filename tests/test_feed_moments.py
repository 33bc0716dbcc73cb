"""A feed leaves pictures of its past, of its recordings too, and a full disk does not stop it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmstream import moments
from mmstream.config import EncoderSection, FeedConfig, SiteConfig
from mmstream.errors import StoreError
from mmstream.shard import Shard
from tests.rtsp.clips import make_clip
from tests.test_shard import DictMedia, ListFuse, run_to_the_end

SITE = SiteConfig(encoders=EncoderSection(edge=("appearance",), replicas=()))
LENGTH_S = 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=LENGTH_S)


def make_shard(media: DictMedia, *, now_s: float = 1000.0) -> Shard:
    return Shard(SITE, encoders={}, fuse=ListFuse(), media=media, now=lambda: now_s)


def times_s(media: DictMedia) -> list[float]:
    return [at_ms / 1000 for at_ms in moments.kept_ms(media, "cam")]


def test_a_recording_and_its_history_leave_a_picture_every_ten_seconds(clip: Path) -> None:
    media = DictMedia()
    run_to_the_end(make_shard(media), FeedConfig(id="cam", url=str(clip), history=(str(clip),)))
    learned_s = [at_s for at_s in times_s(media) if at_s > 500]
    watched_s = [at_s for at_s in times_s(media) if at_s < 500]
    np.testing.assert_allclose(watched_s, [0.0, 10.0, 20.0], atol=1.1)
    np.testing.assert_allclose(learned_s, np.array([0.0, 10.0, 20.0]) + 1000.0 - LENGTH_S, atol=1.1)
    with Image.open(io.BytesIO(media.files[moments.key("cam", round(1000 * watched_s[0]))])) as picture:
        assert picture.format == "JPEG"


def test_a_disk_that_is_full_costs_the_pictures_and_not_the_feed(clip: Path) -> None:
    class FullDisk(DictMedia):
        def put(self, key: str, data: bytes) -> None:
            raise StoreError(f"cannot write {key}: no space left for {len(data)} bytes")

    shard = make_shard(FullDisk())
    run_to_the_end(shard, FeedConfig(id="cam", url=str(clip)))
    counters = shard.statuses()["cam"]["counters"]
    assert counters["pictures_failed"] >= 3
    assert counters["crashes"] == 0
    assert counters["windows"] >= LENGTH_S - 3
