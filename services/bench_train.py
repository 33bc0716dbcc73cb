"""``mmstream bench train``: what watching loses while the site trains, in one run on one machine.

Rendered cameras run through a whole site on a Ray of its own. Its API is asked and its frames are counted without any
training, beside a training, and without one again; the two without are taken together, because machines change their
speed. What trains is a network like the site's own, on Ray Train, for as long as it is measured.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from torch import nn

from mmstream.config import FeedConfig, SiteConfig
from mmstream.errors import StageError
from mmstream.sources.synthetic import SCENES
from mmstream.sources.synthetic.render import render_clip
from mmstream.training.loop import Epoch, FitSettings
from mmstream.training.trainee import Batch, Step
from services.app import Site
from services.bench import count, rates
from services.finetune import fit_on_ray
from services.ports import free_port

CLIP_S = 20.0
ASK_EVERY_S = 0.05
READY_WITHIN_S = 180.0
BATCH, SIDE_PX, NUM_BATCHES = 16, 112, 10
Say = Callable[[str], None]


@dataclass(kw_only=True)
class Busy:
    """A trainee that never has enough: pictures of noise through a small convolutional network."""

    seed: int = 0

    def module(self) -> nn.Module:
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 64))

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        del world_size
        generator = torch.Generator().manual_seed(self.seed + 1000 * epoch + rank)
        for _ in range(NUM_BATCHES):
            yield {"pictures": torch.rand((BATCH, 3, SIDE_PX, SIDE_PX), generator=generator)}

    def step(self, module: nn.Module, batch: Batch) -> Step:
        vectors: torch.Tensor = module(batch["pictures"])
        return Step(loss=((vectors - 1.0) ** 2).mean(), parts={})

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        del module
        return {"loss": 1.0}

    def export(self, module: nn.Module) -> Mapping[str, bytes]:
        del module
        return {}


class Training:
    """Trains until it is told to end."""

    def __init__(self, site: SiteConfig, folder: Path) -> None:
        self._stop, self._began = threading.Event(), threading.Event()
        self._epochs: list[Epoch] = []
        self._trouble: list[StageError] = []
        self._thread = threading.Thread(target=self._run, args=(site, folder), name="training")

    def __enter__(self) -> Training:
        """Returns when it has learned something; raises StageError: it cannot."""
        self._thread.start()
        while not self._began.wait(0.2):
            if self._trouble:
                raise self._trouble[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def num_batches(self) -> int:
        return NUM_BATCHES * len(self._epochs)

    def _run(self, site: SiteConfig, folder: Path) -> None:
        try:
            fit_on_ray(
                Busy(),
                FitSettings(epochs=1_000_000, patience=0, precision="fp32"),
                site.training,
                storage=str(folder),
                name="bench",
                on_progress=self._note,
                should_stop=self._stop.is_set,
            )
        except StageError as error:
            self._trouble.append(error)

    def _note(self, epoch: Epoch) -> None:
        self._epochs.append(epoch)
        self._began.set()


def compare(num_cameras: int, *, seconds: float, workers: int, say: Say) -> dict[str, Any]:
    """Without, beside, without: keys as other benchmarks have them.

    Raises:
        StageError: the training could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as folder:
        site = Site(bench_site(num_cameras, Path(folder), workers=workers, say=say), progress=say)
        try:
            site.start()
            say("waiting for the cameras")
            wait_for_frames(site, num_cameras)
            runs = [measure(site, num_cameras, seconds, say, "without training")]
            say("starting the training")
            with Training(site.config, Path(folder, "runs")) as training:
                before = training.num_batches
                beside = measure(site, num_cameras, seconds, say, "beside a training")
                beside["batches_per_s"] = (training.num_batches - before) / seconds
                say("ending the training")
            runs.append(measure(site, num_cameras, seconds, say, "without training, again"))
        finally:
            site.stop()
    without = together(runs)
    return {
        "cameras": num_cameras,
        "seconds": seconds,
        "workers": workers,
        "floor": {"without": without, "each": [summary(run) for run in runs]},
        "ours": {"beside": summary(beside)},
        "ratio": ratios(without, summary(beside)),
    }


def bench_site(num_cameras: int, folder: Path, *, workers: int, say: Say) -> SiteConfig:
    """Cameras that play a rendered clip for ever, every picture of it decoded."""
    names = [list(SCENES)[index % len(SCENES)] for index in range(num_cameras)]
    clips = {name: folder / f"{name}.mp4" for name in dict.fromkeys(names)}
    for name, path in clips.items():
        say(f"filming {name}")
        render_clip(name, path, duration_s=CLIP_S, seed=7)
    feeds = [FeedConfig(id=f"bench-{i}", url=str(clips[name]), loop=True) for i, name in enumerate(names)]
    return SiteConfig.model_validate(
        {
            "site": {"data_dir": folder / "data"},
            "gate": {"enabled": False},
            "api": {"port": free_port()},
            # no nights of its own: it trains when it is told to
            "training": {"enabled": False, "workers": workers},
            "feeds": feeds,
        }
    )


def wait_for_frames(site: Site, num_cameras: int) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline_s:
        statuses = site.statuses()
        if sum(status["counters"].get("windows", 0) > 0 for status in statuses.values()) == num_cameras:
            return
        time.sleep(0.5)
    raise StageError(f"the cameras did not all run within {READY_WITHIN_S:.0f} s; run 'mmstream doctor'")


def measure(site: Site, num_cameras: int, seconds: float, say: Say, what: str) -> dict[str, Any]:
    """Ask the API for so long, one question after the other, and count what the path does meanwhile."""
    say(what)
    before, began_s = count(site.statuses()), time.monotonic()
    waits_s: list[float] = []
    headers = {"Authorization": f"Bearer {site.key_file.read_text().strip()}"}
    with httpx.Client(base_url=site.url, headers=headers, trust_env=False, timeout=30.0) as client:
        while time.monotonic() < began_s + seconds:
            asked_s = time.monotonic()
            client.get("/api/v1/feeds").raise_for_status()
            waits_s.append(time.monotonic() - asked_s)
            time.sleep(max(0.0, ASK_EVERY_S - waits_s[-1]))
    wall_s = time.monotonic() - began_s
    return {"waits_s": waits_s, **rates(before, count(site.statuses()), wall_s, num_cameras)}


def summary(run: Mapping[str, Any]) -> dict[str, float]:
    quantiles = {f"api_p{q}_s": float(np.quantile(run["waits_s"], q / 100)) for q in (50, 95, 99)}
    figures = {name: float(value) for name, value in run.items() if name != "waits_s"}
    return {**figures, **quantiles, "api_requests": float(len(run["waits_s"]))}


def together(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means of the rates; quantiles of all answers together."""
    names = [name for name in runs[0] if name != "waits_s"]
    means = {name: float(np.mean([run[name] for run in runs])) for name in names}
    return summary({**means, "waits_s": [wait_s for run in runs for wait_s in run["waits_s"]]})


def ratios(without: Mapping[str, float], beside: Mapping[str, float]) -> dict[str, float]:
    """Beside a training, of without one.

    >>> without = {"api_p99_s": 0.01, "api_p50_s": 0.004, "frames_decoded_per_camera_s": 12.0}
    >>> ratios(without, {**without, "api_p99_s": 0.03})
    {'api_p50': 1.0, 'api_p99': 3.0, 'frames': 1.0}
    """
    pairs = {"api_p50": "api_p50_s", "api_p99": "api_p99_s", "frames": "frames_decoded_per_camera_s"}
    return {name: beside[key] / without[key] if without[key] else 0.0 for name, key in pairs.items()}
