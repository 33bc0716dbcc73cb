"""From an encoded packet to a decoder or a file, long after the connection that brought it is gone.

A `StreamParameters` holds all that is needed, so nothing here touches the input container. An
``av.Packet`` stays valid after ``container.close()`` (its bytes are counted references), but its
``.stream`` does not: never read it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import CodecContext, ThreadType
from av.container import OutputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext

from mmstream.errors import UnsupportedCodec
from mmstream.types import Packet, StreamParameters

_DECODERS = {"av1": "libdav1d"}
"""FFmpeg finds first, by name, a decoder that needs special hardware."""
_START_CODE = b"\x00\x00\x00\x01"
_WITH_HEADER_IN_BAND = ("h264", "hevc", "mpeg4")


def make_decoder(parameters: StreamParameters) -> CodecContext:
    """A decoder of our own, single-threaded (with many feeds threads only add delay), not yet opened.

    Raises:
        UnsupportedCodec: this FFmpeg has no such decoder.
    """
    try:
        context = CodecContext.create(_DECODERS.get(parameters.codec, parameters.codec), "r")
    except (ValueError, av.error.FFmpegError) as error:
        raise UnsupportedCodec(
            f"no decoder for {parameters.codec!r}; set the camera to H.264, H.265 or MJPEG with AAC, Opus or G.711"
        ) from error
    if parameters.extradata:
        context.extradata = parameters.extradata
    if isinstance(context, AudioCodecContext):
        # G.711 and Opus over RTP say their rate and channels only in the session description.
        if parameters.sample_rate_hz:
            context.sample_rate = parameters.sample_rate_hz
        if parameters.channels:
            context.layout = _layout(parameters.channels)
    context.thread_type = ThreadType.NONE
    context.thread_count = 1
    return context


def add_output_stream(container: OutputContainer, parameters: StreamParameters) -> Stream:
    """A stream of ``container`` that takes the packets of `packet_for_output` without re-encoding.

    MP4 takes H.264, H.265, MPEG-4, MJPEG, AAC, Opus and MP3; for G.711 (most cameras' sound)
    decode and encode to AAC instead.

    Raises:
        UnsupportedCodec: the container cannot hold this codec.
    """
    time_base = Fraction(*parameters.time_base)
    try:
        if parameters.kind == "video":
            # No codec context: the muxer takes the parameter sets out of the first packet.
            return container.add_mux_stream(
                parameters.codec, width=parameters.width_px, height=parameters.height_px, time_base=time_base
            )
        # PyAV lets a stream's header bytes be set only on a context, and only an encoder's context is
        # accepted. It is opened, never fed, and its header bytes are replaced by the camera's own.
        stream = container.add_stream(parameters.codec, rate=parameters.sample_rate_hz)
    except (ValueError, av.error.FFmpegError) as error:
        raise UnsupportedCodec(
            f"{container.format.name} cannot hold {parameters.codec!r}; decode and encode it to AAC"
        ) from error
    context = stream.codec_context
    assert isinstance(context, AudioCodecContext)
    context.layout = _layout(parameters.channels or 1)
    context.open()
    if parameters.extradata:
        context.extradata = parameters.extradata
    stream.time_base = time_base
    return stream


def packet_for_output(packet: Packet, stream: Stream, *, is_first: bool) -> av.Packet[Any]:
    """A copy of the payload, ready for ``container.mux``; the original stays as it was for the ring.

    ``is_first``: this is the first packet written to ``stream``; for video it must be a key frame.
    H.264 and H.265 are written with start codes, whatever they came with, because only then does the
    muxer find the parameter sets. The caller sets ``pts`` and ``dts`` of the copy if they must move.
    """
    payload: av.Packet[Any] = packet.payload
    data = bytes(payload)
    parameters = packet.stream
    if parameters.codec in _WITH_HEADER_IN_BAND:
        header, length_size = parameter_sets(parameters)
        if length_size:
            data = _with_start_codes(data, length_size)
        if is_first:
            data = header + data
    copy = copy_packet(payload, data)
    copy.stream = stream
    return copy


def copy_packet(payload: av.Packet[Any], data: bytes) -> av.Packet[Any]:
    """A packet of its own memory with other bytes, the same times and key flag, and no stream."""
    copy: av.Packet[Any] = av.Packet(len(data))
    copy.update(data)
    copy.pts, copy.dts, copy.duration = payload.pts, payload.dts, payload.duration
    copy.time_base, copy.is_keyframe = payload.time_base, payload.is_keyframe
    return copy


def parameter_sets(parameters: StreamParameters) -> tuple[bytes, int]:
    """(SPS, PPS and VPS with start codes, bytes of a unit's length prefix; 0 = units have start codes).

    Reads ``avcC`` (ISO/IEC 14496-15, 5.3.3.1) and ``hvcC`` (8.3.3.1), the forms that files hold;
    RTSP gives start codes, and MPEG-4 part 2 has nothing else: passed on as they are.
    """
    extradata = parameters.extradata
    if not extradata or extradata[0] != 1 or parameters.codec == "mpeg4":
        return extradata, 0
    units: list[bytes] = []
    if parameters.codec == "h264":
        length_size, at = (extradata[4] & 3) + 1, 5
        for mask in (0x1F, 0xFF):
            count, at = extradata[at] & mask, at + 1
            at = _read_units(extradata, at, count, units)
    else:
        length_size, at = (extradata[21] & 3) + 1, 23
        for _ in range(extradata[22]):
            count = int.from_bytes(extradata[at + 1 : at + 3], "big")
            at = _read_units(extradata, at + 3, count, units)
    return b"".join(_START_CODE + unit for unit in units), length_size


def _read_units(data: bytes, at: int, count: int, units: list[bytes]) -> int:
    for _ in range(count):
        size = int.from_bytes(data[at : at + 2], "big")
        units.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return at


def _with_start_codes(data: bytes, length_size: int) -> bytes:
    parts: list[bytes] = []
    at = 0
    while at + length_size < len(data):
        size = int.from_bytes(data[at : at + length_size], "big")
        parts += (_START_CODE, data[at + length_size : at + length_size + size])
        at += length_size + size
    return b"".join(parts)


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(channels, f"{channels}c")


def picture_size(parameters: StreamParameters, payload: av.Packet[Any]) -> tuple[int, int]:
    """(width, height) of a key frame, by decoding it; (0, 0) when it cannot be decoded."""
    decoder = make_decoder(parameters)
    assert isinstance(decoder, VideoCodecContext)
    try:
        frames = [*decoder.decode(payload), *decoder.decode(None)]
    except av.error.FFmpegError:
        return 0, 0
    return (frames[0].width, frames[0].height) if frames else (0, 0)
