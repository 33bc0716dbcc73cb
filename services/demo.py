"""The demonstration: four rendered cameras, encoded, served over HTTP, and read like any others."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import Progress

from mmstream.config import ApiSection, BudgetSection, FeedConfig, SiteConfig, SiteSection
from mmstream.errors import MmstreamError
from mmstream.sources.synthetic import SCENES
from mmstream.sources.synthetic.render import render_clip

HISTORY_S = 240.0
SEED = 7
NAMES = {"junction": "Junction", "walkway": "Walkway", "dock": "Loading dock", "yard": "Night yard"}


class DemoCameras:
    """Four rendered cameras in a process of their own, streaming for as long as this lives."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> DemoCameras:
        command = [sys.executable, "-m", "mmstream.sources.camera_http", "--port", "0", "--seed", str(SEED)]
        command += ["--script", "demo"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise MmstreamError("the rendered cameras did not start; run 'mmstream doctor'")
        self.urls = json.loads(line)["urls"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()


def render_history(data: Path, bar: Progress) -> dict[str, str]:
    """Four minutes of every camera on an ordinary day, to learn from; kept between runs."""
    folder = data / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}-{HISTORY_S:.0f}s-{SEED}.mp4" for name in SCENES}
    missing = [(name, str(path)) for name, path in paths.items() if not path.exists()]
    if missing:
        _film(missing, bar)
    return {name: str(path.resolve()) for name, path in paths.items()}


def _film(missing: Sequence[tuple[str, str]], bar: Progress) -> None:
    """Render (name, path) pairs, one process per core."""
    context = multiprocessing.get_context("spawn")
    shares = context.Array("d", len(missing))
    tasks = [bar.add_task(f"filming an ordinary day at the {NAMES[name].lower()}", total=1.0) for name, _ in missing]
    with context.Pool(min(len(missing), os.cpu_count() or 2), _receive_shares, (shares,)) as pool:
        work = pool.starmap_async(_render, [(index, name, path) for index, (name, path) in enumerate(missing)], 1)
        while not work.ready():
            work.wait(0.2)
            for task, share in zip(tasks, shares[:], strict=True):
                bar.update(task, completed=share)
        work.get()


_shares: Any = None


def _receive_shares(shares: Any) -> None:
    """In a filming process: where to say how far it has come."""
    global _shares
    _shares = shares


def _render(index: int, name: str, path: str) -> None:
    def note(share: float) -> None:
        _shares[index] = share

    render_clip(name, Path(path), duration_s=HISTORY_S, seed=SEED, progress=note)


def demo_site(data: Path, *, port: int, cameras: DemoCameras, history: dict[str, str]) -> SiteConfig:
    """Shorter blocks and a larger budget than a real site has, for its day has 240 seconds; the rest is the default."""
    return SiteConfig(
        site=SiteSection(name="mmstream demo", data_dir=data),
        api=ApiSection(port=port),
        budget=BudgetSection(alerts_per_camera_per_day=96, block_s=15, warmup_s=60),
        feeds=tuple(
            FeedConfig(id=name, name=NAMES[name], url=cameras.urls[name], history=(history[name],)) for name in SCENES
        ),
    )
