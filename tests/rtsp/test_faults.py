"""Real cameras, and everything that goes wrong with one, against `MediaSource`."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from mmstream.config import FeedConfig
from mmstream.sources.media import MediaSource
from mmstream.sources.packets import make_decoder
from mmstream.sources.probe import probe
from mmstream.types import Packet, SourceItem, Status
from tests.rtsp.clips import make_clip
from tests.rtsp.server import CameraServer, is_available

pytestmark = [
    pytest.mark.rtsp,
    pytest.mark.skipif(not is_available(), reason="needs Debian's python3-gi and gir1.2-gst-rtsp-server-1.0"),
]

CLIPS = {
    "h264-aac": ("libx264", "aac", "mp4"),
    "h265-opus": ("libx265", "libopus", "mkv"),
    "mjpeg-pcma": ("mjpeg", "pcm_alaw", "mov"),
    "sound": ("", "pcm_mulaw", "mov"),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        name: make_clip(folder / f"{name}.{suffix}", video=video, audio=audio)
        for name, (video, audio, suffix) in CLIPS.items()
    }


@pytest.fixture(scope="module")
def cameras(clips: dict[str, Path]) -> Iterator[CameraServer]:
    """One server for the tests that leave it as it was."""
    with CameraServer({name: f"clip:{path}" for name, path in clips.items()}) as server:
        yield server


@pytest.fixture
def camera(clips: dict[str, Path]) -> Iterator[CameraServer]:
    """A server of one's own, to be maltreated."""
    with CameraServer({"gate": f"clip:{clips['h264-aac']}"}) as server:
        yield server


class Watched:
    """A source read in a thread of its own, as a shard would; always stopped and waited for."""

    def __init__(self, url: str, **settings: Any) -> None:
        settings = {"open_timeout_s": 2.0, "read_timeout_s": 1.0, **settings}
        self.source = MediaSource(FeedConfig(id="gate", url=url, **settings))
        self.items: queue.Queue[SourceItem] = queue.Queue()
        self.thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        for item in self.source:
            self.items.put(item)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive(), "the reading thread did not end"

    def until(self, wanted: Callable[[SourceItem], bool], *, timeout_s: float = 20.0) -> list[SourceItem]:
        """All items up to the first that is wanted, which comes last."""
        items: list[SourceItem] = []
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                items.append(self.items.get(timeout=max(0.01, deadline - time.monotonic())))
            except queue.Empty:
                statuses = [item for item in items if isinstance(item, Status)]
                pytest.fail(f"not seen in {timeout_s} s; {len(items)} items, {statuses}")
            if wanted(items[-1]):
                return items

    def status(self, state: str, **until: Any) -> Status:
        found = self.until(lambda item: isinstance(item, Status) and item.state == state, **until)[-1]
        assert isinstance(found, Status)
        return found

    def packets(self, count: int, kind: str = "video") -> list[Packet]:
        """All packets up to the ``count``-th of ``kind``."""
        left = count

        def is_last(item: SourceItem) -> bool:
            nonlocal left
            left -= isinstance(item, Packet) and item.kind == kind
            return left == 0

        return [item for item in self.until(is_last) if isinstance(item, Packet)]


def decoded(packets: list[Packet]) -> list[Any]:
    decoder: Any = make_decoder(packets[0].stream)
    return [frame for packet in packets for frame in decoder.decode(packet.payload)] + decoder.decode(None)


@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        pytest.param("h264-aac", "h264", "aac", id="H.264 and AAC"),
        pytest.param("h265-opus", "hevc", "opus", id="H.265 and Opus"),
        pytest.param("mjpeg-pcma", "mjpeg", "pcm_alaw", id="MJPEG and G.711"),
        pytest.param("sound", "", "pcm_mulaw", id="sound alone"),
    ],
)
def test_picture_and_sound_arrive_and_decode_after_the_connection_is_closed(
    cameras: CameraServer, name: str, video: str, audio: str
) -> None:
    with Watched(cameras.url(name)) as watched:
        packets = watched.packets(15, kind="video" if video else "audio")
    pictures = [packet for packet in packets if packet.kind == "video"]
    sounds = [packet for packet in packets if packet.kind == "audio"]
    assert {packet.stream.codec for packet in pictures} == ({video} if video else set())
    assert {packet.stream.codec for packet in sounds} == {audio}
    if video:
        assert pictures[0].is_key
        assert {(packet.stream.width_px, packet.stream.height_px) for packet in pictures} == {(320, 192)}
        frames = decoded(pictures)
        assert len(frames) >= 14
        assert frames[-1].to_ndarray(format="gray").max() > 150  # the bar is in the picture
    heard = np.concatenate([frame.to_ndarray().ravel() for frame in decoded(sounds)])
    assert np.abs(heard.astype(np.float64)).max() > 0
    for kind in (pictures, sounds):
        starts_s = [packet.start_s for packet in kind]
        assert starts_s == sorted(starts_s)


def test_the_sender_report_becomes_the_clock_and_time_does_not_step(cameras: CameraServer) -> None:
    with Watched(cameras.url("h264-aac")) as watched:
        packets = watched.packets(60)
        assert watched.source.clock == "sender report"
        assert watched.source.clock_error_s is not None
        assert watched.source.clock_error_s < 0.05
        assert watched.source.clock_skew_s is not None
        assert abs(watched.source.clock_skew_s) < 0.25
        now_s = time.time()
    starts_s = [packet.start_s for packet in packets if packet.kind == "video"]
    gaps_s = np.diff(starts_s)
    assert gaps_s[5:].min() > 0.06
    assert gaps_s[5:].max() < 0.14  # 10 pictures a second, before, at and after the report
    assert 0 < now_s - starts_s[-1] < 1.0


@pytest.mark.parametrize("digest", [False, True], ids=["basic", "digest"])
def test_a_wrong_password_is_said_without_saying_it_and_not_tried_again_soon(
    clips: dict[str, Path], digest: bool
) -> None:
    options = ["--protect", "locked"] + (["--digest"] if digest else [])
    mounts = {"locked": f"clip:{clips['h264-aac']}", "open": f"clip:{clips['h264-aac']}"}
    with CameraServer(mounts, user="guard", password="p@ss word", options=options) as server:
        with Watched(server.url("locked", credentials="guard:s3cr3t-wrong")) as watched:
            status = watched.status("failed")
        assert status.code == "wrong_password"
        assert "s3cr3t" not in repr(status)
        assert status.sentence.startswith("gate: the camera refused the password; check user name and password")
        assert status.retry_in_s > 200
        with Watched(server.url("locked")) as watched:
            assert watched.status("failed").code == "wrong_password"
        with Watched(server.url("locked", credentials="guard:p%40ss%20word")) as watched:
            watched.status("live")
        with Watched(server.url("open")) as watched:
            watched.status("live")


def test_a_wrong_path_is_a_matter_for_a_person(cameras: CameraServer) -> None:
    with Watched(cameras.url("nowhere")) as watched:
        status = watched.status("failed")
    assert status.code == "not_found"
    assert "/nowhere" in status.sentence


def test_a_camera_that_restarts_comes_back_by_itself(camera: CameraServer) -> None:
    with Watched(camera.url("gate")) as watched:
        before = watched.packets(5)[0]
        camera.kill()
        assert watched.status("retrying").code == "ended"
        assert watched.status("retrying").code == "refused"
        camera.start()
        watched.status("live")
        after = watched.packets(5)[0]
        assert watched.source.counters["reconnects"] >= 2
    assert after.stream.epoch > before.stream.epoch
    assert after.start_s > before.start_s


def test_a_dropped_session_is_taken_up_again(camera: CameraServer) -> None:
    with Watched(camera.url("gate")) as watched:
        watched.packets(3)
        camera.command("drop")
        assert watched.status("retrying").code == "ended"
        watched.status("live")


def test_another_codec_after_a_switch_is_read_anew(camera: CameraServer, clips: dict[str, Path]) -> None:
    with Watched(camera.url("gate")) as watched:
        assert watched.packets(3)[-1].stream.codec == "h264"
        camera.command(f"switch gate clip:{clips['h265-opus']}")
        watched.status("live")
        packets = watched.packets(3)
    assert {packet.stream.codec for packet in packets if packet.kind == "video"} == {"hevc"}


def test_a_frozen_camera_is_noticed_within_two_read_timeouts_and_a_frozen_greeting_is_no_damage(
    camera: CameraServer,
) -> None:
    with Watched(camera.url("gate")) as watched:
        watched.packets(3)
        camera.freeze()
        frozen_s = time.monotonic()
        assert watched.status("retrying").code == "timeout"
        assert time.monotonic() - frozen_s < 2 * 1.0 + 1.5
        assert watched.status("retrying").code == "timeout"  # FFmpeg calls this one "invalid data"
        camera.thaw()
        watched.status("live")


def test_stop_while_frozen_returns_at_once_and_the_thread_ends_in_bounded_time(camera: CameraServer) -> None:
    with Watched(camera.url("gate")) as watched:
        watched.packets(3)
        camera.freeze()
        while not watched.items.empty():
            watched.items.get()
        began_s = time.monotonic()
        watched.source.stop()
        assert time.monotonic() - began_s < 0.1
        watched.thread.join(timeout=2 * 1.0 + 1.5)
        assert not watched.thread.is_alive()
        assert watched.items.qsize() <= 1  # the one that was on its way
        camera.thaw()


def test_a_stalled_stream_goes_on_in_the_same_connection(camera: CameraServer) -> None:
    with Watched(camera.url("gate"), read_timeout_s=5.0) as watched:
        before = watched.packets(5)[-1]
        camera.command("stall gate 1.5")
        videos = [before, *(packet for packet in watched.packets(5) if packet.kind == "video")]
    assert {packet.stream.epoch for packet in videos} == {before.stream.epoch}
    assert max(np.diff([packet.start_s for packet in videos])) > 1.0  # the gap is seen as a gap


def test_the_backlog_after_a_pulled_cable_is_dropped_to_a_key_frame_and_counted(camera: CameraServer) -> None:
    with Watched(camera.url("gate"), read_timeout_s=8.0) as watched:
        before = watched.packets(25)[-1]  # past the first sender report
        camera.freeze()
        watched.thread.join(timeout=4.0)  # nothing to wait for: it is the length of the fault
        camera.thaw()
        videos = [packet for packet in watched.packets(12) if packet.kind == "video"]
        assert watched.source.counters["dropped_backlog"] > 5
        assert watched.source.counters["reconnects"] == 0
    late = [packet for packet in videos if packet.start_s > before.start_s + 1.0]
    assert late[0].is_key
    assert {packet.stream.epoch for packet in videos} == {before.stream.epoch}


def test_sound_that_stops_leaves_the_picture_alone(camera: CameraServer) -> None:
    with Watched(camera.url("gate")) as watched:
        watched.packets(5)
        camera.command("mute gate 30")
        watched.packets(5)
        packets = watched.packets(15)
    assert {packet.kind for packet in packets} == {"video"}


def test_garbage_reaches_the_decoder_as_packets_and_good_pictures_follow(camera: CameraServer) -> None:
    with Watched(camera.url("gate")) as watched:
        watched.packets(5)
        camera.command("garbage gate 1")
        watched.packets(12)
        after = [packet for packet in watched.packets(18) if packet.kind == "video"]
    keys = [index for index, packet in enumerate(after) if packet.is_key]
    assert len(decoded(after[keys[0] :])) >= 5


def test_time_stamps_that_step_back_begin_a_new_epoch_and_time_goes_on(camera: CameraServer) -> None:
    with Watched(camera.url("gate")) as watched:
        packets = watched.packets(25)
        camera.command("jump gate -1")
        packets += watched.packets(25)
    videos = [packet for packet in packets if packet.kind == "video"]
    starts_s = [packet.start_s for packet in videos]
    assert starts_s == sorted(starts_s)
    assert len({packet.stream.epoch for packet in videos}) == 2


def test_a_splice_plays_once_without_a_break(camera: CameraServer, tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other.mp4", seconds=2.0, tone_hz=2000.0)
    with Watched(camera.url("gate")) as watched:
        watched.packets(5)
        camera.command(f"splice gate {other}")
        begun = camera.wait_for("splice")
        videos = [packet for packet in watched.packets(45) if packet.kind == "video"]
        camera.wait_for("splice_end")
    assert begun["mount"] == "gate"
    assert abs(begun["unix_s"] - time.time()) < 20
    starts_s = np.array([packet.start_s for packet in videos])
    assert np.diff(starts_s)[3:].max() < 0.2
    assert len({packet.stream.epoch for packet in videos}) == 1


def test_tls_is_taken_without_a_check_unless_an_authority_is_named(clips: dict[str, Path], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path / "camera")
    stranger, _ = make_certificate(tmp_path / "stranger")
    options = ["--cert", str(certificate), "--key", str(key)]
    with CameraServer({"gate": f"clip:{clips['h264-aac']}"}, options=options) as server:
        url = server.url("gate", scheme="rtsps")
        with Watched(url) as watched:
            watched.status("live")
        with Watched(url, tls_ca_file=str(certificate)) as watched:
            watched.status("live")
        with Watched(url, tls_ca_file=str(stranger)) as watched:
            status = watched.status("retrying")
            assert status.code == "refused"
            assert "certificate" in status.sentence
        with Watched(server.url("gate", scheme="rtsp")) as watched:
            assert "rtsps://" in watched.status("retrying").sentence


def make_certificate(stem: Path) -> tuple[Path, Path]:
    certificate, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*words.split(), *names], check=True, capture_output=True)
    return certificate, key


def test_sound_that_is_not_wanted_is_not_even_asked_for(cameras: CameraServer) -> None:
    with Watched(cameras.url("h264-aac"), audio=False) as watched:
        assert {packet.kind for packet in watched.packets(10)} == {"video"}


def test_udp_works_too(cameras: CameraServer) -> None:
    with Watched(cameras.url("h264-aac"), transport="udp") as watched:
        assert {packet.kind for packet in watched.packets(10)} == {"video", "audio"}


def test_probe_tells_what_a_camera_sends_and_shows_a_picture(cameras: CameraServer) -> None:
    report = probe(FeedConfig(id="gate", url=cameras.url("h264-aac")), seconds=3.0)
    assert report.video is not None
    assert report.audio == {"codec": "aac", "sample_rate_hz": 16000, "channels": 1}
    assert report.video["codec"] == "h264"
    assert (report.video["width"], report.video["height"]) == (320, 192)
    assert report.video["fps"] == pytest.approx(10, abs=0.7)
    assert report.clock is not None
    assert report.clock["source"] in ("sender report", "arrival")
    assert report.first_picture is not None
    assert report.first_picture.shape == (192, 320, 3)
    assert report.first_frame_s is not None
    assert report.first_frame_s < 3


def test_probe_of_a_wrong_password_is_one_sentence(clips: dict[str, Path]) -> None:
    with CameraServer({"gate": f"clip:{clips['h264-aac']}"}, user="u", password="p") as server:
        report = probe(FeedConfig(id="gate", url=server.url("gate", credentials="u:wrong-one")))
    assert report.to_json()["error"]["code"] == "wrong_password"
    assert "wrong-one" not in str(report.to_json())
