"""Eight cameras as a site has them: mixed codecs, one behind a password, one microphone without a picture.

Four are the real room of ``cameras4`` (rendered ones take their place where there is no footage), four
are rendered. Each has a recording of another stretch of time to learn from.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from mmstream.sources.synthetic.render import SceneEncoder, make_scene, render_clip
from mmstream.sources.synthetic.scene import RenderedScene
from mmstream.types import Float32, UInt8

USER, PASSWORD = "guard", "s3cr3t-w0rd"
LOOP_S, HISTORY_S = 40.0, 100.0
PROTECTED = "hall-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """What the server plays in a loop, and what there is to learn from."""

    clip: Path
    history: tuple[Path, ...]


def make_cameras(folder: Path, footage: Path | None) -> dict[str, Camera]:
    """Files for all eight, written into ``folder``."""
    cameras = {f"hall-{index}": _hall(folder, index, footage) for index in range(4)}
    cameras["junction"] = _rendered(folder, "junction", "junction", suffix="mp4")
    cameras["walkway"] = _rendered(folder, "walkway", "walkway", suffix="mp4", video_codec="hevc")
    cameras["dock"] = _rendered(folder, "dock", "dock", suffix="mov", audio_codec="pcm_mulaw")
    yard = _rendered(folder, "microphone", "yard", suffix="mp4")
    cameras["microphone"] = dataclasses.replace(
        yard, clip=_sound_only(yard.clip), history=tuple(_sound_only(path) for path in yard.history)
    )
    return cameras


def mounts(cameras: Mapping[str, Camera]) -> dict[str, str]:
    return {name: f"clip:{camera.clip}" for name, camera in cameras.items()}


def _rendered(folder: Path, name: str, scene: str, *, suffix: str, **codecs: str) -> Camera:
    clip, history = folder / f"{name}.{suffix}", folder / f"{name}-history.{suffix}"
    render_clip(scene, clip, duration_s=LOOP_S, seed=11, **codecs)  # type: ignore[arg-type]
    render_clip(scene, history, duration_s=HISTORY_S, seed=12, **codecs)  # type: ignore[arg-type]
    return Camera(clip=clip, history=(history, clip))


def _hall(folder: Path, index: int, footage: Path | None) -> Camera:
    if footage is None:
        scene = ("junction", "walkway", "dock", "yard")[index]
        return _rendered(folder, f"hall-{index}", scene, suffix="mp4")
    source, codec = footage / "cameras4" / f"cam{index}.mp4", "libx265" if index == 1 else "libx264"
    clip = _as_a_camera_sends_it(source, folder / f"hall-{index}.mp4", codec)
    return Camera(clip=clip, history=(clip,) * 5)


def _as_a_camera_sends_it(source: Path, target: Path, codec: str) -> Path:
    """A key frame every two seconds and no B frames; the recording has one key frame in 25 s, so that whoever
    joins would see nothing for up to 25 s."""
    options = {
        "libx264": {"preset": "veryfast", "tune": "zerolatency", "g": "20", "bf": "0", "threads": "1"},
        "libx265": {"preset": "ultrafast", "x265-params": "keyint=20:bframes=0:log-level=none:pools=none"},
    }
    width_px, height_px = (1288, 728) if codec == "libx264" else (644, 364)
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream(codec, rate=10, options=options[codec])
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number, frame in enumerate(given.decode(video=0)):
            picture = frame.reformat(width=width_px, height=height_px, format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            picture.pict_type = av.video.frame.PictureType.NONE
            made.mux(stream.encode(picture))
        made.mux(stream.encode(None))
    return target


def _sound_only(path: Path) -> Path:
    target = path.with_name(f"{path.stem}-sound.mp4")
    with av.open(str(path)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return target


class _WithSiren:
    """A scene in which a siren passes, from ``start_s`` to ``end_s``; the picture stays as it is."""

    def __init__(self, scene: RenderedScene, start_s: float, end_s: float) -> None:
        self._scene, self._start_s, self._end_s = scene, start_s, end_s
        self.has_audio, self.frame_rate_hz, self.sample_rate_hz = True, scene.frame_rate_hz, scene.sample_rate_hz

    def frame(self, at_s: float) -> UInt8:
        return self._scene.frame(at_s)

    def sound(self, start_s: float, num_samples: int) -> Float32:
        bed = self._scene.sound(start_s, num_samples)
        times_s = start_s + np.arange(num_samples) / self.sample_rate_hz
        tone = 0.35 * np.sin(2 * np.pi * (900 * times_s - 300 / (2 * np.pi * 0.5) * np.cos(2 * np.pi * 0.5 * times_s)))
        passing = (times_s >= self._start_s) & (times_s < self._end_s)
        return np.clip(bed + tone * passing, -1, 1).astype(np.float32)


def render_siren(path: Path, *, scene: str, start_s: float, end_s: float, duration_s: float) -> Path:
    """A stretch of a rendered camera with a siren, encoded once and like the camera's own loop."""
    passing = _WithSiren(make_scene(scene, seed=11), start_s, end_s)
    with av.open(str(path), "w") as container:
        encoder = SceneEncoder(container, passing)  # type: ignore[arg-type]
        while encoder.at_s < duration_s:
            encoder.advance()
        encoder.finish()
    return path


def camera_environment() -> dict[str, str]:
    """What the site's process needs to open the protected camera."""
    return {**os.environ, "CAMERA_USER": USER, "CAMERA_PASSWORD": PASSWORD}
