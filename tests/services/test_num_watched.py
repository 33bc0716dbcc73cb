"""How many feeds share the budget of the site."""

from __future__ import annotations

from pathlib import Path

from mmstream.config import SiteConfig, SiteSection
from services.actors import Ledger


def test_feeds_added_later_share_the_budget_and_paused_ones_do_not(tmp_path: Path) -> None:
    ledger = Ledger(SiteConfig(site=SiteSection(data_dir=str(tmp_path))).model_dump_json())
    assert ledger.num_watched() == 0
    for number in range(3):
        ledger.put_feed(f"cam-{number}", {"id": f"cam-{number}", "url": "push:"}, False)
    assert ledger.num_watched() == 3
    ledger.put_feed("cam-1", {"id": "cam-1", "url": "push:"}, True)
    ledger.remove_feed("cam-2")
    assert ledger.num_watched() == 1
