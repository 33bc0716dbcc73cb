"""How well a replay with nothing changed finds the alerts that there were, on whole sites.

    python -m tests.replay.measure_agreement FOLDER junction dock [CLIP...]

A rendered scene is learned from four minutes of an ordinary day and watched for ten minutes of the demo's script; a
clip is watched as it is. What is rendered stays in FOLDER for the next time.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmstream.config import SiteConfig
from mmstream.pipeline import LocalSite
from mmstream.replay.answering import Replayer
from mmstream.replay.beginning import kept_blocks
from mmstream.replay.whatif import WhatIf
from mmstream.sources.synthetic import render_clip
from mmstream.sources.synthetic.events import demo_script
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.base import AlertQuery
from mmstream.storage.open import open_media, open_store
from mmstream.types import Alert

HISTORY_S, LIVE_S, PAGE_S = 240.0, 600.0, 60
PER_DAY = 96.0
DAYS_S = 20 * 86_400.0


def rendered(scene: str, folder: Path) -> dict[str, Any]:
    """A feed of a scene with what happens in the demo."""
    paths = {name: folder / f"{scene}-{name}.mp4" for name in ("ordinary", "eventful")}
    if not paths["ordinary"].exists():
        render_clip(scene, paths["ordinary"], duration_s=HISTORY_S, seed=7)
    if not paths["eventful"].exists():
        scripted = [event for at_s in range(0, int(LIVE_S), PAGE_S) for event in demo_script(scene, float(at_s))]
        events = sorted({event.start_s: event for event in scripted if event.end_s < LIVE_S}.items())
        render_clip(scene, paths["eventful"], duration_s=LIVE_S, seed=8, events=[event for _, event in events])
    return {"id": scene, "url": str(paths["eventful"]), "history": [str(paths["ordinary"])]}


def watched(feeds: Sequence[dict[str, Any]], folder: Path) -> tuple[SiteConfig, list[Alert]]:
    """-> the site and everything that it has decided."""
    shutil.rmtree(folder, ignore_errors=True)
    site = SiteConfig.model_validate(
        {
            "site": {"data_dir": folder},
            "budget": {"alerts_per_camera_per_day": PER_DAY, "block_s": 15, "warmup_s": 60},
            "encoders": {"device": "cpu"},
            "training": {"enabled": False},
            "feeds": feeds,
        }
    )
    store = open_store(site, write=True)
    local = LocalSite(site, store=store, media=open_media(site), archive=ArchiveWriter.from_site(site))
    asyncio.run(local.run())
    alerts = [a for quiet in (False, True) for a in store.alerts(AlertQuery(limit=500, quiet=quiet)).alerts]
    store.close()
    return site, alerts


def main(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    feeds = [{"id": Path(name).stem, "url": name} if Path(name).is_file() else rendered(name, folder) for name in names]
    site, alerts = watched(feeds, folder / "data")
    media = open_media(site)
    replayer = Replayer(
        site=site,
        budgets={feed.id: PER_DAY for feed in site.feeds},
        alerts=alerts,
        archive=ArchiveReader.from_site(site),
        calibrated=lambda feed_id: kept_blocks(media, feed_id),
    )
    first_s = min(
        (
            part.starts_s[0]
            for feed in site.feeds
            for part in replayer.archive.strips(feed_id=feed.id, since_s=0.0, until_s=1e12)
        ),
        default=0.0,
    )
    for changes in ({}, {"alerts_per_day": PER_DAY / 4}, {"alerts_per_day": 6 * PER_DAY}, {"fusion": "fisher"}):
        question = WhatIf(since_s=first_s - 1.0, until_s=first_s + DAYS_S, **changes)
        answer = replayer.answer(question).to_json()
        sys.stdout.write(f"{changes or 'unchanged'}: {answer['total']}\n")
        shifts = [
            abs(a["start_s"] - float(a["alert_id"].rpartition(":")[2]) / 1000)
            for a in answer["alerts"]
            if a["fate"] == "kept" and a["kind"] == "unusual"
        ]
        sys.stdout.write(f"  starts differ by at most {max(shifts, default=0.0)} s\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
