"""How well speech is told from a city, and what it costs: ``python -m tests.encoders.measure_voice FOOTAGE``.

Every two-second window, one a second, by itself. Speech is also mixed with each sound of the city at three
signal-to-noise ratios, by the power of the whole clips.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import typer

from mmstream.encoders.voice import VoiceActivity
from mmstream.settle import one_thread_per_product
from mmstream.types import Float32
from tests.encoders.sounds import RATE_HZ, read_sound

WINDOW = 2 * RATE_HZ
SPOKEN_SHARE = 0.1
CLASSES = (
    "air conditioner",
    "car horn",
    "children",
    "dog",
    "drilling",
    "engine",
    "gun shot",
    "jackhammer",
    "siren",
    "music",
)


def windows(samples: Float32) -> list[Float32]:
    short = max(0, WINDOW - len(samples))
    padded = np.pad(samples, (0, short))
    return [padded[start : start + WINDOW] for start in range(0, len(padded) - WINDOW + 1, RATE_HZ)]


def mixed(speech: Float32, noise: Float32, ratio_db: float) -> Float32:
    around = np.resize(noise, len(speech))
    gain = np.sqrt(np.mean(speech**2) / np.mean(around**2) / 10 ** (ratio_db / 10))
    sum_ = speech + gain * around
    return np.asarray(sum_ / max(1.0, np.abs(sum_).max()), np.float32)


def main(footage: Path) -> None:
    activity = VoiceActivity()

    def row(name: str, clips: list[Float32]) -> None:
        shares = np.array([activity.listen(window).share for clip in clips for window in windows(clip)])
        spoken = np.mean(shares >= SPOKEN_SHARE)
        typer.echo(f"| {name} | {len(shares)} | {spoken:.2f} | {shares.mean():.2f} | {shares.max():.2f} |")

    speech = [
        read_sound(path) for path in sorted((footage / "speech").rglob("*.*")) if path.suffix in (".flac", ".wav")
    ]
    city = {path: read_sound(path) for path in sorted((footage / "audio").rglob("*.wav"))}
    typer.echo("| sound | windows | with speech | mean share | largest share |\n|---|---|---|---|---|")
    row("speech", speech)
    for ratio_db in (10, 5, 0):
        row(
            f"speech, {ratio_db} dB over each of the city's",
            [mixed(s, n, ratio_db) for s in speech for n in city.values()],
        )
    for path, samples in city.items():
        row(
            CLASSES[int(path.stem.split("-")[1])] if path.parent.name == "urbansound" else path.stem.split("_")[0],
            [samples],
        )
    one_thread_per_product()
    costs_ms = []
    for _ in range(300):
        start_s = time.process_time()
        activity.listen(speech[0][:WINDOW])
        costs_ms.append(500 * (time.process_time() - start_s))
    typer.echo(f"\n{np.min(costs_ms):.2f} ms (median {np.median(costs_ms):.2f}) of processor time per second of sound")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
