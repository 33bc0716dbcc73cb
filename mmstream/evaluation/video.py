"""Frame by frame on recorded clips: how well the default detector tells unusual from normal.

Causal: a frame is judged by the half second that ends with it. Nothing is normalised per clip, and nothing
of the test clips is learned.
"""

from __future__ import annotations

import copy
import json
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mmstream.config import FeedConfig
from mmstream.encoders import EDGE_ENCODERS
from mmstream.encoders.expectation_net import TrainedNet
from mmstream.errors import ConfigError, Damaged
from mmstream.evaluation.metrics import Flags, at_threshold, auc, auc_interval
from mmstream.fusion.evidence import HarmonicMean
from mmstream.normality.memory import Memory
from mmstream.sources.decode import Decoder
from mmstream.sources.media import MediaSource
from mmstream.stages import EdgeEncoder, load
from mmstream.types import AlignedWindow, Channel, Embedding, Float64, Frame, Packet, Status, Window

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".ts")
LOOK_BACK_S = 0.5
TOLERANCE_S = 1e-6
EVERY_FRAME_FPS = 60.0
CALIBRATION_SHARE = 4
"""Every fourth normal clip is not learned: its largest score is the threshold."""
FEED_ID = "clip"
PAUSE_S = 60.0
"""Between two learned clips, so that no moment of one counts as a neighbour in time of another."""
PICTURE_ENCODERS = ("motion",)
"""Of the default channels, what judges a moment by itself. Those that judge the scene (appearance, still) and the hour
(activity) need hours of one camera: a dozen clips are a dozen kinds of light, and every other light is unusual then."""
ENERGY = 1
"""Where the motion vector has the mean speed over the whole picture."""

Note = Callable[[str], None]
Train = Callable[[Iterator[Frame]], TrainedNet]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipScores:
    """One clip, frame by frame."""

    times_s: Float64
    """(frames,) from the start of the clip."""
    surprise: Float64
    """(frames,) -log10 of how rare the fused evidence is."""
    energy: Float64
    """(frames,) the control: mean motion over the whole picture."""
    num_known: int
    """Frames that there was any evidence for: 0 when too little had been learned."""

    def highest(self) -> float:
        """Of the moments that had their whole half second: a mean over one picture, at a clip's start, varies
        as no moment of a running camera does, and must not set its threshold."""
        full = self.times_s >= LOOK_BACK_S - TOLERANCE_S
        return float(self.surprise[full].max(initial=0.0))


class Detector:
    """The default detector's picture channels, as the path has them, asked at every frame.

    A camera's encoders know its background from the hours before; here they know it from the learned
    clips: every clip is judged by copies of the encoders as those have left them. ``options``: encoder -> what it
    is made with.
    """

    def __init__(
        self,
        encoders: Sequence[str] = PICTURE_ENCODERS,
        *,
        options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self._encoders: list[EdgeEncoder] = [load(EDGE_ENCODERS, name)(**options.get(name, {})) for name in encoders]
        channels: dict[str, Channel] = {encoder.channel.name: encoder.channel for encoder in self._encoders}
        self._memory = Memory(channels)
        self._fuser = HarmonicMean()
        self._learned_s = 0.0

    def learn(self, path: Path) -> None:
        """From the first full half second on: means over less are less steady than what they would be compared with."""
        last_s = 0.0
        for window in self._windows(path, self._learned_s, self._encoders):
            if window.end_s >= self._learned_s + LOOK_BACK_S - TOLERANCE_S:
                self._memory.keep(self._memory.weigh(window).lesson, hold=False)
            last_s = window.end_s
        self._memory.learn_waiting()
        self._learned_s = max(self._learned_s, last_s) + PAUSE_S

    def score(self, path: Path) -> ClipScores:
        """Judge every frame by what has been learned; learn nothing."""
        times_s, surprises, energies = [], [], []
        num_known = 0
        for window in self._windows(path, self._learned_s, copy.deepcopy(self._encoders)):
            surprise, shares = self._fuser.fuse(self._memory.weigh(window).aspects)
            num_known += bool(shares)
            motion = next((e for e in window.embeddings if e.channel == "motion"), None)
            times_s.append(window.end_s - self._learned_s)
            surprises.append(surprise)
            energies.append(float(motion.vector[ENERGY]) if motion is not None else 0.0)
        return ClipScores(
            times_s=np.array(times_s), surprise=np.array(surprises), energy=np.array(energies), num_known=num_known
        )

    def _windows(self, path: Path, from_s: float, encoders: Sequence[EdgeEncoder]) -> Iterator[AlignedWindow]:
        """One per frame: the last half second of the clip, encoded."""
        recent: deque[Frame] = deque()
        for frame in frames_of(path, from_s):
            recent.append(frame)
            while recent[0].start_s <= frame.start_s - LOOK_BACK_S + TOLERANCE_S:
                recent.popleft()
            at_s = frame.start_s
            window = Window(feed_id=FEED_ID, start_s=at_s - LOOK_BACK_S, end_s=at_s, frames=tuple(recent))
            embeddings = [encoder.encode(window) for encoder in encoders]
            yield AlignedWindow(
                feed_id=FEED_ID,
                start_s=window.start_s,
                end_s=window.end_s,
                embeddings=tuple(e for e in embeddings if isinstance(e, Embedding)),
            )


def frames_of(path: Path, from_s: float) -> Iterator[Frame]:
    """Every picture of a clip, at ``from_s`` plus its own time. Raises `SourceError` where it cannot be read."""
    decoder = Decoder(FEED_ID, analysed_fps=EVERY_FRAME_FPS, pictures={}, live=False)
    source = MediaSource(FeedConfig(id=FEED_ID, url=str(path), audio=False), epoch_s=from_s)
    for item in source:
        if isinstance(item, Status) and item.state == "failed":
            raise Damaged(f"{path}: {item.sentence.partition(': ')[2]}")
        if isinstance(item, Packet):
            yield from (found for found in decoder.push(item) if isinstance(found, Frame))
    yield from (found for found in decoder.flush() if isinstance(found, Frame))


def _in_turn(clips: Sequence[Path]) -> Iterator[Frame]:
    """Every picture of every clip, one clip after the other."""
    from_s = 0.0
    for clip in clips:
        last_s = from_s
        for frame in frames_of(clip, from_s):
            last_s = frame.end_s
            yield frame
        from_s = last_s + PAUSE_S


def clips_in(folder: Path) -> list[Path]:
    """Raises ConfigError: there is no such folder, or no clip in it."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give one with clips ({', '.join(SUFFIXES)})")
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not clips:
        raise ConfigError(f"{folder} has no clips; want files that end with {', '.join(SUFFIXES)}")
    return clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Which frames of a clip are unusual: 1-based inclusive ranges, by the clip's name without its ending."""

    ranges: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Raises ConfigError: not a labels file."""
        try:
            found = json.loads(path.read_text())["anomalous_frames"]
            return cls(ranges={clip: [(int(a), int(b)) for a, b in ranges] for clip, ranges in found.items()})
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f'{path} is not a labels file ({error}); want {{"anomalous_frames": {{"clip": [[first, last]]}}}}'
            ) from error

    def flags(self, clip: str, count: int) -> Flags:
        flags = np.zeros(count, np.bool_)
        for first, last in self.ranges.get(clip, ()):
            flags[first - 1 : last] = True
        return flags


def evaluate(
    normal: Path,
    test: Path,
    labels: Path | None,
    *,
    encoders: Sequence[str] = PICTURE_ENCODERS,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    train: Train | None = None,
    note: Note = lambda _: None,
) -> dict[str, Any]:
    """Learn the clips of ``normal``, judge those of ``test``; keys as DESIGN section 4 fixes them.

    Without labels only the scores and the threshold are given. With ``train`` the expectation channel is added,
    trained on the learned clips alone.

    Raises:
        ConfigError: a folder or file is not what it should be.
        SourceError: a clip cannot be read.
    """
    clips, tests = clips_in(normal), clips_in(test)
    truth = Labels.read(labels) if labels is not None else Labels()
    if len(clips) < 2:
        raise ConfigError(f"{normal} holds one clip, too little to learn from; the threshold comes from a second one")
    held_back = clips[CALIBRATION_SHARE - 1 :: CALIBRATION_SHARE] or clips[-1:]
    learned = [clip for clip in clips if clip not in held_back]
    if train is not None:
        note("training the expectation channel")
        encoders, options = (
            (*encoders, "expectation"),
            {**options, "expectation": {"weights": train(_in_turn(learned))}},
        )
    detector = Detector(encoders, options=options)
    for clip in learned:
        note(f"learning {clip.name}")
        detector.learn(clip)
    calibration = [_scored(detector, clip, note) for clip in held_back]
    threshold = max(scores.highest() for scores in calibration)
    if not any(scores.num_known for scores in calibration):
        raise ConfigError(
            f"{normal} holds too little to learn from; want at least two clips, and some 20 seconds in all"
        )
    found = {clip.stem: _scored(detector, clip, note) for clip in tests}
    flags = {name: truth.flags(name, len(scores.surprise)) for name, scores in found.items()}
    _check_truth(labels, flags)
    report: dict[str, Any] = {
        "threshold": threshold,
        "clips": {name: _clip_report(scores, flags[name], threshold) for name, scores in found.items()},
    }
    return report if labels is None else report | _judged(found, flags, threshold)


def _check_truth(labels: Path | None, flags: Mapping[str, Flags]) -> None:
    every = np.concatenate(list(flags.values()))
    if labels is not None and (not every.any() or every.all()):
        marked = "all frames" if every.any() else "no frame"
        raise ConfigError(
            f"{labels} marks {marked} of the test clips ({', '.join(sorted(flags)[:3])} ...) as unusual; "
            f"both kinds are needed, and clips are named without their ending"
        )


def _scored(detector: Detector, clip: Path, note: Note) -> ClipScores:
    note(f"judging {clip.name}")
    return detector.score(clip)


def _judged(found: Mapping[str, ClipScores], flags: Mapping[str, Flags], threshold: float) -> dict[str, Any]:
    surprise = {name: scores.surprise for name, scores in found.items()}
    reached = at_threshold(surprise, {name: scores.times_s for name, scores in found.items()}, flags, threshold)
    low, high = auc_interval(surprise, flags)
    random = np.random.default_rng(0)
    controls = {
        "motion_energy": {name: scores.energy for name, scores in found.items()},
        "clip_constant": {name: np.full(len(s.surprise), s.surprise.mean()) for name, s in found.items()},
        "random_walk": {name: np.cumsum(random.normal(size=len(s.surprise))) for name, s in found.items()},
    }
    return {
        "micro_auc": _micro(surprise, flags),
        "micro_auc_95": [low, high],
        "event_recall": reached.event_recall,
        "false_frame_rate": reached.false_frame_rate,
        "delay_s_median": statistics.median(reached.delays_s) if reached.delays_s else None,
        "controls": {name: _micro(scores, flags) for name, scores in controls.items()},
    }


def _micro(scores: Mapping[str, Float64], flags: Mapping[str, Flags]) -> float:
    names = sorted(scores)
    return auc(np.concatenate([scores[name] for name in names]), np.concatenate([flags[name] for name in names]))


def _clip_report(scores: ClipScores, flags: Flags, threshold: float) -> dict[str, Any]:
    within = auc(scores.surprise, flags)
    return {
        "num_frames": len(scores.surprise),
        "num_unusual": int(flags.sum()),
        "auc": None if np.isnan(within) else within,
        "above_threshold": int((scores.surprise > threshold).sum()),
        "scores": [round(float(value), 4) for value in scores.surprise],
    }
