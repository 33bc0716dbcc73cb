"""The ledger, which tidies up for the site, takes footage away that nobody may keep."""

from __future__ import annotations

import time
from pathlib import Path

from mmstream.config import FeedConfig, SiteConfig, SiteSection
from mmstream.storage.open import open_media
from mmstream.training.footage_chunks import burst_starts
from mmstream.training.footage_files import DAY_S, FootageFiles
from services.actors import Ledger
from tests.training.test_footage_files import small_burst


def test_footage_of_a_removed_feed_and_of_days_gone_by_is_deleted(tmp_path: Path) -> None:
    site = SiteConfig(site=SiteSection(data_dir=tmp_path))
    media = open_media(site)
    now_s = time.time()
    ledger = Ledger(site.model_dump_json())
    for feed_id in ("stays", "goes"):
        ledger.put_feed(feed_id, FeedConfig(id=feed_id, url="rtsp://a/1").model_dump(mode="json"), False)
        files = FootageFiles(feed_id, media, max_bytes=10**9, keep_s=1e9)
        for start_s in (now_s - 10 * DAY_S, now_s - DAY_S):
            files.push(small_burst(start_s))
    ledger.remove_feed("goes")
    ledger.prune()
    assert burst_starts(media, "stays") == [now_s - DAY_S]
    assert burst_starts(media, "goes") == []
