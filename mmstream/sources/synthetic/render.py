"""Encode a scene as a camera would: 2 s between key frames, no B-frames, no look-ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.container
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from mmstream.errors import ConfigError
from mmstream.sources.synthetic.dock import Dock
from mmstream.sources.synthetic.events import ScriptedEvent
from mmstream.sources.synthetic.junction import Junction
from mmstream.sources.synthetic.scene import RenderedScene
from mmstream.sources.synthetic.walkway import Walkway
from mmstream.sources.synthetic.yard import Yard

SCENES: Mapping[str, type[RenderedScene]] = {s.name: s for s in (Junction, Walkway, Dock, Yard)}
KEY_FRAME_EVERY_S = 2

VideoCodec = Literal["h264", "hevc"]
AudioCodec = Literal["aac", "pcm_mulaw", "pcm_alaw", "mp3", "libopus"]

_VIDEO_ENCODERS: Mapping[str, str] = {"h264": "libx264", "hevc": "libx265"}
_AUDIO_RATES_HZ: Mapping[str, int] = {
    "aac": 16_000,
    "pcm_mulaw": 8_000,
    "pcm_alaw": 8_000,
    "mp3": 16_000,
    "libopus": 16_000,
}
_G711 = frozenset({"pcm_mulaw", "pcm_alaw"})
_WITHOUT_G711 = frozenset({".mp4", ".mkv"})


def make_scene(
    name: str, *, seed: int, start_clock_s: float = 0.0, size: tuple[int, int] = (640, 360)
) -> RenderedScene:
    """Raises:
    ConfigError: there is no scene of that name.
    """
    if name not in SCENES:
        raise ConfigError(f"there is no rendered scene {name!r}; choose one of {', '.join(SCENES)}")
    return SCENES[name](seed=seed, start_clock_s=start_clock_s, size=size)


class SceneEncoder:
    """Renders a scene frame by frame into a container: picture and sound on one clock from zero."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        scene: RenderedScene,
        *,
        size: tuple[int, int] = (640, 360),
        video_codec: VideoCodec = "h264",
        audio_codec: AudioCodec | None = "aac",
    ) -> None:
        self.scene = scene
        self.num_frames = 0
        self._container = container
        self._reformatter = VideoReformatter()
        self._video = _add_video(container, scene, size, video_codec)
        self._audio: AudioStream | None = None
        if audio_codec is not None and scene.has_audio:
            self._audio = container.add_stream(audio_codec, rate=_AUDIO_RATES_HZ[audio_codec])
            self._audio.codec_context.layout = "mono"
        self._resampler = av.AudioResampler(
            format=self._audio.format if self._audio else "s16",
            layout="mono",
            rate=self._audio.rate if self._audio else scene.sample_rate_hz,
        )

    @property
    def at_s(self) -> float:
        """Scene time up to which everything has been encoded."""
        return self.num_frames / self.scene.frame_rate_hz

    def advance(self) -> None:
        """Render, encode and mux one frame and the sound that belongs to it."""
        at_s = self.at_s
        picture = av.VideoFrame.from_ndarray(self.scene.frame(at_s), format="rgb24")
        frame = self._reformatter.reformat(picture, format="yuv420p")
        frame.pts, frame.time_base = self.num_frames, Fraction(1, self.scene.frame_rate_hz)
        for packet in self._video.encode(frame):
            self._container.mux(packet)
        if self._audio is not None:
            self._advance_sound(self._audio)
        self.num_frames += 1

    def _advance_sound(self, stream: AudioStream) -> None:
        rate, per_frame = self.scene.sample_rate_hz, self.scene.sample_rate_hz // self.scene.frame_rate_hz
        samples = self.scene.sound(self.at_s, per_frame)
        chunk = av.AudioFrame.from_ndarray(
            np.round(samples[None] * 32767).astype(np.int16), format="s16", layout="mono"
        )
        chunk.sample_rate, chunk.pts, chunk.time_base = rate, self.num_frames * per_frame, Fraction(1, rate)
        for resampled in self._resampler.resample(chunk):
            for packet in stream.encode(resampled):
                self._container.mux(packet)

    def finish(self) -> None:
        """Give out what the encoders hold back."""
        for packet in self._video.encode(None):
            self._container.mux(packet)
        if self._audio is not None:
            for resampled in self._resampler.resample(None):
                for packet in self._audio.encode(resampled):
                    self._container.mux(packet)
            for packet in self._audio.encode(None):
                self._container.mux(packet)


def _add_video(
    container: av.container.OutputContainer, scene: RenderedScene, size: tuple[int, int], codec: VideoCodec
) -> VideoStream:
    every = scene.frame_rate_hz * KEY_FRAME_EVERY_S
    options = {"preset": "veryfast", "tune": "zerolatency", "crf": "26"}
    if codec == "hevc":
        options["preset"] = "ultrafast"
        options["x265-params"] = f"keyint={every}:min-keyint={every}:scenecut=0:bframes=0:pools=none:log-level=error"
    else:
        # threads: zerolatency would cut every picture into slices, one per core
        options |= {"threads": "1", "x264-params": f"keyint={every}:min-keyint={every}:scenecut=0:bframes=0"}
    stream = container.add_stream(_VIDEO_ENCODERS[codec], rate=scene.frame_rate_hz, options=options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    return stream


def render_clip(
    scene_name: str,
    path: Path,
    *,
    duration_s: float,
    seed: int,
    events: Sequence[ScriptedEvent] = (),
    start_clock_s: float = 0.0,
    video_codec: VideoCodec = "h264",
    audio_codec: AudioCodec | None = "aac",
    progress: Callable[[float], None] | None = None,
    size: tuple[int, int] = (640, 360),
) -> None:
    """Write a recording of a scene; the suffix of ``path`` chooses the container: ``.mp4`` or ``.mkv``, and
    ``.mov`` for the two G.711 codecs.

    The file appears under its name only when it is complete. ``progress`` hears the share done, 0..1,
    about once per rendered second.

    Raises:
        ConfigError: no scene of that name, or the container cannot carry the sound.
        ValueError: an event that the scene does not know, or a size that is not 16:9.
    """
    if path.suffix in _WITHOUT_G711 and audio_codec in _G711:
        raise ConfigError(f"{path.suffix} cannot carry {audio_codec}; write to {path.stem}.mov instead of {path.name}")
    scene = make_scene(scene_name, seed=seed, start_clock_s=start_clock_s, size=size)
    scene.schedule(events)
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    num_frames = round(duration_s * scene.frame_rate_hz)
    try:
        with av.open(unfinished, "w") as container:
            encoder = SceneEncoder(container, scene, size=size, video_codec=video_codec, audio_codec=audio_codec)
            for k in range(num_frames):
                encoder.advance()
                if progress is not None and (k + 1) % scene.frame_rate_hz == 0:
                    progress((k + 1) / num_frames)
            encoder.finish()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
