"""The nouns: everything that travels along the path.

Each item that travels carries ``feed_id`` and a half-open interval ``[start_s, end_s)`` on
**one clock per site: Unix seconds, UTC, as float** (a double resolves 0.2 microseconds there).
Units are in the names. Arrays that arrive through Ray are read-only: copy before you write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Modality = Literal["picture", "sound", "words", "sensor"]
MODALITIES: tuple[Modality, ...] = ("picture", "sound", "words", "sensor")

NormalityKind = Literal["bank", "value"]
"""How "unlike this feed's own history" is measured for a channel: ``bank`` = distance to the
nearest remembered vectors, ``value`` = the vector's first number is already a degree of surprise."""

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def _check_interval(item: Any) -> None:
    if not item.start_s <= item.end_s:
        raise ValueError(
            f"{type(item).__name__} of {item.feed_id!r}: start_s={item.start_s} is after end_s={item.end_s}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One kind of evidence about a feed: what an encoder measures, and how it is judged."""

    name: str
    modality: Modality
    normality: NormalityKind = "bank"
    density: bool = True
    """Divide bank distances by the local density (good for appearance and sound, bad for motion)."""
    weight: float = 1.0
    """Weight of the channel inside its modality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSpec:
    """The picture that an encoder wants to be given, and how often."""

    width_px: int
    height_px: int
    colour: bool = False
    """False: uint8 luma (H, W). True: uint8 RGB (H, W, 3)."""
    rate_hz: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        size = (self.height_px, self.width_px)
        return (*size, 3) if self.colour else size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamParameters:
    """What a decoder or muxer needs to know of one encoded stream; outlives its connection."""

    kind: Literal["video", "audio", "text"]
    codec: str
    """FFmpeg's name: ``h264``, ``hevc``, ``mjpeg``, ``aac``, ``pcm_mulaw``, ``subrip`` ..."""
    time_base: tuple[int, int]
    """Seconds per tick of ``payload.pts``, as (numerator, denominator)."""
    extradata: bytes = b""
    width_px: int = 0
    height_px: int = 0
    sample_rate_hz: int = 0
    channels: int = 0
    index: int = 0
    epoch: int = 0
    """Counts connections of the feed: two packets of different epochs never share a decoder."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packet:
    """An encoded picture or piece of sound. Stays in the process that received it."""

    feed_id: str
    start_s: float
    end_s: float
    is_key: bool
    size_bytes: int
    stream: StreamParameters
    payload: Any
    """The ``av.Packet``. Only `mmstream.sources` looks inside."""

    @property
    def kind(self) -> Literal["video", "audio", "text"]:
        return self.stream.kind


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One decoded picture, reduced to what the encoders of its feed asked for."""

    feed_id: str
    start_s: float
    end_s: float
    is_key: bool
    luma: UInt8
    """(H, W), the analysis picture: `sources.decode.ANALYSIS_WIDTH_PX` wide, aspect kept."""
    chroma: tuple[float, float] = (128.0, 128.0)
    """Mean U and V, 0..255; exactly 128 for infrared night pictures."""
    motion: Float32 | None = None
    """(rows, cols, 2): how far each cell moved, x right and y down, in thousandths of the picture
    width per 0.1 s. None when the codec gives no motion vectors (H.265, MJPEG) or on a key frame."""
    pictures: Mapping[str, UInt8] = field(default_factory=dict)
    """Channel of a replica encoder -> picture in its `PictureSpec`; only on frames picked for it."""

    def __post_init__(self) -> None:
        _check_interval(self)
        if self.luma.ndim != 2 or self.luma.dtype != np.uint8:
            raise ValueError(f"Frame.luma: want uint8 (H, W), got {self.luma.dtype} {self.luma.shape}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AudioChunk:
    """Decoded sound: mono, at the analysis rate."""

    feed_id: str
    start_s: float
    end_s: float
    samples: Float32
    """(n,), in [-1, 1]."""
    sample_rate_hz: int

    def __post_init__(self) -> None:
        _check_interval(self)
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(f"AudioChunk.samples: want float32 (n,), got {self.samples.dtype} {self.samples.shape}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """Words that belong to an interval: a caption, a pushed report, a transcript."""

    feed_id: str
    start_s: float
    end_s: float
    text: str
    origin: Literal["caption", "pushed", "transcript"]
    confidence: float = 1.0

    def __post_init__(self) -> None:
        _check_interval(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number from a sensor at one moment (``end_s == start_s``)."""

    feed_id: str
    start_s: float
    end_s: float
    sensor: str
    value: float

    def __post_init__(self) -> None:
        _check_interval(self)


ConnectionState = Literal["connecting", "live", "retrying", "failed", "ended", "paused"]
"""``retrying``: it will try again by itself. ``failed``: only a person can mend it (wrong password,
no such path, unsupported codec); it still tries again, rarely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a source is doing, whenever that changes. ``sentence`` is for a guard to read."""

    feed_id: str
    start_s: float
    end_s: float
    state: ConnectionState
    sentence: str
    code: str = ""
    """Empty, or one of `errors.SOURCE_ERROR_CODES`."""
    retry_in_s: float = 0.0


SourceItem = Packet | TextSpan | Reading | Status
"""What a source yields, in time order within each kind."""

MediaItem = Frame | AudioChunk | TextSpan | Reading
"""What the windower takes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """Everything that a feed showed, sounded and said in two seconds."""

    feed_id: str
    start_s: float
    end_s: float
    frames: tuple[Frame, ...] = ()
    samples: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    """(n,) mono; n = 0 when the feed was mute or has no sound; gaps are filled with zeros."""
    sample_rate_hz: int = 0
    texts: tuple[TextSpan, ...] = ()
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        _check_interval(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """What one encoder says about one window."""

    feed_id: str
    start_s: float
    end_s: float
    channel: str
    vector: Float32
    """(D,), finite."""
    model: str
    """``name@version``: vectors of different versions are never compared."""
    text: str = ""

    def __post_init__(self) -> None:
        _check_interval(self)
        if self.vector.ndim != 1 or self.vector.dtype != np.float32:
            raise ValueError(f"Embedding.vector: want float32 (D,), got {self.vector.dtype} {self.vector.shape}")
        if not np.isfinite(self.vector).all():
            raise ValueError(f"Embedding.vector of {self.channel!r} on {self.feed_id!r} is not finite")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedWindow:
    """A window after the edge encoders, without its pictures and sound.

    ``pending`` names the channels that replicas have been asked for: their embeddings follow
    one by one, or never (a full queue drops them), so whoever waits must wait with a bound.
    """

    feed_id: str
    start_s: float
    end_s: float
    embeddings: tuple[Embedding, ...]
    pending: frozenset[str] = frozenset()
    history: bool = False
    """True while history is learned fast-forward: to be learned from, never alerted on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """One picture on its way to an encoder replica."""

    feed_id: str
    start_s: float
    end_s: float
    """The interval of the window that the answer belongs to."""
    encoder: str
    """The channel that the encoder gives."""
    picture: UInt8
    patient: bool = False
    """True for a recording: its window waits for the answer. False: the answer may be too late."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedWindow:
    """All that is known about one window, at the moment it is judged."""

    feed_id: str
    start_s: float
    end_s: float
    embeddings: tuple[Embedding, ...]
    missing: frozenset[str] = frozenset()
    """Channels that were asked for and did not come in time."""
    history: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How rare one channel of a window is for this feed."""

    channel: str
    modality: Modality
    p: float
    """In (0, 1]: the share of this feed's own history that was at least this unusual."""
    raw: float = 0.0
    weight: float = 1.0
    model: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.p <= 1.0:
            raise ValueError(f"Evidence.p of {self.channel!r}: want (0, 1], got {self.p}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number for one window, and which modality it comes from."""

    feed_id: str
    start_s: float
    end_s: float
    surprise: float
    """-log10 of the fused p-value: 0 = ordinary, 3 = once in a thousand windows."""
    shares: Mapping[str, float]
    """Modality -> share of the surprise; sums to 1; empty when there was no evidence."""
    evidence: tuple[Evidence, ...] = ()
    history: bool = False
    text: str = ""


AlertState = Literal["open", "acknowledged", "closed"]
Severity = Literal["alert", "critical"]
Verdict = Literal["true", "false_alarm", "unsure"]


def alert_id(feed_id: str, start_s: float) -> str:
    """The id of the alert that opened on ``feed_id`` at ``start_s``: from the data alone, so that
    a replay after a crash overwrites instead of repeating.

    >>> alert_id("gate-3", 1700000000.25)
    'gate-3:1700000000250'
    """
    return f"{feed_id}:{round(start_s * 1000)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something unusual: its whole state after a transition. Plain values only: goes to JSON as it is."""

    alert_id: str
    feed_id: str
    start_s: float
    """When the alert opened (the end of the window that crossed the threshold is at most a window later)."""
    end_s: float
    """End of the last unusual window so far."""
    state: AlertState
    severity: Severity
    surprise: float
    """Highest so far."""
    peak_s: float
    """Where the highest was: middle of that window."""
    expected_every_s: float
    """Something this unusual is expected once in so many seconds on this feed."""
    shares: Mapping[str, float]
    channels: Mapping[str, float] = field(default_factory=dict)
    """Channel -> p-value at the peak."""
    provisional: bool = False
    """The feed had too little history for its budget to be exact."""
    sentence: str = ""
    text: str = ""
    """Words heard or read in it."""
    models: tuple[str, ...] = ()
    verdict: Verdict | None = None
    note: str = ""
    clip: str = ""
    """Key in the media store; empty until cut. The same for the next two."""
    thumbnail: str = ""
    spectrogram: str = ""

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        value["shares"], value["channels"] = dict(self.shares), dict(self.channels)
        value["models"] = list(self.models)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Alert:
        """Unknown keys are left out: an older program can read a newer ledger."""
        known = {f.name for f in dataclasses.fields(cls)}
        kept = {key: item for key, item in value.items() if key in known}
        kept["models"] = tuple(kept.get("models", ()))
        return cls(**kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRequest:
    """Fusion asks the shard that holds the feed's packets for the clip and pictures of an alert."""

    feed_id: str
    alert_id: str
    start_s: float
    """Clip wanted from here (pre-roll included) ..."""
    end_s: float
    """... to here; the shard cuts what it has once its ring reaches this moment."""
    peak_s: float
    spectrogram: bool
    final: bool
    """True for the request at the alert's close, which replaces the first clip."""
