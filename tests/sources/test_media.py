"""Files, loops, and the policies of live feeds, without a network."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from mmstream.config import FeedConfig
from mmstream.errors import Refused, SourceError, TimedOut, Unreachable, UnsupportedCodec, WrongPassword
from mmstream.sources.backlog import PATIENCE_S, Backlog
from mmstream.sources.backoff import Backoff
from mmstream.sources.connect import explain, options_of
from mmstream.sources.media import MediaSource
from mmstream.sources.packets import add_output_stream, make_decoder, packet_for_output
from mmstream.sources.probe import probe
from mmstream.stages import Source
from mmstream.types import Packet, SourceItem, Status, StreamParameters
from tests.rtsp.clips import make_clip


class FakeTime:
    """A clock that moves only when somebody waits on it; doubles as the source's stop event."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.is_stopped = False

    def now(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.is_stopped

    def is_set(self) -> bool:
        return self.is_stopped

    def set(self) -> None:
        self.is_stopped = True


def make_source(path: Path | str, **settings: object) -> MediaSource:
    return MediaSource(FeedConfig.model_validate({"id": "gate", "url": str(path), **settings}))


def make_packet(start_s: float, *, is_key: bool = False, kind: str = "video") -> Packet:
    stream = StreamParameters(kind=kind, codec="h264", time_base=(1, 90000))  # type: ignore[arg-type]
    return Packet(
        feed_id="gate", start_s=start_s, end_s=start_s + 0.1, is_key=is_key, size_bytes=9, stream=stream, payload=None
    )


def packets_of(items: list[SourceItem], kind: str) -> list[Packet]:
    return [item for item in items if isinstance(item, Packet) and item.kind == kind]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("media") / "clip.mp4", seconds=2.0)


def test_a_file_gives_every_packet_from_its_epoch_on_and_ends(clip: Path):
    source = MediaSource(FeedConfig(id="gate", url=str(clip)), epoch_s=5000.0)
    assert isinstance(source, Source)
    items = list(source)
    assert isinstance(items[0], Status)
    assert items[0].state == "live"
    assert isinstance(items[-1], Status)
    assert (items[-1].state, items[-1].code) == ("ended", "ended")
    videos = packets_of(items, "video")
    assert [round(packet.start_s - 5000.0, 3) for packet in videos] == [round(i / 10, 3) for i in range(20)]
    assert videos[0].is_key
    assert source.counters["packets_video"] == 20
    assert source.counters["packets_audio"] > 20
    assert source.clock == "file"
    assert not source.live


def test_a_file_waits_for_its_reader_and_drops_nothing(clip: Path):
    source = make_source(clip)
    assert len(packets_of(list(source), "video")) == 20
    assert source.counters["dropped_backlog"] == 0


def test_the_creation_tag_is_the_epoch_when_there_is_no_other(tmp_path: Path):
    path = tmp_path / "dated.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = "2024-05-06T07:08:09Z"
        stream = container.add_stream("mpeg4", rate=10, width=64, height=64)
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    assert packets_of(list(make_source(path)), "video")[0].start_s == 1714979289.0


def test_packets_decode_and_become_an_mp4_after_the_input_is_closed(clip: Path, tmp_path: Path):
    packets = [item for item in make_source(clip) if isinstance(item, Packet)]
    out = tmp_path / "out.mp4"
    with av.open(str(out), "w") as container:
        streams = {
            packet.stream.index: add_output_stream(container, packet.stream)
            for packet in (packets_of(packets, "video")[0], packets_of(packets, "audio")[0])  # type: ignore[arg-type]
        }
        begun: set[int] = set()
        for packet in packets:
            index = packet.stream.index
            container.mux(packet_for_output(packet, streams[index], is_first=index not in begun))
            begun.add(index)
    with av.open(str(out)) as container:
        assert len(list(container.decode(video=0))) == 20
        assert container.streams.audio[0].codec_context.sample_rate == 16_000
    decoder = make_decoder(packets_of(packets, "video")[0].stream)  # type: ignore[arg-type]
    frames = [f for packet in packets_of(packets, "video") for f in decoder.decode(packet.payload)]  # type: ignore[attr-defined, arg-type]
    assert len(frames) + len(decoder.decode(None)) == 20  # type: ignore[attr-defined]


def test_a_loop_goes_on_over_its_seam_in_real_time_like_a_camera(clip: Path):
    source = make_source(clip, loop=True)
    clock = FakeTime()
    source._now, source._stopping = clock.now, clock  # type: ignore[assignment]
    began_s = clock.now_s
    items: list[SourceItem] = []
    for item in source:
        items.append(item)
        if len(packets_of([item], "video")):
            assert item.end_s <= clock.now_s + 1e-6  # not before it has happened
        if len(packets_of(items, "video")) == 50:
            source.stop()
    videos, sounds = packets_of(items, "video"), packets_of(items, "audio")
    assert source.live
    assert began_s + 4.8 <= clock.now_s <= began_s + 5.5
    for packets in (videos, sounds):
        starts_s = [packet.start_s for packet in packets]
        ticks = [packet.payload.dts for packet in packets]
        assert starts_s == sorted(starts_s)
        assert ticks == sorted(set(ticks))
        assert len({id(packet.stream) for packet in packets}) == 1  # one decoder for all rounds


def test_a_loop_read_too_slowly_drops_to_a_key_frame_and_counts_it(clip: Path):
    source = make_source(clip, loop=True)
    clock = FakeTime()
    source._now, source._stopping = clock.now, clock  # type: ignore[assignment]
    videos: list[Packet] = []
    for item in source:
        videos += packets_of([item], "video")
        if len(videos) == 5:
            clock.now_s += 7.0
        if len(videos) == 6:
            source.stop()
    assert videos[5].is_key
    assert videos[5].start_s > videos[4].start_s + 4.0
    assert source.counters["dropped_backlog"] > 40


def test_stop_ends_a_waiting_loop_at_once(clip: Path):
    source = make_source(clip, loop=True)
    items: list[SourceItem] = []
    reader = threading.Thread(target=lambda: items.extend(source))
    reader.start()
    source.stop()
    reader.join(timeout=5)
    assert not reader.is_alive()


def test_nothing_comes_after_stop(clip: Path):
    source = make_source(clip)
    items = iter(source)
    next(items)
    source.stop()
    assert list(items) == []


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        pytest.param(lambda _: None, "not_found", "there is no file", id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), "damaged", "damaged, empty", id="empty"),
        pytest.param(lambda path: path.write_text("not a film " * 500), "damaged", "damaged", id="text"),
        pytest.param(lambda path: path.mkdir(), "not_found", "there is no file", id="folder"),
    ],
)
def test_a_file_that_cannot_be_played_fails_with_one_sentence(
    tmp_path: Path, make: Callable[[Path], object], code: str, words: str
):
    path = tmp_path / "film.mp4"
    make(path)
    (status,) = make_source(path)
    assert isinstance(status, Status)
    assert (status.state, status.code) == ("failed", code)
    assert words in status.sentence
    assert status.sentence.startswith("gate: ")


def test_a_cut_off_mp4_gives_what_it_has_and_then_says_so(clip: Path, tmp_path: Path):
    with (
        av.open(str(clip)) as given,
        av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    whole = (tmp_path / "fast.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    items = list(make_source(tmp_path / "cut.mp4"))
    assert isinstance(items[-1], Status)
    assert (items[-1].state, items[-1].code) == ("failed", "damaged")
    assert "cut off" in items[-1].sentence
    assert 0 < len(packets_of(items, "video")) < 20


def test_sound_that_cannot_be_decoded_is_said_and_the_picture_goes_on(clip: Path, monkeypatch: pytest.MonkeyPatch):
    def without_aac(parameters: StreamParameters) -> object:
        if parameters.codec == "aac":
            raise UnsupportedCodec("no decoder")
        return make_decoder(parameters)

    monkeypatch.setattr("mmstream.sources.tracks.make_decoder", without_aac)
    items = list(make_source(clip))
    assert isinstance(items[0], Status)
    assert (items[0].state, items[0].code) == ("live", "unsupported_codec")
    assert "sound (aac) cannot be decoded" in items[0].sentence
    assert len(packets_of(items, "video")) == 20
    assert packets_of(items, "audio") == []


def test_a_file_with_nothing_to_decode_is_unsupported(tmp_path: Path):
    path = tmp_path / "words.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    (status,) = make_source(path)
    assert isinstance(status, Status)
    assert (status.state, status.code) == ("failed", "unsupported_codec")


def test_a_cover_picture_is_not_a_camera(tmp_path: Path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
        cover.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        container.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        container.mux(cover.encode(None))
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, index * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    items = list(make_source(path))
    assert packets_of(items, "video") == []
    assert len(packets_of(items, "audio")) >= 20


def test_a_secret_that_is_not_set_is_named_and_waited_for():
    source = MediaSource(FeedConfig(id="gate", url="rtsp://u:${GATE_PASSWORD}@127.0.0.1/live"), environment={})
    items = iter(source)
    next(items)
    status = next(items)
    source.stop()
    assert isinstance(status, Status)
    assert status.state == "failed"
    assert "GATE_PASSWORD is not set" in status.sentence
    assert list(items) == []


def test_a_whole_url_from_the_environment_is_known_for_a_camera():
    feed = FeedConfig(id="gate", url="${GATE_URL}")
    assert MediaSource(feed, environment={"GATE_URL": "rtsp://10.0.0.7/live"}).live
    assert not MediaSource(feed, environment={"GATE_URL": "/film.mp4"}).live


def test_a_closed_port_is_refused_and_tried_again_soon():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    source = make_source(f"rtsp://guard:s3cr3t@127.0.0.1:{port}/live")
    items = iter(source)
    first, second = next(items), next(items)
    source.stop()
    assert isinstance(first, Status)
    assert first.state == "connecting"
    assert isinstance(second, Status)
    assert (second.state, second.code) == ("retrying", "refused")
    assert second.retry_in_s <= 1.0
    assert f"127.0.0.1:{port}" in second.sentence
    assert "s3cr3t" not in second.sentence


@pytest.mark.parametrize(
    ("error", "url", "waited_s", "wanted"),
    [
        (av.error.HTTPUnauthorizedError(1, "x rtsp://a:b@c/"), "rtsp://a:b@c/", 0.0, WrongPassword),
        (av.error.HTTPForbiddenError(1, "x"), "http://c/", 0.0, WrongPassword),
        (av.error.ExitError(1, "x"), "rtsp://c/", 5.0, TimedOut),
        (av.error.TimeoutError(110, "x"), "rtsp://c/", 5.0, TimedOut),
        (av.error.InvalidDataError(1, "x"), "rtsp://c/", 5.0, TimedOut),
        (av.error.OSError(113, "no route"), "rtsp://10.9.9.9/", 1.0, Unreachable),
        (av.error.OSError(5, "I/O"), "rtsps://127.0.0.1:322/", 0.1, Refused),
        (av.error.OSError(5, "I/O"), "rtsp://no-such-host.invalid/", 0.1, Unreachable),
        (av.error.DecoderNotFoundError(1, "x"), "rtsp://c/", 0.1, UnsupportedCodec),
    ],
)
def test_what_ffmpeg_says_becomes_a_sentence_of_the_right_kind(
    error: Exception, url: str, waited_s: float, wanted: type[SourceError]
):
    explained = explain(error, url, waited_s=waited_s, feed=FeedConfig(id="gate", url=url, read_timeout_s=5.0))
    assert type(explained) is wanted
    assert "a:b@" not in explained.sentence


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"url": "rtsp://c/"}, {"rtsp_transport": "tcp", "probesize": "32"}),
        (
            {"url": "rtsp://c/", "transport": "udp", "audio": False},
            {"rtsp_transport": "udp", "probesize": "32", "allowed_media_types": "video"},
        ),
        (
            {"url": "rtsps://c/", "tls_ca_file": "/ca.pem"},
            {"rtsp_transport": "tcp", "probesize": "32", "tls_verify": "1", "ca_file": "/ca.pem"},
        ),
        ({"url": "http://c/live.ts"}, {}),
    ],
)
def test_options_follow_from_the_settings(settings: Mapping[str, object], wanted: dict[str, str]):
    feed = FeedConfig.model_validate({"id": "gate", **settings})
    assert options_of(feed.url.partition("://")[0], feed) == wanted


def test_backoff_doubles_to_a_minute_waits_long_for_a_person_and_forgets_after_a_good_minute():
    backoff = Backoff(random.Random(0))
    waits_s = [backoff.next_s(lived_s=0.0) for _ in range(10)]
    assert all(0.75 * 2**i <= wait_s <= 2**i for i, wait_s in enumerate(waits_s[:6]))
    assert all(45 <= wait_s <= 60 for wait_s in waits_s[6:])
    assert 225 <= backoff.next_s(lived_s=0.0, needs_person=True) <= 300
    assert backoff.next_s(lived_s=59.0) > 1
    assert backoff.next_s(lived_s=60.0) <= 1


def test_pictures_before_the_first_key_frame_are_left_out_and_sound_is_not():
    backlog = Backlog()
    assert not backlog.lets_through(make_packet(0.0), 0.1)
    assert not backlog.is_behind
    assert backlog.lets_through(make_packet(0.0, kind="audio", is_key=True), 0.1)
    assert backlog.lets_through(make_packet(0.1, is_key=True), 0.2)
    assert backlog.lets_through(make_packet(0.2), 0.3)


def test_a_camera_that_never_sends_a_key_frame_is_passed_on_in_the_end():
    backlog = Backlog()
    passed = [at for at in range(30) if backlog.lets_through(make_packet(float(at)), at + 0.1)]
    assert passed[0] == pytest.approx(PATIENCE_S + 1)


def test_after_a_pulled_cable_the_newest_key_frame_is_the_first_to_pass():
    backlog = Backlog()
    assert backlog.lets_through(make_packet(0.0, is_key=True), 0.1)
    burst = [make_packet(float(at), is_key=at % 2 == 0) for at in range(1, 10)]
    passed = [packet for packet in burst if backlog.lets_through(packet, 10.0)]
    assert [packet.start_s for packet in passed] == [8.0, 9.0]


def test_probe_of_a_file_tells_its_tracks_and_shows_its_first_picture(clip: Path):
    report = probe(FeedConfig(id="gate", url=str(clip)))
    value = report.to_json()
    assert value["video"]["fps"] == 10
    assert value["video"]["key_frame_every_s"] == 1.0
    assert value["audio"] == {"codec": "aac", "sample_rate_hz": 16000, "channels": 1}
    assert value["clock"] == {"source": "file", "error_s": 0.0, "skew_s": None}
    assert report.first_picture is not None
    assert report.first_picture.shape == (192, 320, 3)


def test_probe_of_nothing_is_an_error_with_a_code(tmp_path: Path):
    assert probe(FeedConfig(id="gate", url=str(tmp_path / "none.mp4"))).to_json()["error"]["code"] == "not_found"


@pytest.mark.footage
@pytest.mark.parametrize(
    ("name", "kinds", "first_s"),
    [
        ("clips/motorway.avi", {"video"}, 0.04),
        ("clips/delayed_start.mp4", {"video"}, 1.075),
        ("clips/nasa_13013.mp4", {"video", "audio", "text"}, 0.0),
        ("clips/fall_with_sound.avi", {"video", "audio"}, 0.0),
    ],
)
def test_real_files_give_the_best_of_each_kind_and_decode(footage: Path, name: str, kinds: set[str], first_s: float):
    items = list(MediaSource(FeedConfig(id="gate", url=str(footage / name)), epoch_s=0.0))
    assert isinstance(items[-1], Status)
    assert items[-1].state == "ended"
    packets = [item for item in items if isinstance(item, Packet)]
    assert {packet.kind for packet in packets} == kinds
    assert len({packet.stream.index for packet in packets}) == len(kinds)
    videos = [packet for packet in packets if packet.kind == "video"]
    assert min(packet.start_s for packet in videos) == pytest.approx(first_s, abs=1e-3)
    decoder = make_decoder(videos[0].stream)
    num_frames = sum(len(decoder.decode(packet.payload)) for packet in videos)  # type: ignore[attr-defined]
    assert num_frames >= 0.95 * len(videos) - 3


@pytest.mark.footage
@pytest.mark.parametrize(
    "name", ["emptyfile.mp3", "invalid_userdata.mp4", "pocketsphinx_bad.wav", "truncated-64bit.mp4"]
)
def test_real_damaged_files_end_in_a_clear_sentence(footage: Path, name: str):
    items = list(make_source(footage / "bad" / name))
    assert isinstance(items[-1], Status)
    assert (items[-1].state, items[-1].code) == ("failed", "damaged")
