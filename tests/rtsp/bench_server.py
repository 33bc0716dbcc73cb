"""Eight RTSP cameras to measure against: ``python -m tests.rtsp.bench_server [busy|quiet] [NUMBER]``.

720p at 15 frames a second with AAC, 4:2:0, a key frame every 2 s, no B frames: what a camera's main
stream is. ``busy`` has things moving all the time; ``quiet`` is the same place with sensor noise only.
Prints one JSON line with the URLs and serves until its standard input ends.
"""

from __future__ import annotations

import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from tests.rtsp.server import CameraServer

WIDTH_PX, HEIGHT_PX, FPS, SECONDS = 1280, 720, 15, 20
RATE_HZ = 16_000
SETTLE_FRAMES = 4 * FPS
"""Left out: a coder's first pictures differ in size, and a loop that began with them would have a seam."""


def make_bench_clip(path: Path, *, busy: bool) -> Path:
    """A textured place, noise of sigma 2, a quiet hum; eight things that move when ``busy``."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    texture = random.normal(0, 12, (HEIGHT_PX // 8, WIDTH_PX // 8)).repeat(8, 0).repeat(8, 1)
    place = 110 + 30 * np.sin(columns / 90) + rows / 20 + texture
    tiles = [random.normal(0, 2, (HEIGHT_PX, WIDTH_PX)).astype(np.float32) for _ in range(7)]
    things = [
        (random.uniform(0, WIDTH_PX), random.uniform(60, HEIGHT_PX - 160), random.uniform(30, 110)) for _ in range(8)
    ]
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": "24", "threads": "1", "g": "30", "bf": "0"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        assert isinstance(video, VideoStream)
        assert isinstance(audio, AudioStream)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for index in range(-SETTLE_FRAMES, SECONDS * FPS):
            # Noise that never comes again, so that the loop's seam is like any other moment.
            picture = place + np.roll(tiles[index % len(tiles)], tuple(random.integers(0, 1000, 2)), (0, 1))
            for start_px, top_px, speed in things if busy else ():
                left = int(start_px + speed * index / FPS) % (WIDTH_PX - 60)
                picture[int(top_px) : int(top_px) + 100, left : left + 50] = 200
            luma = np.clip(picture, 16, 235).astype(np.uint8)
            grey = np.full((HEIGHT_PX // 2, WIDTH_PX), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.concatenate([luma, grey]), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            packets = video.encode(frame)
            if index >= 0:
                container.mux(packets)
        hum = random.normal(0, 300, SECONDS * RATE_HZ).astype(np.int16)
        for start in range(0, hum.size - 1023, 1024):
            chunk = av.AudioFrame.from_ndarray(hum[None, start : start + 1024], format="s16", layout="mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            container.mux(audio.encode(chunk))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))
    return path


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "busy"
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    with tempfile.TemporaryDirectory() as folder:
        clip = make_bench_clip(Path(folder) / "clip.mp4", busy=kind == "busy")
        with CameraServer({f"{kind}-{index}": f"clip:{clip}" for index in range(number)}) as server:
            print(json.dumps([server.url(f"{kind}-{index}") for index in range(number)]), flush=True)  # noqa: T201
            sys.stdin.read()


if __name__ == "__main__":
    main()
