"""How fast days of many cameras are gone through again, over an archive made up here, in a process of its own.

The days go through the parts that keep them in earnest (`Stripper`, `ArchiveWriter`): windows of one second that share
most of what they show, each with seven aspects, some minutes a day of it unusual. Only a few days are made window by
window; every camera and day is one of them with scores of its own. Moments stand in the archive as on a street that is
awake for a third of the day, without vectors: a replay reads none.
"""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mmstream.alerts.debounce import Debounce
from mmstream.analysis import Judgement
from mmstream.config import SiteConfig
from mmstream.fusion.evidence import HarmonicMean
from mmstream.replay.answering import Replayer
from mmstream.replay.whatif import WhatIf
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.archive_open import connect
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.strip_rows import STRIPS
from mmstream.stripping import Stripper
from mmstream.types import Evidence, Modality, Moment, Score, Strip

DAY_S = 86_400.0
START_S = 20_000 * DAY_S
ASPECTS: tuple[tuple[str, Modality], ...] = (
    ("moving", "picture"),
    ("look", "picture"),
    ("still", "picture"),
    ("busy", "picture"),
    ("coder", "picture"),
    ("sound", "sound"),
    ("agreement", "agreement"),
)
NUM_PATTERNS = 3
EVENTS_A_DAY = 12
NOTICE = 3.2
"""A window this unusual is held to be suspicious, as about ten times the usual budget would."""
AWAKE_SHARE = 1.0 / 3.0
FIRST_DAYS = 1
"""Before those that are asked about, so that thresholds are known."""

Progress = Callable[[str, float], None]


def pattern(seed: int, *, seconds: int) -> list[Strip]:
    """The strips of a day that begins at 0 and was watched for ``seconds``."""
    random = np.random.default_rng(seed)
    steps = random.exponential(1.0 / math.log(10.0), (seconds + 2, len(ASPECTS)))
    heights = (steps[:-2] + steps[1:-1] + steps[2:]) / 2.2  # neighbours share two of three seconds
    for at in random.integers(0, seconds - 30, EVENTS_A_DAY):
        heights[at : at + random.integers(3, 25), random.integers(0, len(ASPECTS))] += random.uniform(1.5, 4.0)
    stripper, fuser, debounce = Stripper(block_s=SiteConfig().budget.block_s), HarmonicMean(), Debounce()
    strips = []
    for second, row in enumerate(np.minimum(heights, 8.0).tolist()):
        aspects = tuple(
            Evidence(channel=name, modality=modality, p=math.pow(10.0, -height))
            for (name, modality), height in zip(ASPECTS, row, strict=True)
        )
        surprise, shares = fuser.fuse(aspects)
        where: dict[str, Any] = {"feed_id": "", "start_s": float(second), "end_s": second + 2.0}
        judgement = Judgement(
            **where,
            score=Score(**where, surprise=surprise, shares=shares, evidence=aspects),
            alerts=(),
            phase="calibrated",
            history=False,
            suspect=debounce.push(surprise) > NOTICE,
            aspects=aspects,
        )
        strip = stripper.push(judgement)
        strips += [strip] if strip is not None else []
    last = stripper.finish("")
    return strips + ([last] if last is not None else [])


def day_of(feed_id: str, day: int, strips: Sequence[Strip], random: np.random.Generator) -> list[Moment]:
    """One camera's day: the moments that are kept, the strips with the first of each block."""
    begins_s = START_S + day * DAY_S
    of_block = {}
    for strip in strips:
        windows = strip.windows.copy()
        windows[:, :2] += begins_s
        windows[:, 2:] = np.maximum(0.0, windows[:, 2:] + random.normal(0.0, 0.05, windows[:, 2:].shape))
        moved = dataclasses.replace(
            strip,
            feed_id=feed_id,
            start_s=strip.start_s + begins_s,
            end_s=strip.end_s + begins_s,
            windows=windows,
        )
        of_block[moved.start_s] = moved
    asleep_s = np.arange(0.0, (1.0 - AWAKE_SHARE) * DAY_S, 60.0)
    awake_s = np.arange((1.0 - AWAKE_SHARE) * DAY_S, DAY_S, 10.0)
    block_s = strips[0].end_s - strips[0].start_s
    moments = []
    for at_s in (begins_s + np.concatenate([asleep_s, awake_s])).tolist():
        strip_of = of_block.pop(math.floor(at_s / block_s) * block_s, None)
        p = float(np.clip(random.random(), 1e-6, 1.0))
        moments.append(
            Moment(
                feed_id=feed_id,
                start_s=at_s,
                end_s=at_s + 2.0,
                surprise=-math.log10(p),
                p={name: p for name, _ in ASPECTS},
                shares={"picture": 1.0},
                state="normal",
                vectors={},
                models={},
                strips=(strip_of,) if strip_of is not None else (),
            )
        )
    return moments


def build(folder: Path, days: int, feeds: int, progress: Progress, *, seconds: int = int(DAY_S)) -> dict[str, Any]:
    """Write the archive; -> what is in it. ``seconds`` of each day were watched."""
    patterns = []
    for seed in range(NUM_PATTERNS):
        progress("making days", seed / NUM_PATTERNS)
        patterns.append(pattern(seed, seconds=seconds))
    random = np.random.default_rng(NUM_PATTERNS)
    writer = ArchiveWriter(str(folder), keep_days=36_500, max_gb=10_000)
    num_moments = 0
    for day in range(days + FIRST_DAYS):
        for feed in range(feeds):
            strips = patterns[int(random.integers(NUM_PATTERNS))]
            num_moments += writer.write(day_of(f"cam-{feed:03d}", day, strips, random), {})
            progress("writing", (day * feeds + feed + 1) / ((days + FIRST_DAYS) * feeds))
    writer.tidy(START_S + (days + FIRST_DAYS) * DAY_S)
    strips = connect(str(folder), index_cache_mb=1, write=False).open_table(STRIPS).stats()
    per_feed_day = round(strips["total_bytes"] / feeds / (days + FIRST_DAYS))
    return {"moments": num_moments, "strip_bytes_per_feed_day": per_feed_day}


def ask(folder: Path, days: int, feeds: int, progress: Progress) -> dict[str, Any]:
    """Seconds and memory of three questions."""
    since_s = START_S + FIRST_DAYS * DAY_S
    site = SiteConfig()
    budgets = {f"cam-{feed:03d}": site.budget.per_camera(feeds) for feed in range(feeds)}
    questions: dict[str, dict[str, Any]] = {
        "as_it_was": {},
        "budget": {"alerts_per_day": 8.0},
        "weights": {"weights": {"sound": 2.0}, "fusion": "fisher"},
    }
    found: dict[str, Any] = {}
    for number, (name, changes) in enumerate(questions.items()):
        progress("asking", number / len(questions))
        replayer = Replayer(site=site, budgets=budgets, alerts=(), archive=ArchiveReader(str(folder)))
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        answer = replayer.answer(WhatIf(since_s=since_s, until_s=since_s + days * DAY_S, **changes)).to_json()
        found[name] = {
            "all_s": round(time.perf_counter() - began_s, 3),
            "cpu_s": round(time.process_time() - began_cpu_s, 3),
            "read_s": round(answer["read_s"], 3),
            "compute_s": round(answer["compute_s"], 3),
            "alerts": answer["total"]["then"],
            "blocks": answer["num_blocks"],
            "windows": answer["num_windows"],
        }
    return {"questions": found, "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}


def bench_replay(days: int, feeds: int, folder: Path, progress: Progress, *, keep: bool = False) -> dict[str, Any]:
    """Build an archive in ``folder`` (deleted afterwards unless kept) and go through it."""
    archive = folder / "replay-bench"
    try:
        built = _in_process(["build", str(archive), str(days), str(feeds)], progress)
        asked = _in_process(["ask", str(archive), str(days), str(feeds)], progress)
    finally:
        if not keep:
            shutil.rmtree(archive, ignore_errors=True)
    as_it_was = asked["questions"]["as_it_was"]
    return {
        "days": days,
        "feeds": feeds,
        "cores": psutil.cpu_count(),
        "floor": {"read_s": as_it_was["read_s"]},
        "ours": asked | {"build": built},
        "ratio": {"all_to_read": round(as_it_was["all_s"] / max(as_it_was["read_s"], 1e-6), 2)},
    }


def _in_process(arguments: Sequence[str], progress: Progress) -> dict[str, Any]:
    command = [sys.executable, "-m", "services.bench_replay", *arguments]
    result: dict[str, Any] | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if "result" in message:
                result = message["result"]
            else:
                progress(message["what"], message["share"])
    if result is None:
        raise RuntimeError(f"the step {arguments[0]!r} of the benchmark ended with code {process.returncode}")
    return result


def _main(arguments: Sequence[str]) -> None:
    def tell(what: str, share: float) -> None:
        sys.stdout.write(json.dumps({"what": what, "share": share}) + "\n")
        sys.stdout.flush()

    step, archive, days, feeds = arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3])
    result = (build if step == "build" else ask)(archive, days, feeds, tell)
    sys.stdout.write(json.dumps({"result": result}) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
