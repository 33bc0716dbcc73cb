"""What the site's own networks learn of four rendered cameras: `python -m tests.training.measure_site OUT [SEED [S]]`.

Retrieval and prediction on bursts aside, and what is found of events put into later bursts, with and without them.
Time is that of the processor, so that a busy machine gives the same figures later.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmstream.encoders.footage_mel import NUM_SAMPLES, SAMPLE_RATE_HZ, footage_mel
from mmstream.sources.synthetic import SCENES, make_scene
from mmstream.training.corpus import Corpus
from mmstream.training.footage import BURST_WINDOWS, PICTURE_PX, Burst, Glimpse
from mmstream.training.loop import Epoch, LocalWorker, fit, take_settings
from mmstream.training.promote import Trial
from mmstream.training.site import SUBJECT, SiteKind

EVERY_S = 5.0
NUM_TRAIN, NUM_HELD_OUT = 120, 40
TRAINED_S = 300.0


def bursts_of(scene_name: str, seed: int) -> list[Burst]:
    scene = make_scene(scene_name, seed=seed, size=(320, 180))
    return [_burst(scene, scene_name, number * EVERY_S) for number in range(NUM_TRAIN + NUM_HELD_OUT)]


def _burst(scene: Any, feed_id: str, at_s: float) -> Burst:
    pictures = [_squeezed(scene.frame(at_s + number + 1.0)) for number in range(BURST_WINDOWS)]
    heard = scene.sound(at_s, NUM_SAMPLES + (BURST_WINDOWS - 1) * SAMPLE_RATE_HZ) if scene.has_audio else None
    glimpses = []
    for number, picture in enumerate(pictures):
        first = number * SAMPLE_RATE_HZ
        mel = footage_mel(heard[first : first + NUM_SAMPLES]) if heard is not None else None
        start_s = at_s + number
        glimpses.append(Glimpse(start_s=start_s, end_s=start_s + 2.0, picture=picture, mel=mel))
    return Burst(feed_id=feed_id, glimpses=tuple(glimpses))


def _squeezed(frame: Any) -> Any:
    return np.asarray(Image.fromarray(frame).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BOX))


def corpus_of(seed: int) -> Corpus:
    recorded = {name: bursts_of(name, seed) for name in SCENES}

    def read(feed_id: str, from_s: float, to_s: float) -> Iterator[Burst]:
        return (burst for burst in recorded[feed_id] if from_s <= burst.start_s < to_s)

    ends_s = (NUM_TRAIN + NUM_HELD_OUT) * EVERY_S
    return Corpus(feeds=tuple(SCENES), from_s=0.0, split_s=NUM_TRAIN * EVERY_S, to_s=ends_s, read_bursts=read)


def told(trial: Trial) -> dict[str, Any]:
    by_kind: dict[str, list[bool]] = {}
    for event, found in trial.found.items():
        by_kind.setdefault(event.rsplit("-", 2)[1], []).append(found)
    return {
        "recall": float(np.mean(list(trial.found.values()))),
        "by_kind": {kind: f"{sum(found)} of {len(found)}" for kind, found in sorted(by_kind.items())},
        "alerts": f"{trial.num_alerts} in {sum(each.num_new for each in trial.blocks)} normal bursts",
        "ms_per_window": 1e3 * trial.window_s,
    }


def main(out: Path, seed: int = 0, trained_s: float = TRAINED_S) -> None:
    torch.set_num_threads(1)
    corpus, kind = corpus_of(seed), SiteKind()
    settings, _ = take_settings({"max_seconds": trained_s}, kind.settings)
    trainee = kind.trainee(SUBJECT, corpus, {"seed": seed}, parent=None)

    def show(epoch: Epoch) -> None:
        print(epoch.number, {name: round(value, 3) for name, value in epoch.figures.items()}, flush=True)  # noqa: T201

    fitted = fit(trainee, settings, LocalWorker(device="cpu"), on_epoch=show, clock=time.process_time)
    folder = out.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name, content in trainee.export(fitted.module).items():
        (folder / name).write_bytes(content)
    report = {
        "figures": dict(fitted.figures),
        "epochs": len(fitted.history),
        "without": told(kind.trial(SUBJECT, None, corpus)),
        "with": told(kind.trial(SUBJECT, folder, corpus)),
    }
    out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:]))
