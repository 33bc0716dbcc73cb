"""Measures each configuration in a process of its own, one after the other, on the same feeds.

CPU time is what the kernel charged to the process (and, for Ray, to every process below it) while
the clock ran; starting up and warming up are left out. Absolute figures belong to the machine:
quote the ratios.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import psutil

from mmstream.config import BudgetSection, FeedConfig, GateSection, SiteConfig, SiteSection
from mmstream.pipeline import LocalSite
from mmstream.settle import settle
from mmstream.storage.open import open_media, open_store

Measure = Callable[[Callable[[], None]], None]


PATH_ROLES = ("DecoderShard", "FusionShard", "Ledger", "ServeReplica:encoder-")
"""What a camera's data goes through on Ray; the rest (API, supervisor, controller, GCS) does not grow with cameras."""
FLOORS = ("demux", "decode")


def compare(urls: Sequence[str], names: Sequence[str], *, seconds: float, warmup_s: float) -> dict[str, Any]:
    """Run the named configurations and set them side by side; keys as DESIGN section 4 fixes them.

    All are measured twice, the second time in reverse order, and the means count: machines change their speed within
    minutes, and what is compared must not sit at one end.
    """
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for name in [*names, *reversed(names)]:
        command = [sys.executable, "-m", "services.bench", name, str(seconds), str(warmup_s), *urls]
        # One thread per linear algebra library, as in the actors: more of them spin while they wait.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = {name: mean_of(twice) for name, twice in runs.items()}
    for floor in FLOORS:
        if floor in rows:
            for row in rows.values():
                row[f"ratio_to_{floor}"] = row["cpu_s_per_camera_s"] / rows[floor]["cpu_s_per_camera_s"]
    ratios = {}
    for ours, floor in (
        ("process_gate_off", "decode"),
        ("process_gate_on", "demux"),
        ("ray_gate_off", "process_gate_off"),
        ("ray_gate_on", "process_gate_on"),
    ):
        if ours in rows and floor in rows:
            ratios[f"{ours}/{floor}"] = rows[ours]["cpu_s_per_camera_s"] / rows[floor]["cpu_s_per_camera_s"]
            if ours.startswith("ray"):
                ratios[f"{ours} path/{floor}"] = path_cost(rows[ours]) / rows[floor]["cpu_s_per_camera_s"]
    return {
        "feeds": len(urls),
        "seconds": seconds,
        "floor": {name: row for name, row in rows.items() if name in FLOORS},
        "ours": {name: row for name, row in rows.items() if name not in FLOORS},
        "ratio": ratios,
        "all": rows,
    }


def mean_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row: costs are means, the rest is that of the last run; ``each`` has the costs one by one."""
    costs = [run["cpu_s_per_camera_s"] for run in runs]
    roles = {role for run in runs for role in run["by_role"]}
    by_role = {role: sum(run["by_role"].get(role, 0.0) for run in runs) / len(runs) for role in sorted(roles)}
    return {**runs[-1], "cpu_s_per_camera_s": sum(costs) / len(costs), "by_role": by_role, "each": costs}


def path_cost(row: Mapping[str, Any]) -> float:
    """CPU seconds per camera-second of the processes that the cameras' data goes through."""
    by_role: Mapping[str, float] = row["by_role"]
    return sum(cost for role, cost in by_role.items() if role.startswith(PATH_ROLES))


class Meter:
    """CPU seconds and memory of this process and everything below it."""

    def __init__(self) -> None:
        self._me = psutil.Process()

    def cpu_s(self) -> dict[int, tuple[str, float]]:
        """pid -> (title, CPU seconds so far)."""
        reading = {}
        for process in self._processes():
            with contextlib.suppress(psutil.Error):  # it ended between listing and reading
                times = process.cpu_times()
                reading[process.pid] = " ".join(process.cmdline()[:1]), times.user + times.system
        return reading

    def memory_mb(self) -> float:
        """Unshared. Takes long enough to be seen in `cpu_s`: not while a measurement runs."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().uss / 2**20
        return total

    def _processes(self) -> list[psutil.Process]:
        return [self._me, *self._me.children(recursive=True)]


def measure(seconds: float, num_feeds: int, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Let ``seconds`` pass and say what they cost."""
    meter = Meter()
    before, start_s = meter.cpu_s(), time.monotonic()
    sleep(seconds)
    after, wall_s = meter.cpu_s(), time.monotonic() - start_s
    by_role: dict[str, float] = {}
    for pid, (title, cpu_s) in after.items():
        role = title.split("::")[1].split(".")[0] if "::" in title else Path(title).name
        spent = cpu_s - before.get(pid, (title, 0.0))[1]
        by_role[role] = by_role.get(role, 0.0) + spent / (wall_s * num_feeds)
    return {
        "cpu_s_per_camera_s": sum(by_role.values()),
        "by_role": by_role,
        "memory_mb": meter.memory_mb(),
        "wall_s": wall_s,
    }


def floor(urls: Sequence[str], seconds: float, warmup_s: float, *, decode: bool) -> dict[str, Any]:
    """Bare PyAV, one thread per feed: receive and drop, or decode every picture and sound."""
    stop = threading.Event()
    frames = [0] * len(urls)

    def read(index: int) -> None:
        options = {"rtsp_transport": "tcp", "probesize": "32"} if urls[index].startswith("rtsp") else {}
        with av.open(urls[index], options=options, timeout=(10, 5)) as container:
            for stream in container.streams.video:
                stream.thread_type = "NONE"
            for packet in container.demux():
                if stop.is_set():
                    return
                frames[index] += len(packet.decode()) if decode else packet.size > 0

    threads = [threading.Thread(target=read, args=(index,), daemon=True) for index in range(len(urls))]
    for thread in threads:
        thread.start()
    time.sleep(warmup_s)
    before = sum(frames)
    row = measure(seconds, len(urls))
    row["items_per_camera_s"] = (sum(frames) - before) / (row["wall_s"] * len(urls))
    stop.set()
    for thread in threads:
        thread.join(12)
    return row


def bench_site(urls: Sequence[str], folder: Path, *, gated: bool, port: int = 8000) -> SiteConfig:
    return SiteConfig.model_validate(
        {
            "site": SiteSection(data_dir=folder),
            "gate": GateSection(enabled=gated, learn_s=10),
            "budget": BudgetSection(block_s=30, warmup_s=60),
            "api": {"port": port},
            "feeds": [FeedConfig(id=f"bench-{index}", url=url) for index, url in enumerate(urls)],
        }
    )


def one_process(urls: Sequence[str], seconds: float, warmup_s: float, *, gated: bool) -> dict[str, Any]:
    """The path without Ray: `pipeline.LocalSite`."""
    with tempfile.TemporaryDirectory() as folder:
        config = bench_site(urls, Path(folder), gated=gated)
        store = open_store(config, write=True)
        site = LocalSite(config, store=store, media=open_media(config))
        result: dict[str, Any] = {}

        settle()

        def watch() -> None:
            time.sleep(warmup_s)
            before = count(site.shard.statuses())
            result.update(measure(seconds, len(urls)))
            statuses = site.shard.statuses()
            result.update(rates(before, count(statuses), result["wall_s"], len(urls)))
            result["latency_s"] = site.fuse.core.latency_s()

        watcher = threading.Thread(target=watch)
        watcher.start()
        asyncio.run(site.run(for_s=warmup_s + seconds + 2))
        watcher.join()
        store.close()
    return result


def on_ray(urls: Sequence[str], seconds: float, warmup_s: float, *, gated: bool) -> dict[str, Any]:
    """The path on a local Ray, API and all: everything below this process is counted."""
    from services.app import Site
    from services.ports import free_port

    with tempfile.TemporaryDirectory() as folder:
        site = Site(bench_site(urls, Path(folder), gated=gated, port=free_port()))
        try:
            site.start()
            deadline_s = time.monotonic() + 60
            while len(site.statuses()) < len(urls) and time.monotonic() < deadline_s:
                time.sleep(0.5)
            time.sleep(warmup_s)
            before = count(site.statuses())
            row = measure(seconds, len(urls))
            statuses = site.statuses()
            row.update(rates(before, count(statuses), row["wall_s"], len(urls)))
            latencies = [
                status["analysis"]["latency_s"] for status in statuses.values() if "latency_s" in status["analysis"]
            ]
            if latencies:
                row["latency_s"] = {name: max(latency[name] for latency in latencies) for name in ("p50", "p95")}
        finally:
            site.stop()
    return row


def count(statuses: dict[str, Any] | Any) -> dict[str, float]:
    totals: dict[str, float] = {}
    for status in statuses.values():
        for name, value in status["counters"].items():
            totals[name] = totals.get(name, 0.0) + value
    return totals


def rates(before: dict[str, float], after: dict[str, float], wall_s: float, num_feeds: int) -> dict[str, Any]:
    """What really happened per camera-second, so that nobody measures a path that stood still."""
    names = ("frames_decoded", "frames_analysed", "windows", "inputs_dropped", "windows_dropped", "asleep_s")
    return {
        f"{name}_per_camera_s": (after.get(name, 0.0) - before.get(name, 0.0)) / (wall_s * num_feeds) for name in names
    }


CONFIGURATIONS: dict[str, Callable[[Sequence[str], float, float], dict[str, Any]]] = {
    "demux": lambda urls, seconds, warmup_s: floor(urls, seconds, warmup_s, decode=False),
    "decode": lambda urls, seconds, warmup_s: floor(urls, seconds, warmup_s, decode=True),
    "process_gate_off": lambda urls, seconds, warmup_s: one_process(urls, seconds, warmup_s, gated=False),
    "process_gate_on": lambda urls, seconds, warmup_s: one_process(urls, seconds, warmup_s, gated=True),
    "ray_gate_off": lambda urls, seconds, warmup_s: on_ray(urls, seconds, warmup_s, gated=False),
    "ray_gate_on": lambda urls, seconds, warmup_s: on_ray(urls, seconds, warmup_s, gated=True),
}


if __name__ == "__main__":
    name, seconds, warmup_s, *feeds = sys.argv[1:]
    print(json.dumps(CONFIGURATIONS[name](feeds, float(seconds), float(warmup_s))))  # noqa: T201
