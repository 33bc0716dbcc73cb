"""How fast search answers over a large archive: made up here, indexed, asked in a process of its own.

The moments go through the archive's own writer: vectors in clusters (one per kind of scene, with things that differ
from moment to moment), words by Zipf's law in every fifth moment, feeds in turn. Building and asking run one after the
other, each in its own process, so that the memory stated for asking is that of asking.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.moment_query import MomentQuery
from mmstream.types import Float32, Moment

DIM = 512
"""Of CLIP and SigLIP at their usual sizes: 512 to 768."""
MODEL = "generated@1"
NUM_FEEDS = 200
NUM_SCENES = 4000
NUM_WORDS = 50_000
BATCH = 10_000
START_S = 1_760_000_000.0
EVERY_S = 0.05
"""Between two moments of the whole site: 200 feeds with one in ten seconds each."""
RECALL_QUERIES = 20
MAX_BUILD_S = 24 * 3600.0

Progress = Callable[[str, float], None]


def generated(num_moments: int, *, seed: int = 7) -> Iterator[list[Moment]]:
    """Batches of moments, in order of time; the same for the same seed."""
    rng = np.random.default_rng(seed)
    scenes = _scenes()
    weights = 1.0 / np.arange(1, NUM_WORDS + 1)
    chances = np.cumsum(weights / weights.sum())
    for first in range(0, num_moments, BATCH):
        count = min(BATCH, num_moments - first)
        noise = rng.standard_normal((count, DIM), dtype=np.float32)
        vectors = (scenes[rng.integers(0, NUM_SCENES, count)] + 0.7 * noise).astype(np.float16)
        words = np.searchsorted(chances, rng.random((count, 8)))
        unusual = rng.random(count)
        yield [
            Moment(
                feed_id=f"cam-{(first + row) % NUM_FEEDS:03d}",
                start_s=START_S + (first + row) * EVERY_S,
                end_s=START_S + (first + row) * EVERY_S + 2.0,
                surprise=float(-np.log10(unusual[row])),
                p={"vision": float(unusual[row])},
                shares={"picture": 1.0},
                state="alert" if unusual[row] < 0.002 else "suspect" if unusual[row] < 0.01 else "normal",
                vectors={"vision": vectors[row]},
                models={"vision": MODEL},
                text=" ".join(f"word{number}" for number in words[row]) if row % 5 == 0 else "",
            )
            for row in range(count)
        ]


def _scenes() -> Float32:
    return np.random.default_rng(1).standard_normal((NUM_SCENES, DIM), dtype=np.float32)


def build(folder: Path, num_moments: int, progress: Progress) -> dict[str, Any]:
    """Write and index; -> what it took."""
    writer = ArchiveWriter(str(folder), keep_days=36_500, max_gb=10_000)
    began_s = time.monotonic()
    written = 0
    for moments in generated(num_moments):
        written += writer.write(moments, {})
        progress("writing", written / num_moments)
    write_s = time.monotonic() - began_s
    progress("indexing", 0.0)
    tidied = writer.tidy(START_S + num_moments * EVERY_S)
    return {
        "moments": tidied.num_moments,
        "write_s": round(write_s, 1),
        "index_s": round(time.monotonic() - began_s - write_s, 1),
        "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def ask(folder: Path, num_moments: int, progress: Progress, *, num_queries: int) -> dict[str, Any]:
    """Latency of each kind of question, recall against comparing with every vector, and memory."""
    rng = np.random.default_rng(11)
    reader = ArchiveReader(str(folder))
    end_s = START_S + num_moments * EVERY_S
    kinds: dict[str, Callable[[], MomentQuery]] = {
        "words": lambda: MomentQuery(words=_asked(rng)),
        "words_in_picture": lambda: MomentQuery(words=_asked(rng), vectors={"vision": (MODEL, _like_a_scene(rng))}),
        "example": lambda: MomentQuery(like=_some_id(rng, num_moments)),
        "newest_of_feed": lambda: MomentQuery(feed_id=_some_feed(rng), since_s=START_S, until_s=end_s),
        "state_and_time": lambda: MomentQuery(state="alert", until_s=START_S + rng.random() * (end_s - START_S)),
        "words_feed_time": lambda: MomentQuery(words=_asked(rng), feed_id=_some_feed(rng), since_s=START_S),
        "example_feed": lambda: MomentQuery(like=_some_id(rng, num_moments), feed_id=_some_feed(rng)),
    }
    reader.find(MomentQuery(limit=1))
    before_mb = _rss_mb()
    latency: dict[str, dict[str, float]] = {}
    for number, (name, question) in enumerate(kinds.items()):
        first_s = _timed(reader, question())
        seconds = [_timed(reader, question()) for _ in range(num_queries)]
        latency[name] = {"first_s": first_s} | {f"p{q}_s": float(np.quantile(seconds, q / 100)) for q in (50, 95)}
        progress("asking", (number + 1) / (len(kinds) + 1))
    asked_mb = _rss_mb()
    recall, brute_s = _recall(reader, rng)
    progress("asking", 1.0)
    return {
        "latency": {name: {key: round(value, 4) for key, value in row.items()} for name, row in latency.items()},
        "rss_before_mb": before_mb,
        "rss_mb": asked_mb,
        "recall_at_10": recall,
        "brute_force_p50_s": round(float(np.median(brute_s)), 4),
    }


def _recall(reader: ArchiveReader, rng: np.random.Generator) -> tuple[float, list[float]]:
    """Share of the ten truly nearest that the index finds, and how long looking at all takes."""
    (kind,) = reader.channels()
    found, brute_s = 0, []
    for _ in range(RECALL_QUERIES):
        vector = _like_a_scene(rng)
        near = {key for key, _ in reader.nearest(kind, vector)[:10]}
        began_s = time.monotonic()
        true = {key for key, _ in reader.nearest(kind, vector, count=10, exactly=True)}
        brute_s.append(time.monotonic() - began_s)
        found += len(near & true)
    return found / (10 * RECALL_QUERIES), brute_s


def bench_search(
    num_moments: int, folder: Path, progress: Progress, *, num_queries: int = 60, keep: bool = False
) -> dict[str, Any]:
    """Build an archive in ``folder`` (deleted afterwards unless kept) and ask it ``num_queries`` of each kind."""
    archive = folder / "search-bench"
    try:
        built = _in_process(["build", str(archive), str(num_moments)], progress)
        num_bytes = sum(file.stat().st_size for file in archive.rglob("*") if file.is_file())
        asked = _in_process(["ask", str(archive), str(num_moments), str(num_queries)], progress)
    finally:
        if not keep:
            shutil.rmtree(archive, ignore_errors=True)
    brute_s = asked["brute_force_p50_s"]
    return {
        "moments": num_moments,
        "dim": DIM,
        "cores": psutil.cpu_count(),
        "floor": {"brute_force_p50_s": brute_s},
        "ours": asked | {"build": built, "disk_bytes": num_bytes, "bytes_per_moment": round(num_bytes / num_moments)},
        "ratio": {"example_to_brute_force": round(asked["latency"]["example"]["p50_s"] / max(brute_s, 1e-6), 4)},
    }


def _in_process(arguments: Sequence[str], progress: Progress) -> dict[str, Any]:
    command = [sys.executable, "-m", "services.bench_search", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        result: dict[str, Any] | None = None
        for line in process.stdout:
            message = json.loads(line)
            if "result" in message:
                result = message["result"]
            else:
                progress(message["what"], message["share"])
    if result is None:
        raise RuntimeError(
            f"the step {arguments[0]!r} of the benchmark ended with code {process.returncode} and no result"
        )
    return result


def _asked(rng: np.random.Generator) -> str:
    """Two words as people ask for them: neither the most frequent nor never said."""
    return " ".join(f"word{int(np.exp(rng.uniform(np.log(20), np.log(20_000))))}" for _ in range(2))


def _like_a_scene(rng: np.random.Generator) -> Float32:
    noise = rng.standard_normal(DIM, dtype=np.float32)
    return np.asarray(_scenes()[rng.integers(0, NUM_SCENES)] + 0.7 * noise, np.float32)


def _some_feed(rng: np.random.Generator) -> str:
    return f"cam-{rng.integers(0, NUM_FEEDS):03d}"


def _some_id(rng: np.random.Generator, num_moments: int) -> str:
    number = int(rng.integers(0, num_moments))
    return f"cam-{number % NUM_FEEDS:03d}:{round((START_S + number * EVERY_S) * 1000)}"


def _timed(reader: ArchiveReader, query: MomentQuery) -> float:
    began_s = time.monotonic()
    reader.find(query)
    return time.monotonic() - began_s


def _rss_mb() -> int:
    return round(psutil.Process().memory_info().rss / 2**20)


def _main(arguments: Sequence[str]) -> None:
    def tell(what: str, share: float) -> None:
        sys.stdout.write(json.dumps({"what": what, "share": share}) + "\n")
        sys.stdout.flush()

    step, archive, count = arguments[0], Path(arguments[1]), int(arguments[2])
    if step == "build":
        result = build(archive, count, tell)
    else:
        result = ask(archive, count, tell, num_queries=int(arguments[3]))
    sys.stdout.write(json.dumps({"result": result}) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
