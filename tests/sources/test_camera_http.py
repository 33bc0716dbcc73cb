"""The live cameras over HTTP, read with the same library that mmstream reads cameras with."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import av
import pytest

from mmstream.sources import camera_http
from mmstream.sources.camera_http import CameraServer, TransportStream
from mmstream.sources.synthetic import quiet_script

OPTIONS = {"probesize": "200000", "analyzeduration": "1000000"}


def read_some(url: str, until_s: float) -> tuple[set[str], list[float], bool]:
    """-> (codecs of the packets, video times, whether the first video packet was a key frame)."""
    codecs: set[str] = set()
    times_s: list[float] = []
    first_is_key = False
    with av.open(url, timeout=(10, 5), options=OPTIONS) as container:
        for packet in container.demux():
            if packet.dts is None:
                continue
            codecs.add(packet.stream.codec_context.name)
            if packet.stream.type == "video":
                first_is_key = first_is_key if times_s else packet.is_keyframe
                times_s.append(float(packet.pts * packet.time_base))
                if times_s[-1] - times_s[0] >= until_s:
                    break
    return codecs, times_s, first_is_key


def test_two_clients_join_one_stream_at_key_frames_and_stopping_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    server = CameraServer(["dock", "yard"], seed=1, script=quiet_script)
    server.start()
    try:
        results: dict[str, tuple[set[str], list[float], bool]] = {}

        def read(key: str, name: str) -> None:
            results[key] = read_some(server.url(name), 1.5)

        readers = [threading.Thread(target=read, args=pair) for pair in (("a", "dock"), ("b", "dock"), ("c", "yard"))]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(30)
        assert set(results) == {"a", "b", "c"}
        for codecs, times_s, first_is_key in results.values():
            assert codecs == {"h264", "aac"}
            assert first_is_key
            gaps = [b - a for a, b in itertools.pairwise(times_s)]
            assert gaps == pytest.approx([0.1] * len(gaps), abs=1e-3)
        with pytest.raises(urllib.error.HTTPError, match="404") as refusal:
            urllib.request.urlopen(server.url("harbour"), timeout=5)
        refusal.value.close()
    finally:
        server.stop()
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


def test_stopping_ends_a_listener_that_does_not_read() -> None:
    server = CameraServer(["walkway"], seed=1, script=quiet_script)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        idle.sendall(b"GET /walkway.ts HTTP/1.1\r\nHost: camera\r\n\r\n")
        assert idle.recv(15).startswith(b"HTTP/1.0 200")
        started_s = time.monotonic()
        server.stop()
        assert time.monotonic() - started_s < camera_http.SEND_TIMEOUT_S


def test_a_client_that_is_too_slow_is_cut_off_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_http, "MAX_QUEUED_CHUNKS", 3)
    stream = TransportStream()
    slow, quick = stream.join(), stream.join()
    key = bytes([0x47, 0x41, 0x00, 0x30, 7, 0x40]) + bytes(182)
    later = bytes([0x47, 0x01, 0x00, 0x10]) + bytes(184)
    for packet in (later, key, *[later] * 5):
        stream.write(packet)
        if packet is key or stream.num_cut_off == 0:
            received = quick.get() if not quick.waits_for_key else None
    assert received is not None
    assert slow.is_cut_off
    assert not quick.is_cut_off
    assert stream.num_cut_off == 1


@pytest.mark.parametrize("how", ["stdin closes", "SIGTERM"])
def test_the_program_says_where_it_is_and_ends_when_asked(how: str) -> None:
    command = [sys.executable, "-m", "mmstream.sources.camera_http", "--scenes", "yard", "--script", "demo"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"LANG": "C"})
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], 30)
        assert ready
        said = json.loads(process.stdout.readline())
        assert said["urls"] == {"yard": f"http://127.0.0.1:{said['port']}/yard.ts"}
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
