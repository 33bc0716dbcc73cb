"""The nouns: everything that travels along the path.

Each item that travels carries ``feed_id`` and a half-open interval ``[start_s, end_s)`` on
**one clock per site: Unix seconds, UTC, as float** (a double resolves 0.2 microseconds there).
Units are in the names. Arrays that arrive through Ray are read-only: copy before you write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

Modality = Literal["picture", "sound", "words", "sensor", "agreement"]
MODALITIES: tuple[Modality, ...] = ("picture", "sound", "words", "sensor", "agreement")
"""``agreement``: whether picture, sound and words belong together, where they usually do."""

NormalityKind = Literal["bank", "value", "joint", "parts", "scales", "rarity"]
"""How "unlike this feed's own history" is measured for a channel: ``bank`` = distance to the
nearest remembered vectors, ``value`` = the vector's first number is already a degree of surprise,
``joint`` = the nearest remembered vectors and one ellipsoid around all, ``parts`` = the vector is
several things one after another, of which the strangest counts, ``scales`` = the vector's last
numbers are one thing at several scales, of which the rarest counts, ``rarity`` = the vector lists
what was said, and how rare that is here counts."""

Mode = Literal["", "infrared"]
"""How the camera sees: by day in colour, by night in infrared. What is normal is learned apart."""

Region = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the picture's width and height."""

HealthCause = Literal["offline", "frozen", "black", "covered", "blurred", "moved", "mute", "clipped", "clock"]
"""What can be wrong with a camera itself."""

MAX_WINDOW_CHARS = 4000
"""Of one window: a flood of text must not stop the pictures."""

UInt8 = npt.NDArray[np.uint8]
Float16 = npt.NDArray[np.float16]
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
    whiten: bool = False
    """Of a ``bank``: measure distances along the axes of the feed's own covariance, fitted again every night."""
    least: float = 0.0
    """Of a ``bank`` or ``scales``: so much in a number is one deviation at least, however little it has varied."""
    weight: float = 1.0
    """Weight of the channel inside its aspect; an aspect has the weight of its heaviest channel."""
    aspect: str = ""
    """What of the modality it looks at. Channels of one aspect are taken together, several aspects are each
    heard by themselves: a bag that was left shows in nothing else. Empty: the modality as such."""
    by_hour: bool = False
    """Compared with this hour of the day, as far as that is known: a busy midnight is unusual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSpec:
    """The picture that an encoder wants to be given, and how often."""

    width_px: int
    height_px: int
    colour: bool = False
    """False: uint8 luma (H, W). True: uint8 RGB (H, W, 3)."""
    rate_hz: float = 1.0

    dtype: ClassVar[str] = "uint8"

    @property
    def shape(self) -> tuple[int, ...]:
        size = (self.height_px, self.width_px)
        return (*size, 3) if self.colour else size


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundSpec:
    """The sound that an encoder wants to be given: mono float32 in [-1, 1], the whole of a window."""

    sample_rate_hz: int = 16_000
    duration_s: float = 2.0
    rate_hz: float = 1.0
    """How often."""

    dtype: ClassVar[str] = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (round(self.sample_rate_hz * self.duration_s),)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsSpec:
    """An encoder that wants all that was said or written in a window, as one string."""

    rate_hz: float = 1.0

    dtype: ClassVar[str] = "str"

    @property
    def shape(self) -> tuple[int, ...]:
        return ()


InputSpec = PictureSpec | SoundSpec | WordsSpec
"""What a replica encoder is fed with. ``dtype`` and ``shape`` are those of one input as a NumPy array."""


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


TextOrigin = Literal["caption", "pushed", "transcript", "described"]
"""``transcript``: what a speech model heard; ``described``: what a caption model saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """Words that belong to an interval: a caption, a pushed report, a transcript."""

    feed_id: str
    start_s: float
    end_s: float
    text: str
    origin: TextOrigin
    confidence: float = 1.0
    model: str = ""
    """Of words that a model wrote: which one."""

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
    packets: tuple[tuple[float, int, bool], ...] = ()
    """(start_s, size in bytes, is a key frame) of every picture as it came, decoded or not."""

    def __post_init__(self) -> None:
        _check_interval(self)

    @property
    def text(self) -> str:
        """All that was said or written, in order of time, cut at `MAX_WINDOW_CHARS`."""
        return " ".join(span.text.strip() for span in self.texts).strip()[:MAX_WINDOW_CHARS]


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
    mode: Mode = ""
    readings: tuple[Reading, ...] = ()
    """Readings that no window before this one has brought."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition:
    """How a camera itself is doing over an interval: what `alerts.health` judges. None = not measured."""

    feed_id: str
    start_s: float
    end_s: float
    state: ConnectionState = "live"
    history: bool = False
    """Of a recording that is learned from: teaches what is usual, never raises an alert."""
    mode: Mode = ""
    silent_s: float = 0.0
    """For so long nothing has come from the camera."""
    no_picture_s: float = 0.0
    """For so long no picture has come, while other things did."""
    brightness: float | None = None
    """Mean luma of the newest picture, 0..255."""
    contrast: float | None = None
    """Standard deviation of its luma, levels."""
    entropy_bits: float | None = None
    """Of its luma histogram (64 bins), 0..6."""
    sharpness: float | None = None
    """Variance of its Laplacian, levels squared."""
    likeness: float | None = None
    """Correlation of its coarse structure with the scene's slow background, -1..1."""
    change: float | None = None
    """Share of pixels in which the last two key pictures differ at all."""
    still_s: float | None = None
    """For so long every key picture has been nearly the same, as a frozen picture coded anew is; 0 when the last two
    differ clearly."""
    view: UInt8 | None = None
    """Edges of what stands still in the scene, half the analysis picture's size, every two seconds or
    so: for seeing that the camera was moved."""
    level_db: float | None = None
    """RMS of the sound; 0 dB = a full-scale sine."""
    clipped_share: float | None = None
    """Share of samples at full scale."""
    clock_error_s: float | None = None
    """The camera's clock minus ours, where it tells."""

    def __post_init__(self) -> None:
        _check_interval(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """One picture, piece of sound or text on its way to an encoder replica."""

    feed_id: str
    start_s: float
    end_s: float
    """The interval of the window that the answer belongs to."""
    encoder: str
    """The channel that the encoder gives."""
    data: npt.NDArray[Any]
    """As the encoder's `InputSpec` says."""
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
    mode: Mode = ""
    readings: tuple[Reading, ...] = ()


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
    fused_by: str = ""
    """``fusion@version``, where a trained rule has joined the evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which part of a picture or of a sound is unusual."""

    region: Region | None = None
    band_hz: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalMoment:
    """A moment of this feed's past that was normal, and most like the one asked about."""

    at_s: float
    channel: str
    picture: str = ""
    """Key in the media store; empty when no picture of that moment was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What can be shown of why a window is unusual. Made only for windows that raise or worsen an alert."""

    where: Mapping[str, Where] = field(default_factory=dict)
    """Channel -> the part of the picture or sound that is unlike the past."""
    normal: tuple[NormalMoment, ...] = ()
    """The three most similar normal moments, nearest first."""


AlertState = Literal["open", "acknowledged", "closed"]
AlertKind = Literal["unusual", "health", "rule"]
"""``health``: something is wrong with the camera itself; outside the budget of unusual alerts. ``rule``: what somebody
asked to be told of; under the rule's own budget."""
Severity = Literal["notice", "alert", "critical"]
"""``notice``: unusual, but not enough for the budget: kept to be looked up, never pushed."""
Verdict = Literal["true", "false_alarm", "unsure"]


def alert_id(feed_id: str, start_s: float, cause: str = "") -> str:
    """The id of the alert that opened on ``feed_id`` at ``start_s``: from the data alone, so that
    a replay after a crash overwrites instead of repeating. ``cause`` tells health alerts apart.

    >>> alert_id("gate-3", 1700000000.25), alert_id("gate-3", 1700000000.25, "frozen")
    ('gate-3:1700000000250', 'gate-3:1700000000250-frozen')
    """
    return f"{feed_id}:{round(start_s * 1000)}" + (f"-{cause}" if cause else "")


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
    kind: AlertKind = "unusual"
    cause: str = ""
    """Of a health alert: one of `HealthCause`; of a rule alert: the rule's name."""
    suppressed: bool = False
    """The budget was used up: kept for the digest, never pushed."""
    alerts_per_day: float = 0.0
    """The budget it was raised under; 0 outside the budget."""
    number_today: int = 0
    """It was the so-manieth alert of its feed on its (UTC) day; 0 when not counted."""
    regions: Mapping[str, Region] = field(default_factory=dict)
    """Channel -> where in the picture."""
    band_hz: tuple[float, float] | None = None
    """Where in the sound."""
    normal: tuple[NormalMoment, ...] = ()
    """The most similar normal moments, nearest first."""
    sentence: str = ""
    sentences: Mapping[str, str] = field(default_factory=dict)
    """Language (``en``, ``zh``) -> the sentence in it; `sentence` is the English one."""
    text: str = ""
    """Words heard or read in it."""
    narration: str = ""
    """What a model wrote about it, if one is configured: generated, and marked as such by `narrated_by`."""
    narrated_by: str = ""
    """The model that wrote `narration`."""
    models: tuple[str, ...] = ()
    """All that took part in the judgement at the peak, as ``name@version``."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Channel -> which of them judged it; ``fusion`` -> the trained rule that joined them."""
    verdict: Verdict | None = None
    verdict_by: str = ""
    """Who gave the verdict, or took it back."""
    note: str = ""
    clip: str = ""
    """Key in the media store; empty until cut. The same for the next two."""
    thumbnail: str = ""
    spectrogram: str = ""

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        value["shares"], value["channels"] = dict(self.shares), dict(self.channels)
        value["models"], value["versions"] = list(self.models), dict(self.versions)
        value["regions"] = {channel: list(region) for channel, region in self.regions.items()}
        value["band_hz"] = list(self.band_hz) if self.band_hz is not None else None
        value["normal"] = [dataclasses.asdict(moment) for moment in self.normal]
        value["sentences"] = dict(self.sentences)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Alert:
        """Unknown keys are left out: an older program can read a newer ledger."""
        known = {f.name for f in dataclasses.fields(cls)}
        kept = {key: item for key, item in value.items() if key in known}
        kept["models"] = tuple(kept.get("models", ()))
        kept["regions"] = {channel: tuple(region) for channel, region in kept.get("regions", {}).items()}
        band_hz = kept.get("band_hz")
        kept["band_hz"] = (band_hz[0], band_hz[1]) if band_hz is not None else None
        kept["normal"] = tuple(NormalMoment(**moment) for moment in kept.get("normal", ()))
        return cls(**kept)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strip:
    """The windows of one calibration block of a feed, thinned so that its alerting can be gone through again: those of
    suspicions and alerts, and of the others the highest in every respect."""

    feed_id: str
    start_s: float
    end_s: float
    """Of the block."""
    covered_s: float
    """So much of it was covered by windows with evidence."""
    aspects: tuple[tuple[str, Modality, float], ...]
    """(name, modality, weight) of what fusion joined."""
    windows: Float64
    """(n, 4 + len(aspects)), by time: start and end in seconds, fused surprise, the same debounced, and each aspect's
    -log10 p debounced, NaN where it was missing."""

    def __post_init__(self) -> None:
        _check_interval(self)
        if self.windows.ndim != 2 or self.windows.shape[1] != 4 + len(self.aspects):
            raise ValueError(f"Strip.windows: want (n, {4 + len(self.aspects)}), got {self.windows.shape}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """A window as it is kept for later: to be searched, replayed and learned from."""

    feed_id: str
    start_s: float
    end_s: float
    surprise: float
    p: Mapping[str, float]
    """Channel -> p-value."""
    shares: Mapping[str, float]
    state: MomentState
    vectors: Mapping[str, Float16]
    """Channel -> what its encoder said, (D,)."""
    models: Mapping[str, str]
    """Channel -> ``name@version``."""
    text: str = ""
    alert_id: str = ""
    """The alert that it is part of."""
    picture: str = ""
    """Key in the media store; empty when no picture of it was kept."""
    aspects: Mapping[str, float] = field(default_factory=dict)
    """Aspect -> p-value, of aspects that several channels make up together: what fusion joined in their place."""
    strips: tuple[Strip, ...] = ()
    """Of the blocks that have ended since the moment kept before it."""


MomentState = Literal["normal", "suspect", "alert"]


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
    region: Region | None = None
    """Framed on the thumbnail: where in the picture it is."""
    band_hz: tuple[float, float] | None = None
    """Marked on the spectrogram: where in the sound it is."""
