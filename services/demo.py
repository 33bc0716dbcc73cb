"""The demonstration: four rendered cameras, encoded, served over HTTP, and read like any others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

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

    def render(name: str) -> None:
        path = paths[name]
        if path.exists():
            return
        task = bar.add_task(f"filming an ordinary day at the {NAMES[name].lower()}", total=1.0)
        unfinished = path.with_name(f"unfinished-{path.name}")
        render_clip(
            name, unfinished, duration_s=HISTORY_S, seed=SEED, progress=lambda share: bar.update(task, completed=share)
        )
        os.replace(unfinished, path)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        list(pool.map(render, SCENES))
    return {name: str(path.resolve()) for name, path in paths.items()}


def demo_site(data: Path, *, port: int, cameras: DemoCameras, history: dict[str, str]) -> SiteConfig:
    """Shorter blocks and a larger budget than a real site has; everything else is the default."""
    return SiteConfig(
        site=SiteSection(name="mmstream demo", data_dir=data),
        api=ApiSection(port=port),
        budget=BudgetSection(alerts_per_camera_per_day=480, block_s=15, warmup_s=120),
        feeds=tuple(
            FeedConfig(id=name, name=NAMES[name], url=cameras.urls[name], history=(history[name],)) for name in SCENES
        ),
    )
