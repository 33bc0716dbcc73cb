"""From packets to pictures, sound and words: everything is decoded, little of it is looked at.

All packets given are decoded, for each picture is built on the one before; but scaling and reading
motion vectors cost as much as decoding, so only some pictures a second become a `Frame`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping

import av

from mmstream.errors import Damaged, UnsupportedCodec
from mmstream.gate.gate import KEY_EVERY_S
from mmstream.sources.motion_field import MotionReader
from mmstream.sources.pictures import PictureMaker, chroma_means, to_jpeg
from mmstream.sources.sound import SoundDecoder
from mmstream.sources.timed_decoder import Timed, TimedDecoder
from mmstream.types import AudioChunk, Frame, Packet, PictureSpec, TextSpan, UInt8

ANALYSIS_WIDTH_PX = 240
"""Width of `Frame.luma`: a person who fills a tenth of the picture is 24 px there."""

AUDIO_RATE_HZ = 16_000
CHROMA_HZ = 1.0
"""How often a picture's mean colour is measured; the frames between have that of the last."""

GLANCE_PICTURE_HZ = 1 / 6
"""How often models are shown a picture in which nothing has moved since the last."""

MAX_DAMAGED_IN_A_ROW = 60

_KEEP_GIVEN = 512
_EXPORTS_MOTION = ("h264", "mpeg4")
_ASS_TAG = re.compile(r"\{[^}]*\}")


class Decoder:
    """Packets of one feed -> `Frame`, `AudioChunk` and `TextSpan`, for as long as the feed lives.

    A new connection (another ``stream.epoch``) gets new decoders. So does a key frame that is not
    later than what was decoded before: the gate has woken up and replays the last group of pictures;
    the frames of a replay go back in time, but no moment is given twice.

    Damaged packets are skipped and pictures held back until the next key frame; pictures that FFmpeg
    marks as corrupt are dropped; both are counted. Damaged sound or captions never stop the pictures.

    Raises (from push):
        Damaged: not ``live`` (a file), and ``MAX_DAMAGED_IN_A_ROW`` packets could not be decoded.
        UnsupportedCodec: there is no decoder for the pictures.
    """

    def __init__(
        self,
        feed_id: str,
        *,
        analysed_fps: float,
        pictures: Mapping[str, PictureSpec],
        audio_rate_hz: int = AUDIO_RATE_HZ,
        live: bool = True,
    ) -> None:
        self.feed_id = feed_id
        self._live = live
        self._specs = dict(pictures)
        self._pace = Pace(analysed_fps)
        self._key_s = float("-inf")
        self._picture_paces = {name: Pace(spec.rate_hz) for name, spec in pictures.items()}
        self._glance_paces = {name: Pace(GLANCE_PICTURE_HZ) for name in pictures}
        self._unwanted: set[str] = set()
        self._maker = PictureMaker()
        self._chroma = 128.0, 128.0
        self._chroma_pace = Pace(CHROMA_HZ)
        self._video: TimedDecoder | None = None
        self._glances = False
        self._motion = MotionReader()
        self._sound = SoundDecoder(feed_id, audio_rate_hz)
        self._text: TimedDecoder | None = None
        self._refused_text_epoch = -1
        self._awaits_key = True
        self._num_bad_in_a_row = 0
        self._newest_s = float("-inf")
        self._replay_until_s = float("-inf")
        self._given: deque[float] = deque(maxlen=_KEEP_GIVEN)
        self._newest: tuple[av.VideoFrame, float] | None = None
        self._preview: tuple[bytes, float] | None = None
        self._counters = dict.fromkeys(
            ("frames_decoded", "frames_analysed", "frames_corrupt", "damaged_packets", "damaged_texts", "replays"), 0.0
        )

    @property
    def counters(self) -> dict[str, float]:
        return {**self._counters, "damaged_sounds": self._sound.num_damaged, "audio_s": self._sound.decoded_s}

    def push(self, packet: Packet, *, glance: bool = False) -> list[Frame | AudioChunk | TextSpan]:
        """``glance``: a key frame that nothing will be built on (the gate is asleep), decoded without the filter that
        smooths block edges: an eighth faster, and no difference at the size of a `Frame`. Few become pictures for
        replicas."""
        match packet.kind:
            case "video":
                return [*self._push_video(packet, glance)]
            case "audio":
                return [*self._sound.push(packet)]
            case _:
                return [*self._push_text(packet)]

    def flush(self) -> list[Frame | AudioChunk | TextSpan]:
        return [*self._close_video(), *self._sound.flush()]

    def want(self, name: str, *, wanted: bool) -> None:
        """Whether pictures for this one of ``pictures`` are made from now on. Asked again, it begins with the next."""
        if wanted and name in self._unwanted:
            self._unwanted.discard(name)
            self._picture_paces[name].restart()
            self._glance_paces[name].restart()
        elif not wanted and name in self._specs:
            self._unwanted.add(name)

    def preview(self, every_s: float) -> bytes | None:
        """The newest picture as JPEG, made only when asked and at most every ``every_s`` of the feed's
        time; None before the first picture. May be called from another thread than `push`."""
        newest, made = self._newest, self._preview
        if newest is None:
            return None
        frame, at_s = newest
        if made is None or not 0 <= at_s - made[1] < every_s:
            made = self._preview = to_jpeg(frame), at_s
        return made[0]

    def _push_video(self, packet: Packet, glance: bool) -> list[Frame]:
        frames = self._renew_video(packet, glance)
        assert self._video is not None
        if self._awaits_key and not packet.is_key:
            return frames
        self._newest_s = max(self._newest_s, packet.start_s)
        self._motion.note(packet)
        try:
            decoded = self._video.push(packet)
        except av.error.FFmpegError:
            self._note_damage(packet)
            return frames
        self._awaits_key = False
        if decoded:
            self._num_bad_in_a_row = 0
        return frames + [frame for timed in decoded for frame in self._take(timed)]

    def _renew_video(self, packet: Packet, glance: bool) -> list[Frame]:
        """Open a decoder where the packet needs another one; -> what the old one held back."""
        current = self._video
        same = current is not None and current.parameters.epoch == packet.stream.epoch
        replay = same and packet.is_key and packet.start_s <= self._newest_s
        if same and not replay and glance == self._glances:
            return []
        frames = self._close_video()
        if replay:
            self._counters["replays"] += 1
            self._replay_until_s = max(self._replay_until_s, self._newest_s)
        self._newest_s = float("-inf")
        self._glances = glance
        self._video = TimedDecoder(packet.stream, self._options(packet.stream.codec))
        self._motion = MotionReader()
        self._awaits_key = True
        return frames

    def _options(self, codec: str) -> dict[str, str]:
        if self._glances:
            return {"skip_loop_filter": "all"}
        return {"flags2": "+export_mvs"} if codec in _EXPORTS_MOTION else {}

    def _close_video(self) -> list[Frame]:
        decoder, self._video = self._video, None
        return [] if decoder is None else [frame for timed in decoder.flush() for frame in self._take(timed)]

    def _note_damage(self, packet: Packet) -> None:
        self._counters["damaged_packets"] += 1
        self._num_bad_in_a_row += 1
        self._awaits_key = self._live
        if self._num_bad_in_a_row >= MAX_DAMAGED_IN_A_ROW and not self._live:
            raise Damaged(
                f"feed {self.feed_id!r}: {self._num_bad_in_a_row} damaged {packet.stream.codec} packets in a row; "
                f"check the file with ffprobe, or record it again"
            )

    def _take(self, timed: Timed) -> list[Frame]:
        """Count the picture, and reduce it to a `Frame` if its turn has come."""
        frame, start_s, end_s = timed
        self._counters["frames_decoded"] += 1
        if frame.is_corrupt:
            self._counters["frames_corrupt"] += 1
            return []
        self._newest = frame, start_s
        self._motion.push(frame, start_s)
        if start_s <= self._replay_until_s and start_s in self._given:
            return []
        if frame.key_frame and not 0 <= start_s - self._key_s < KEY_EVERY_S:
            # The gate compares key frames, and a steady pace may well skip them all.
            self._pace.restart()
        if not self._pace.due(start_s):
            return []
        if frame.key_frame:
            self._key_s = start_s
        self._counters["frames_analysed"] += 1
        self._given.append(start_s)
        if self._chroma_pace.due(start_s):
            self._chroma = chroma_means(frame)
        return [
            Frame(
                feed_id=self.feed_id,
                start_s=start_s,
                end_s=max(start_s, end_s),
                is_key=bool(frame.key_frame),
                luma=self._maker.luma(frame, ANALYSIS_WIDTH_PX),
                chroma=self._chroma,
                motion=self._motion.read(),
                pictures=self._pictures(frame, start_s),
            )
        ]

    def _pictures(self, frame: av.VideoFrame, start_s: float) -> dict[str, UInt8]:
        paces = self._glance_paces if self._glances else self._picture_paces
        return {
            name: self._maker.picture(frame, spec)
            for name, spec in self._specs.items()
            if name not in self._unwanted and paces[name].due(start_s)
        }

    def _push_text(self, packet: Packet) -> list[TextSpan]:
        epoch = packet.stream.epoch
        if epoch == self._refused_text_epoch:
            return []
        try:
            if self._text is None or self._text.parameters.epoch != epoch:
                self._text = TimedDecoder(packet.stream)
            rects = self._text.push_text(packet)
        except UnsupportedCodec:
            self._counters["damaged_texts"] += 1
            self._refused_text_epoch = epoch
            return []
        except av.error.FFmpegError:
            self._counters["damaged_texts"] += 1
            return []
        text = "\n".join(filter(None, (plain_text(rect) for rect in rects)))
        span = TextSpan(
            feed_id=self.feed_id,
            start_s=packet.start_s,
            end_s=max(packet.start_s, packet.end_s),
            text=text,
            origin="caption",
        )
        return [span] if text else []


class Pace:
    """Picks at most ``rate_hz`` moments a second out of a finer sequence, evenly.

    >>> pace = Pace(5.0)
    >>> [n for n in range(16) if pace.due(n / 15)]
    [0, 3, 6, 9, 12, 15]
    """

    _SLACK = 0.1  # of a period: a camera's frames come a little early or late

    def __init__(self, rate_hz: float) -> None:
        self._period_s = 1.0 / rate_hz
        self._next_s = float("-inf")
        self._last_s = float("-inf")

    def restart(self) -> None:
        """The next moment is due, and the pace goes on from there."""
        self._next_s = float("-inf")

    def due(self, at_s: float) -> bool:
        if at_s < self._last_s:  # a replay, or a new connection with another clock
            self._next_s = float("-inf")
        self._last_s = at_s
        if at_s < self._next_s - self._SLACK * self._period_s:
            return False
        late_s = at_s - self._next_s
        self._next_s = (self._next_s if late_s < self._period_s else at_s) + self._period_s
        return True


def plain_text(dialogue: bytes) -> str:
    r"""The words of one decoded caption (an ASS event: eight fields, then the text).

    >>> plain_text(rb"0,0,Default,,0,0,0,,{\i1}Fire,{\i0} they said\NGet out")
    'Fire, they said\nGet out'
    """
    text = dialogue.decode("utf-8", errors="replace").split(",", 8)[-1]
    return _ASS_TAG.sub("", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ").strip()
