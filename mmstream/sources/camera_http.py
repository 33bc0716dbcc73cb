"""Rendered cameras, live: every scene as an endless MPEG-TS over HTTP on this machine.

``python -m mmstream.sources.camera_http --port 0 --seed 1 --script demo`` prints one JSON line
``{"port": ..., "urls": {name: url}}`` when it is ready and ends when its stdin closes or on SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av

from mmstream.sources.synthetic import SCENES, SCRIPTS, SceneEncoder, Script, make_scene
from mmstream.sources.synthetic.events import SCRIPT_PAGE_S
from mmstream.sources.synthetic.scene import RenderedScene

TS_PACKET_BYTES = 188
MAX_QUEUED_CHUNKS = 300
"""Per client: about 30 s of a stream (one chunk per frame). A client that is further behind is cut off."""
MAX_BEHIND_S = 2.0
"""A machine too slow to render in real time lets the cameras' clocks fall behind rather than skip."""
SEND_TIMEOUT_S = 10.0
_LIVE_STREAM = 1_000_003
"""Mixed into the seed, so that live traffic is another stretch of the street than a clip of the same seed."""


class Client:
    """What one listener has still to be sent. Full: it is too slow, and is cut off."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[bytes | None] = queue.Queue(MAX_QUEUED_CHUNKS)
        self.waits_for_key = True
        self.is_cut_off = False

    def put(self, chunk: bytes) -> None:
        try:
            self._chunks.put_nowait(chunk)
        except queue.Full:
            self.cut_off()

    def cut_off(self) -> None:
        """End its stream: what is queued is thrown away to make room for the end mark."""
        self.is_cut_off = True
        while True:
            try:
                self._chunks.put_nowait(None)
                return
            except queue.Full:
                self._chunks.get_nowait()

    def get(self) -> bytes | None:
        """The next chunk, waiting for it; None at the end."""
        return self._chunks.get()


class TransportStream:
    """The file object that FFmpeg's MPEG-TS muxer writes to; hands whole packets on to the clients.

    Listeners start at a key frame: the packet with the random access flag, after the latest tables.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: list[Client] = []
        self._rest = b""
        self._tables: dict[int, bytes] = {}
        self._map_pid = -1
        self.num_cut_off = 0

    def write(self, written: bytes) -> int:
        whole = self._rest + bytes(written)
        end = len(whole) - len(whole) % TS_PACKET_BYTES
        self._rest = whole[end:]
        key_at = self._scan(whole[:end])
        with self._lock:
            for client in self._clients:
                self._hand_on(client, whole[:end], key_at)
            self.num_cut_off += sum(client.is_cut_off for client in self._clients)
            self._clients = [client for client in self._clients if not client.is_cut_off]
        return len(written)

    def _scan(self, packets: bytes) -> int | None:
        """Remember the tables; say where the first key frame starts, if one does."""
        key_at = None
        for at in range(0, len(packets), TS_PACKET_BYTES):
            packet = packets[at : at + TS_PACKET_BYTES]
            pid = (packet[1] & 0x1F) << 8 | packet[2]
            if pid == 0 and packet[1] & 0x40:
                self._tables[0] = packet
                # ISO/IEC 13818-1: the first program's map follows 5 + 8 + 2 bytes into the table's packet
                self._map_pid = (packet[15] & 0x1F) << 8 | packet[16]
            elif pid == self._map_pid:
                self._tables[1] = packet
            # the muxer sets the flag on audio too where there is no video; here video is the first stream
            has_flags = packet[3] & 0x20 and packet[4] > 0
            if pid == FIRST_STREAM_PID and packet[1] & 0x40 and has_flags and packet[5] & 0x40 and key_at is None:
                key_at = at
        return key_at

    def _hand_on(self, client: Client, packets: bytes, key_at: int | None) -> None:
        if not client.waits_for_key:
            client.put(packets)
        elif key_at is not None:
            client.waits_for_key = False
            client.put(self._tables.get(0, b"") + self._tables.get(1, b"") + packets[key_at:])

    def join(self) -> Client:
        client = Client()
        with self._lock:
            self._clients.append(client)
        return client

    def leave(self, client: Client) -> None:
        with self._lock:
            self._clients = [other for other in self._clients if other is not client]

    def end(self) -> None:
        with self._lock:
            for client in self._clients:
                client.cut_off()
            self._clients = []


FIRST_STREAM_PID = 0x100
"""FFmpeg's default ``mpegts_start_pid``."""


class LiveCamera:
    """One scene, rendered at its own pace from its first listener on, whoever listens after that.

    Its script counts from there too: nothing happens before somebody can see it.
    """

    def __init__(self, name: str, *, seed: int, script: Script, clock: Callable[[], float]) -> None:
        self.name, self.stream = name, TransportStream()
        self.num_late_s = 0.0
        self._script, self._scripted_until_s = script, 0.0
        self._seed, self._clock = seed + _LIVE_STREAM, clock
        self._awaited = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> Client:
        """A new listener."""
        self._awaited.set()
        return self.stream.join()

    def stop(self) -> None:
        self._stopping.set()
        self._awaited.set()
        self._thread.join()

    def _run(self) -> None:
        self._awaited.wait()
        scene = make_scene(self.name, seed=self._seed, start_clock_s=self._clock())
        options = {"flush_packets": "1", "pat_period": "0.5"}
        with av.open(self.stream, "w", format="mpegts", container_options=options) as container:
            encoder = SceneEncoder(container, scene)
            started_s = time.monotonic()
            while not self._stopping.wait(max(0.0, started_s + encoder.at_s - time.monotonic())):
                self._read_script(scene, encoder.at_s)
                encoder.advance()
                behind_s = time.monotonic() - started_s - encoder.at_s
                if behind_s > MAX_BEHIND_S:
                    started_s += behind_s
                    self.num_late_s += behind_s
        self.stream.end()

    def _read_script(self, scene: RenderedScene, at_s: float) -> None:
        # events must be known a second ahead, because sound is made a second at a time
        while self._scripted_until_s < at_s + SCRIPT_PAGE_S:
            scene.schedule(self._script(self.name, self._scripted_until_s))
            self._scripted_until_s += SCRIPT_PAGE_S


class CameraServer:
    """Serves ``GET /<scene>.ts`` on 127.0.0.1 for every scene, to any number of clients each.

    Threads: one per scene, one per client, one that accepts. Memory per client: at most
    ``MAX_QUEUED_CHUNKS`` frames, a few MB.
    """

    def __init__(
        self,
        scenes: Sequence[str] = tuple(SCENES),
        *,
        port: int = 0,
        seed: int,
        script: Script,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``port`` 0 takes a free one. ``clock`` is what the burnt-in clocks show at the start.

        Raises:
            ConfigError: there is no scene of that name.
            OSError: the port is taken.
        """
        self.cameras = {name: LiveCamera(name, seed=seed, script=script, clock=clock) for name in scenes}
        self._http = _Listener(("127.0.0.1", port), {f"/{name}.ts": camera for name, camera in self.cameras.items()})
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="camera-http", daemon=True)

    def start(self) -> None:
        for camera in self.cameras.values():
            camera.start()
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}.ts"

    def stop(self) -> None:
        """Ends every stream; no thread is left."""
        self._http.shutdown()
        self._thread.join()
        for camera in self.cameras.values():
            camera.stop()
        self._http.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], cameras: Mapping[str, LiveCamera]) -> None:
        super().__init__(address, _Handler)
        self.cameras = cameras

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of ours; anything else is shown as usual."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    timeout = SEND_TIMEOUT_S

    def do_GET(self) -> None:
        camera = self.server.cameras.get(self.path)
        if camera is None:
            self.send_error(404, f"there is no such camera; want one of {', '.join(self.server.cameras)}")
            return
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.send_header("Connection", "close")
        self.end_headers()
        client = camera.join()
        try:
            while (chunk := client.get()) is not None:
                self.wfile.write(chunk)
        finally:
            camera.stream.leave(client)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads an access log of rendered cameras."""


def _set_at_end_of_input(ending: threading.Event) -> None:
    # not sys.stdin: a thread that waits inside it holds a lock that Python wants when it ends
    while os.read(0, 4096):
        continue
    ending.set()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="mmstream.sources.camera_http", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--script", choices=sorted(SCRIPTS), default="demo")
    parser.add_argument("--scenes", default=",".join(SCENES), help="comma-separated names")
    chosen = parser.parse_args(arguments)
    server = CameraServer(chosen.scenes.split(","), port=chosen.port, seed=chosen.seed, script=SCRIPTS[chosen.script])
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    signal.signal(signal.SIGINT, lambda *_: ending.set())
    threading.Thread(target=_set_at_end_of_input, args=(ending,), daemon=True).start()
    server.start()
    urls = {name: server.url(name) for name in server.cameras}
    sys.stdout.write(json.dumps({"port": server.port, "urls": urls}) + "\n")
    sys.stdout.flush()
    ending.wait()
    server.stop()


if __name__ == "__main__":
    main()
