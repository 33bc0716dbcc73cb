#!/usr/bin/python3
"""An RTSP camera simulator that misbehaves on command.

Run it with Debian's own Python, which has ``gi``::

    camera_server.py --mount gate=clip:FILE --mount pattern=test:w=640,h=360,fps=10,gop=20,v=h264,a=pcmu
                     [--port N] [--user U --password P [--digest] [--protect NAME ...]] [--cert FILE --key FILE]

A ``clip`` is read once into access units, which are then pushed for ever with continuous time
stamps: the session never ends. One command a line on standard input, one JSON object a line out::

    stall NAME SEC       nothing is sent, the session stays; goes on at a key frame
    jump NAME SEC        time stamps jump (negative: back)
    mute NAME SEC        the sound stops, the picture goes on
    garbage NAME SEC     the picture's bytes are noise
    splice NAME FILE     at the next key frame play FILE once (same codecs), then go on with the clip
    drop                 disconnect every client
    add NAME SPEC | remove NAME | switch NAME SPEC (remove, add, drop) | quit
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

LOAD_TIMEOUT_S = 60
FALLBACK_UNIT_NS = 40 * Gst.MSECOND
KEPT_BY_GARBAGE = 6
"""Start code and unit header stay, so that the noise reaches the decoder."""


@dataclass(frozen=True)
class Codec:
    """How one kind of track is cut into access units and sent."""

    kind: str
    parser: str
    caps: str
    payloader: str
    payload_type: int


CODECS = {
    "video/x-h264": Codec(
        "video", "h264parse config-interval=-1", "video/x-h264,stream-format=byte-stream,alignment=au",
        "rtph264pay", 96,
    ),
    "video/x-h265": Codec(
        "video", "h265parse config-interval=-1", "video/x-h265,stream-format=byte-stream,alignment=au",
        "rtph265pay", 96,
    ),
    "image/jpeg": Codec("video", "jpegparse", "image/jpeg", "rtpjpegpay", 26),
    "audio/mpeg": Codec("audio", "aacparse", "audio/mpeg,mpegversion=4,stream-format=raw", "rtpmp4gpay", 97),
    "audio/x-mulaw": Codec("audio", "identity", "audio/x-mulaw", "rtppcmupay", 0),
    "audio/x-alaw": Codec("audio", "identity", "audio/x-alaw", "rtppcmapay", 8),
    "audio/x-opus": Codec("audio", "opusparse", "audio/x-opus", "rtpopuspay", 97),
}  # fmt: skip

TEST_VIDEO = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate=600 key-int-max={gop}"
    " ! rtph264pay config-interval=-1 pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max={gop}"
    ' option-string="pools=none:frame-threads=1" ! h265parse ! rtph265pay config-interval=-1 pt=96',
    "mjpeg": "jpegenc quality=60 ! rtpjpegpay pt=26",
}
TEST_AUDIO = {
    "aac": "avenc_aac bitrate=64000 ! aacparse ! rtpmp4gpay pt=97",
    "pcmu": "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay pt=0",
    "pcma": "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay pt=8",
    "opus": "audio/x-raw,rate=48000 ! opusenc ! rtpopuspay pt=97",
}


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Unit:
    """One access unit: times in nanoseconds since the start of its clip."""

    dts_ns: int
    pts_ns: int
    duration_ns: int
    kind: str
    is_key: bool
    data: bytes


@dataclass(frozen=True)
class Clip:
    """A recording as access units of at most one picture and one sound track, in order of ``dts_ns``."""

    units: tuple[Unit, ...]
    tracks: tuple[tuple[Codec, Gst.Caps], ...]
    duration_ns: int

    def launch(self) -> str:
        parts = [
            f"appsrc name={codec.kind} is-live=true format=time max-bytes=0 ! queue"
            f" ! {codec.payloader} name=pay{index} pt={codec.payload_type}"
            for index, (codec, _) in enumerate(self.tracks)
        ]
        return f"( {' '.join(parts)} )"


def load_clip(path: str) -> Clip:
    """Read a file's access units. Raises ValueError when GStreamer cannot."""
    pipeline = Gst.parse_launch(f'filesrc location="{path}" ! parsebin name=parsebin')
    sinks: dict[str, tuple[Codec, Gst.Element]] = {}

    def attach(_: Gst.Element, pad: Gst.Pad) -> None:
        name = (pad.get_current_caps() or pad.query_caps(None)).get_structure(0).get_name()
        codec = CODECS.get(name)
        if codec is None or codec.kind in sinks:
            branch = Gst.parse_bin_from_description("fakesink sync=false", True)
        else:
            # appsink keeps everything; with wait-on-eos it would wait for us to empty it first.
            branch = Gst.parse_bin_from_description(
                f"queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! {codec.parser}"
                f' ! capsfilter caps="{codec.caps}"'
                " ! appsink name=sink sync=false wait-on-eos=false max-buffers=0",
                True,
            )
            sinks[codec.kind] = (codec, branch.get_by_name("sink"))
        pipeline.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    pipeline.get_by_name("parsebin").connect("pad-added", attach)
    pipeline.set_state(Gst.State.PLAYING)
    wanted = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(LOAD_TIMEOUT_S * Gst.SECOND, wanted)
    try:
        if message is None or message.type == Gst.MessageType.ERROR or not sinks:
            raise ValueError(f"cannot read {path}: {message.parse_error()[0] if message else 'no end found'}")
        return _clip_of([(codec, *_units_of(codec.kind, sink)) for codec, sink in sinks.values()])
    finally:
        pipeline.set_state(Gst.State.NULL)


def _units_of(kind: str, sink: Gst.Element) -> tuple[Gst.Caps, list[Unit]]:
    units: list[Unit] = []
    caps = None
    while (sample := sink.emit("try-pull-sample", 0)) is not None:
        caps, buffer = sample.get_caps(), sample.get_buffer()
        dts_ns = buffer.dts if buffer.dts != Gst.CLOCK_TIME_NONE else buffer.pts
        pts_ns = buffer.pts if buffer.pts != Gst.CLOCK_TIME_NONE else dts_ns
        duration_ns = buffer.duration if buffer.duration != Gst.CLOCK_TIME_NONE else FALLBACK_UNIT_NS
        is_key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        units.append(Unit(dts_ns, pts_ns, duration_ns, kind, is_key, buffer.extract_dup(0, buffer.get_size())))
    return caps, units


def _clip_of(tracks: list[tuple[Codec, Gst.Caps, list[Unit]]]) -> Clip:
    tracks = sorted(tracks, key=lambda track: track[0].kind, reverse=True)
    first_ns = min(units[0].dts_ns for _, _, units in tracks)
    moved = [
        Unit(u.dts_ns - first_ns, u.pts_ns - first_ns, u.duration_ns, u.kind, u.is_key, u.data)
        for _, _, units in tracks
        for u in units
    ]
    return Clip(
        tuple(sorted(moved, key=lambda unit: unit.dts_ns)),
        tuple((codec, caps) for codec, caps, _ in tracks),
        max(unit.dts_ns + unit.duration_ns for unit in moved),
    )


@dataclass
class Camera:
    """What a mount has been told to do; read by its feeder, written by the command reader."""

    name: str
    clip: Clip | None = None
    stalled_until: float = 0.0
    muted_until: float = 0.0
    garbage_until: float = 0.0
    jump_ns: int = 0
    splices: list[tuple[str, Clip]] = field(default_factory=list)

    def schedule(self) -> Iterator[tuple[int, Unit]]:
        """(nanoseconds to add, unit), for ever: the clip round and round, with splices at key frames."""
        assert self.clip is not None
        has_video = any(unit.kind == "video" for unit in self.clip.units)
        base_ns = 0
        while True:
            for unit in self.clip.units:
                if self.splices and unit.is_key and (unit.kind == "video" or not has_video):
                    path, other = self.splices.pop(0)
                    say(
                        event="splice",
                        mount=self.name,
                        file=path,
                        unix_s=time.time(),
                        duration_s=other.duration_ns / 1e9,
                    )
                    for inserted in other.units:
                        yield base_ns + unit.dts_ns, inserted
                    base_ns += other.duration_ns
                    say(event="splice_end", mount=self.name, file=path, unix_s=time.time())
                yield base_ns, unit
            base_ns += self.clip.duration_ns


class Feeder(threading.Thread):
    """Pushes one camera's units into one media, each when it is due. One thread for all tracks."""

    def __init__(self, camera: Camera, media: GstRtspServer.RTSPMedia) -> None:
        super().__init__(daemon=True)
        self.camera = camera
        self.ended = threading.Event()
        self.noise = random.Random(0)
        self.needs_key = False
        element = media.get_element()
        assert camera.clip is not None
        self.sources = {codec.kind: element.get_by_name(codec.kind) for codec, _ in camera.clip.tracks}
        for codec, caps in camera.clip.tracks:
            self.sources[codec.kind].set_property("caps", caps)
        media.connect("unprepared", lambda _: self.ended.set())

    def run(self) -> None:
        started = time.monotonic()
        for base_ns, unit in self.camera.schedule():
            late_s = started + (base_ns + unit.dts_ns) / 1e9 - time.monotonic()
            if late_s > 0:
                self.ended.wait(late_s)
            if self.ended.is_set():
                return
            if self._withheld(unit, time.monotonic()):
                continue
            if self._push(base_ns + self.camera.jump_ns, unit) != Gst.FlowReturn.OK:
                return

    def _withheld(self, unit: Unit, now: float) -> bool:
        if now < self.camera.stalled_until:
            self.needs_key = True
            return True
        if unit.kind == "audio":
            return now < self.camera.muted_until
        if self.needs_key and not unit.is_key:
            return True
        self.needs_key = False
        return False

    def _push(self, base_ns: int, unit: Unit) -> Gst.FlowReturn:
        source = self.sources.get(unit.kind)
        if source is None:
            return Gst.FlowReturn.OK
        data = unit.data
        if unit.kind == "video" and time.monotonic() < self.camera.garbage_until:
            data = data[:KEPT_BY_GARBAGE] + self.noise.randbytes(max(0, len(data) - KEPT_BY_GARBAGE))
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.dts = max(0, base_ns + unit.dts_ns)
        buffer.pts = max(0, base_ns + unit.pts_ns)
        buffer.duration = unit.duration_ns
        if not unit.is_key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        return source.emit("push-buffer", buffer)


def test_launch(options: str) -> str:
    """The pipeline of a drawn camera, e.g. ``w=640,h=360,fps=10,gop=20,v=h264,a=pcmu,pattern=ball``."""
    given = dict(option.split("=", 1) for option in options.split(",") if option)
    parts: list[str] = []
    if given.get("v", "h264") != "none":
        encoder = TEST_VIDEO[given.get("v", "h264")].format(gop=given.get("gop", "20"))
        size = f"width={given.get('w', '640')},height={given.get('h', '360')},framerate={given.get('fps', '10')}/1"
        pattern = given.get("pattern", "smpte")
        # I420: without it the encoder takes 4:4:4, which no camera sends and which costs 40 % more.
        parts.append(
            f"videotestsrc is-live=true pattern={pattern} ! video/x-raw,format=I420,{size}"
            f" ! clockoverlay ! {encoder} name=pay0"
        )
    if given.get("a", "none") != "none":
        encoder = TEST_AUDIO[given["a"]]
        parts.append(
            f"audiotestsrc is-live=true wave=ticks ! audioconvert ! audioresample ! {encoder} name=pay{len(parts)}"
        )
    return f"( {' '.join(parts)} )"


class CameraServer:
    """The server, its mounts and the commands."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.cameras: dict[str, Camera] = {}
        self.clips: dict[str, Clip] = {}
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address("127.0.0.1")
        self.server.set_service(str(arguments.port))
        if arguments.user or arguments.cert:
            self.server.set_auth(self._auth())
        for mount in arguments.mount:
            self.add(*mount.split("=", 1))
        if not self.server.attach(None):
            raise SystemExit(f"port {arguments.port} is taken")

    def _auth(self) -> GstRtspServer.RTSPAuth:
        auth = GstRtspServer.RTSPAuth()
        if self.arguments.cert:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(self.arguments.cert, self.arguments.key))
        anonymous = GstRtspServer.RTSPToken()
        anonymous.set_string("media.factory.role", "anonymous")
        auth.set_default_token(anonymous)
        if self.arguments.user:
            token = GstRtspServer.RTSPToken()
            token.set_string("media.factory.role", "user")
            user, password = self.arguments.user, self.arguments.password
            if self.arguments.digest:
                auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
                auth.add_digest(user, password, token)
            else:
                auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        return auth

    def _permissions(self, name: str) -> GstRtspServer.RTSPPermissions:
        is_open = not self.arguments.user or bool(self.arguments.protect and name not in self.arguments.protect)
        permissions = GstRtspServer.RTSPPermissions()
        for role, may_construct in (("user", True), ("anonymous", is_open)):
            # Access without construct: the server answers 401; without access it would answer 404.
            permissions.add_permission_for_role(role, "media.factory.access", True)
            permissions.add_permission_for_role(role, "media.factory.construct", may_construct)
        return permissions

    def clip(self, path: str) -> Clip:
        if path not in self.clips:
            self.clips[path] = load_clip(path)
        return self.clips[path]

    def add(self, name: str, spec: str) -> None:
        kind, _, rest = spec.partition(":")
        camera = Camera(name)
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(True)
        if kind == "clip":
            camera.clip = self.clip(rest)
            factory.set_launch(camera.clip.launch())
            factory.connect("media-configure", lambda _, media: Feeder(camera, media).start())
        elif kind == "test":
            factory.set_launch(test_launch(rest))
        else:
            raise ValueError(f"want clip:FILE or test:OPTIONS, got {spec!r}")
        factory.set_permissions(self._permissions(name))
        self.cameras[name] = camera
        self.server.get_mount_points().add_factory(f"/{name}", factory)

    def remove(self, name: str) -> None:
        self.server.get_mount_points().remove_factory(f"/{name}")
        del self.cameras[name]

    def drop(self) -> None:
        self.server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)

    def obey(self, line: str) -> None:
        """Carry out one command. Raises ValueError, KeyError or GLib.Error when it cannot."""
        verb, name, rest = (*line.split(None, 2), "", "")[:3]
        match verb:
            case "stall":
                self.cameras[name].stalled_until = time.monotonic() + float(rest)
            case "mute":
                self.cameras[name].muted_until = time.monotonic() + float(rest)
            case "garbage":
                self.cameras[name].garbage_until = time.monotonic() + float(rest)
            case "jump":
                self.cameras[name].jump_ns += int(float(rest) * 1e9)
            case "splice":
                self.cameras[name].splices.append((rest, self.clip(rest)))
            case "drop":
                self.drop()
            case "remove":
                self.remove(name)
            case "add":
                self.add(name, rest)
            case "switch":
                self.remove(name)
                self.add(name, rest)
                self.drop()
            case "quit":
                os._exit(0)
            case _:
                raise ValueError(f"there is no command {verb!r}")

    def on_input(self, *_: object) -> bool:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # whoever started us is gone
        try:
            self.obey(line.strip())
        except (ValueError, KeyError, GLib.Error) as error:
            say(event="error", command=line.strip(), message=str(error))
        else:
            say(event="done", command=line.strip())
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any free one; it is printed")
    parser.add_argument("--mount", action="append", default=[], metavar="NAME=SPEC")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--protect", action="append", default=[], metavar="NAME", help="default: every mount")
    parser.add_argument("--cert", default="")
    parser.add_argument("--key", default="")
    Gst.init(None)
    server = CameraServer(parser.parse_args())
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, server.on_input)
    # Sessions of clients that vanished are only dropped when somebody asks.
    GLib.timeout_add_seconds(5, lambda: (server.server.get_session_pool().cleanup(), True)[1])
    say(event="ready", port=server.server.get_bound_port())
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
