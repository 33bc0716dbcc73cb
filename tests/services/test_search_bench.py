"""The benchmark of search, small: it runs, and what it promises holds."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from services.bench_search import generated
from services.cli import app


def test_the_same_moments_are_made_for_the_same_seed() -> None:
    first, again = next(generated(50)), next(generated(50))
    assert [moment.text for moment in first] == [moment.text for moment in again]
    assert {moment.feed_id for moment in first} == {f"cam-{number:03d}" for number in range(50)}


def test_search_is_measured_and_the_index_finds_the_nearest(tmp_path: Path) -> None:
    out = tmp_path / "search.json"
    arguments = ["--moments", "21000", "--queries", "5", "--folder", str(tmp_path), "--json", str(out)]
    done = CliRunner().invoke(app, ["bench", "search", *arguments])
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())
    assert result["ours"]["build"]["moments"] == 21_000
    assert result["ours"]["recall_at_10"] >= 0.9
    assert set(result["ours"]["latency"]["words"]) == {"first_s", "p50_s", "p95_s"}
    assert 1000 < result["ours"]["bytes_per_moment"] < 6000
    assert result["floor"]["brute_force_p50_s"] > 0
    assert not (tmp_path / "search-bench").exists()
