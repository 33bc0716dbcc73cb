"""Which streams of a container are watched: the best picture, the best sound, the captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from mmstream.errors import SourceError, UnsupportedCodec
from mmstream.sources.packets import make_decoder
from mmstream.types import StreamParameters


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """The chosen streams and what decoders need to know of them, by stream index."""

    streams: tuple[Stream, ...]
    parameters: dict[int, StreamParameters]
    rejected: tuple[str, ...] = ()
    """Kinds whose codec nothing here can decode: ``sound (adpcm_g726)``."""


def choose_tracks(container: InputContainer, *, audio: bool, epoch: int) -> Tracks:
    """The best stream of each kind that can be decoded; cover pictures and data are left out.

    Raises:
        UnsupportedCodec: there is neither picture nor sound that can be decoded.
    """
    chosen: list[Stream] = []
    rejected: list[str] = []
    candidates: list[tuple[str, list[Stream]]] = [("picture", [s for s in container.streams.video if not _is_cover(s)])]
    if audio:
        candidates.append(("sound", list(container.streams.audio)))
    for kind, streams in candidates:
        usable = [stream for stream in streams if _can_decode(stream)]
        if usable:
            chosen.append(_best(container, usable))
        elif streams:
            rejected.append(f"{kind} ({codec_of(streams[0])})")
    if not chosen:
        what = " and ".join(rejected) or "no picture and no sound"
        raise UnsupportedCodec(f"nothing to decode: {what}; set the camera to H.264, H.265 or MJPEG")
    captions = [stream for stream in container.streams.subtitles if codec_of(stream)]
    if captions:
        chosen.append(_best(container, list(captions)))
    return Tracks(
        streams=tuple(chosen),
        parameters={stream.index: parameters_of(stream, epoch) for stream in chosen},
        rejected=tuple(rejected),
    )


def parameters_of(stream: Stream, epoch: int) -> StreamParameters:
    context = stream.codec_context
    numerator, denominator = stream.time_base.as_integer_ratio() if stream.time_base else (1, 1000)
    is_video, is_audio = isinstance(stream, VideoStream), isinstance(stream, AudioStream)
    return StreamParameters(
        kind="video" if is_video else "audio" if is_audio else "text",
        codec=codec_of(stream),
        time_base=(numerator, denominator),
        extradata=context.extradata or b"",
        width_px=stream.codec_context.width if isinstance(stream, VideoStream) else 0,
        height_px=stream.codec_context.height if isinstance(stream, VideoStream) else 0,
        sample_rate_hz=stream.codec_context.sample_rate if isinstance(stream, AudioStream) else 0,
        channels=stream.codec_context.channels if isinstance(stream, AudioStream) else 0,
        index=stream.index,
        epoch=epoch,
    )


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of the format (``mp3``), not of one of its decoders (``mp3float``); "" if unknown."""
    context: Any = stream.codec_context
    return str(context.codec.canonical_name) if context is not None else ""


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.still_image))


def _can_decode(stream: Stream) -> bool:
    if not codec_of(stream):
        return False
    try:
        make_decoder(parameters_of(stream, 0))
    except SourceError:
        return False
    return True


def _best(container: InputContainer, usable: list[Stream]) -> Stream:
    """FFmpeg's own choice (default flag, size, bit rate) where it is among the usable ones."""
    kind: Any = usable[0].type
    best = container.streams.best(kind)
    return best if best is not None and best.index in {stream.index for stream in usable} else usable[0]
