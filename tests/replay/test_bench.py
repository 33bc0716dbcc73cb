"""The benchmark of replay, small: it runs, and its days are as days are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.bench_replay import ASPECTS, ask, build, pattern


def tell(_what: str, _share: float) -> None: ...


def test_a_made_day_keeps_a_few_windows_of_each_block() -> None:
    strips = pattern(3, seconds=1800)
    assert [strip.start_s for strip in strips[:6]] == [300.0 * number for number in range(6)]
    assert 4 < np.mean([len(strip.windows) for strip in strips[:6]]) < 60
    assert all(len(strip.aspects) == len(ASPECTS) for strip in strips)


def test_days_are_written_read_and_gone_through(tmp_path: Path) -> None:
    built = build(tmp_path / "archive", 1, 2, tell, seconds=1200)
    assert built["moments"] > 2 * 2 * 1000
    assert built["strip_bytes_per_feed_day"] > 0
    found = ask(tmp_path / "archive", 1, 2, tell)["questions"]
    assert set(found) == {"as_it_was", "budget", "weights"}
    assert found["as_it_was"]["blocks"] >= 2 * 2 * 4
    assert all(row["windows"] >= row["blocks"] for row in found.values())
