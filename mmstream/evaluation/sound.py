"""How well the sound channel tells unusual sounds from ordinary ones, on hours composed from a few real clips.

An hour is learned, an hour sets the threshold, and then nothing more is learned: an hour without and one with
events are judged. After that, the same listener hears a background that it has never heard, and learns on, as it would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.encoders.sound import POOLS, SoundEncoder
from mmstream.errors import ConfigError
from mmstream.evaluation.compose import EVENT_SNRS_DB, RATE_HZ, Composition, Material, PlacedSound
from mmstream.evaluation.material import sound_in, sounds_in
from mmstream.evaluation.metrics import Flags, auc
from mmstream.fusion.evidence import HarmonicMean
from mmstream.normality.memory import Memory
from mmstream.types import AlignedWindow, AudioChunk, Channel, Float32, Float64
from mmstream.windowing import Windower

HOUR_S = 3600.0
CHUNK_S = 60.0
FEED_ID = "sound"
REFRACTORY_S = 30.0
"""Peaks closer together than this are one alert."""
UNSEEN_HOURS = 2
DRAWS_PER_EVENT = 10
LEVEL, FLUX = POOLS - 3, POOLS - 1
SHARE_OF_BED = 0.6
STEADY_S = 3.0

ORDINARY_CLASSES = {"0": "air conditioner", "2": "children", "3": "dog", "5": "engine", "9": "street music"}
EVENT_CLASSES = {"1": "car horn", "4": "drilling", "6": "gun shot", "7": "jackhammer", "8": "siren"}

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """One hour, second by second: window ``n`` is ``[n, n + 2)`` seconds from its start."""

    scores: Mapping[str, Float64]
    """``ours`` (surprise) and the controls."""
    placed: Sequence[PlacedSound]


class Listener:
    """The sound channel as the path has it: windows, encoder, memory, fusion; one after another on one clock."""

    def __init__(self, seed: int) -> None:
        channel: Channel = SoundEncoder.channel
        self._encoder = SoundEncoder()
        self._memory = Memory({channel.name: channel})
        self._fuser = HarmonicMean()
        self._windower = Windower(FEED_ID)
        self._random = np.random.default_rng(seed)
        self._now_s = 0.0

    def hear(self, composition: Composition, *, learn: bool) -> Heard:
        rows = []
        for window in self._windows(composition):
            weighed = self._memory.weigh(window)
            surprise, _ = self._fuser.fuse(weighed.aspects)
            if learn:
                self._memory.keep(weighed.lesson, hold=False)
            vector = window.embeddings[0].vector
            rows.append((surprise, float(vector[LEVEL]), float(vector[FLUX]), float(self._random.random())))
        columns = np.array(rows, np.float64).T
        names = ("ours", "level", "flux", "random")
        return Heard(scores=dict(zip(names, columns, strict=True)), placed=composition.placed)

    def _windows(self, composition: Composition) -> Iterator[AlignedWindow]:
        from_s = self._now_s
        for start_s in np.arange(0.0, composition.duration_s, CHUNK_S):
            samples = composition.render(start_s, min(start_s + CHUNK_S, composition.duration_s))
            for second in range(samples.size // RATE_HZ):
                yield from self._encoded(samples[second * RATE_HZ : (second + 1) * RATE_HZ], from_s + start_s + second)
        self._now_s = from_s + composition.duration_s

    def _encoded(self, samples: Float32, start_s: float) -> Iterator[AlignedWindow]:
        chunk = AudioChunk(
            feed_id=FEED_ID, start_s=start_s, end_s=start_s + 1.0, samples=samples, sample_rate_hz=RATE_HZ
        )
        for window in self._windower.push(chunk):
            embedding = self._encoder.encode(window)
            if embedding is not None:
                yield AlignedWindow(
                    feed_id=FEED_ID, start_s=window.start_s, end_s=window.end_s, embeddings=(embedding,)
                )


def evaluate_sound(
    folder: Path, seeds: Sequence[int] = (1, 2), note: Note = lambda _: None, *, hour_s: float = HOUR_S
) -> dict[str, Any]:
    """The report of ``mmstream eval sound``; ``hour_s``: how long each of its hours is.

    Raises:
        ConfigError: the folder does not hold the sounds that are needed.
        SourceError: one of them cannot be read.
    """
    note("reading")
    places = Places.of(read_sounds(folder))
    per_seed = {str(seed): _one_seed(places, seed, note, hour_s) for seed in seeds}
    return {
        "seeds": per_seed,
        "mean": _means(list(per_seed.values())),
        "hours_composed": (5 + 2 * UNSEEN_HOURS) * len(seeds),
    }


def read_sounds(folder: Path) -> Material:
    """Either UrbanSound clips by class in ``urbansound`` with backgrounds ``soundscape/bgonly*``, or the folders
    ``background``, ``ordinary`` and ``unusual``."""
    if not (folder / "urbansound").is_dir():
        return sounds_in(folder)
    clips = {path.stem: sound_in(path) for path in sorted((folder / "urbansound").glob("*.wav"))}
    beds = [sound_in(path) for path in sorted((folder / "soundscape").glob("bgonly*.wav"))]
    material = Material(
        beds=tuple(beds),
        ordinary={n: clip for n, clip in clips.items() if _class_of(n) in ORDINARY_CLASSES},
        events={n: clip for n, clip in clips.items() if _class_of(n) in EVENT_CLASSES},
    )
    if not (material.beds and material.ordinary and material.events):
        raise ConfigError(
            f"{folder} lacks backgrounds, ordinary sounds or events; see docs/evaluation.md for its layout"
        )
    return material


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Three places made of one material; no sample of the first is in the others, but for the events."""

    known: Material
    """The first part of every bed and ordinary sound."""
    unseen: Material
    """The rest of them."""
    elsewhere: Material
    """The two steadiest ordinary sounds as beds, the rest of the others in front of them."""

    @classmethod
    def of(cls, material: Material) -> Places:
        steady = sorted(
            (name for name, clip in material.ordinary.items() if clip.size >= STEADY_S * RATE_HZ),
            key=lambda name: _unsteadiness(material.ordinary[name]),
        )[:2]
        others = {name: _rest(clip, 0.5) for name, clip in material.ordinary.items() if name not in steady}
        if len(steady) < 2 or not others:
            raise ConfigError(f"want at least three ordinary sounds, two of them of {STEADY_S:.0f} s or more")
        return cls(
            known=Material(
                beds=tuple(_first(bed, SHARE_OF_BED) for bed in material.beds),
                ordinary={name: _first(clip, 0.5) for name, clip in material.ordinary.items()},
                events=material.events,
            ),
            unseen=Material(
                beds=tuple(_rest(bed, SHARE_OF_BED) for bed in material.beds),
                ordinary={name: _rest(clip, 0.5) for name, clip in material.ordinary.items()},
                events=material.events,
            ),
            elsewhere=Material(
                beds=tuple(material.ordinary[name] for name in steady), ordinary=others, events=material.events
            ),
        )


def _one_seed(places: Places, seed: int, note: Note, hour_s: float) -> dict[str, Any]:
    def hour(material: Material, number: int, *, events: bool = False) -> Composition:
        note(f"seed {seed}, hour {number}")
        return Composition(material, duration_s=hour_s, seed=100 * seed + number, events=events)

    listener = Listener(seed)
    listener.hear(hour(places.known, 1), learn=True)
    calibration = listener.hear(hour(places.known, 2), learn=True)
    report: dict[str, Any] = {}
    fresh = {name: copy.deepcopy(listener) for name in ("known", "unseen", "elsewhere")}
    normal = fresh["known"].hear(hour(places.known, 3), learn=False)
    events = fresh["known"].hear(hour(places.known, 4, events=True), learn=False)
    report["known"] = measured(calibration, normal, events)
    for place, material in (("unseen", places.unseen), ("elsewhere", places.elsewhere)):
        first = [fresh[place].hear(hour(material, 10 + n), learn=True) for n in range(UNSEEN_HOURS)]
        report[place] = {"first_hours": first_hours(calibration, first)}
        if place == "unseen":
            normal = fresh[place].hear(hour(material, 20), learn=False)
            events = fresh[place].hear(hour(material, 21, events=True), learn=False)
            report[place] |= {"afterwards": measured(calibration, normal, events)}
    return report


def measured(calibration: Heard, normal: Heard, events: Heard) -> dict[str, Any]:
    """Ours in full, and of each control the two numbers that can be compared."""
    ours = _measured(calibration, normal, events, "ours")
    controls = {}
    for name in ("level", "flux", "random"):
        control = _measured(calibration, normal, events, name)
        controls[name] = {key: control[key] for key in ("auc", "recall_at_1_per_hour")}
    return ours | {"controls": controls}


def first_hours(calibration: Heard, hours: Sequence[Heard]) -> dict[str, Any]:
    """False alerts at the threshold of the known background, from the moment on at which it changes."""
    threshold = one_alert(calibration.scores["ours"])
    scores = np.concatenate([hour.scores["ours"] for hour in hours])
    return {
        "hours": len(hours),
        "false_alerts": sum(peak > threshold for peak in peaks(scores)),
        "seconds_above": int((scores > threshold).sum()),
    }


def peaks(scores: Float64) -> list[float]:
    """The highest scores, highest first, none within `REFRACTORY_S` of a higher one."""
    left, found = scores.copy(), []
    around = round(REFRACTORY_S)
    while np.isfinite(left.max(initial=-np.inf)):
        top = int(left.argmax())
        found.append(float(left[top]))
        left[max(0, top - around) : top + around + 1] = -np.inf
    return found


def one_alert(scores: Float64) -> float:
    """The threshold above which an hour of normal scores has one peak."""
    return peaks(scores)[1]


def _measured(calibration: Heard, normal: Heard, events: Heard, name: str) -> dict[str, Any]:
    scores, still = events.scores[name], normal.scores[name]
    threshold, preset = one_alert(still), one_alert(calibration.scores[name])
    found = {kind: [p for p in events.placed if p.kind == kind] for kind in ("event", "sham")}
    tops = {kind: np.array([_top(scores, p.start_s, p.end_s) for p in of_kind]) for kind, of_kind in found.items()}
    snrs_db = np.array([p.snr_db for p in found["event"]])
    names = np.array([_spoken(p.name) for p in found["event"]])
    untouched = _untouched(still, found["event"])
    return {
        "auc": _auc(untouched, tops["event"]),
        "auc_against_shams": _auc(tops["sham"], tops["event"]),
        "recall_at_1_per_hour": _share(tops["event"] > threshold),
        "recall_from_5_db": _share(tops["event"][snrs_db >= 5.0] > threshold),
        "recall_by_snr_db": {f"{db:g}": _share(tops["event"][snrs_db == db] > threshold) for db in EVENT_SNRS_DB},
        "recall_by_class": {n: _share(tops["event"][names == n] > threshold) for n in sorted(set(names.tolist()))},
        "shams_above": _share(tops["sham"] > threshold),
        "preset": {
            "recall": _share(tops["event"] > preset),
            "shams_above": _share(tops["sham"] > preset),
            "false_alerts_per_hour": sum(peak > preset for peak in peaks(still)) * HOUR_S / len(still),
        },
    }


def _share(found: Flags) -> float | None:
    """None where there was nothing to be found."""
    return float(found.mean()) if found.size else None


def _untouched(scores: Float64, events: Sequence[PlacedSound]) -> Float64:
    """What the highest score of as long a stretch of the normal hour is, for each event several times."""
    random = np.random.default_rng(0)
    lengths_s = np.repeat([event.end_s - event.start_s for event in events], DRAWS_PER_EVENT)
    starts_s = random.uniform(0.0, len(scores) - 10.0, len(lengths_s))
    return np.array([_top(scores, s, s + length) for s, length in zip(starts_s, lengths_s, strict=True)])


def _top(scores: Float64, start_s: float, end_s: float) -> float:
    """The highest score of the windows that overlap ``[start_s, end_s)``."""
    return float(scores[max(0, int(np.floor(start_s)) - 1) : max(1, int(np.ceil(end_s)))].max())


def _auc(normal: Float64, unusual: Float64) -> float:
    flags = np.repeat([False, True], [len(normal), len(unusual)])
    return auc(np.concatenate([normal, unusual]), flags)


def _means(reports: Sequence[Any]) -> Any:
    """The same tree with the mean of each number; a part that only some have is the mean over those."""
    first = reports[0]
    if not isinstance(first, Mapping):
        known = [report for report in reports if report is not None]
        return float(np.mean(known)) if known else None
    keys = dict.fromkeys(key for report in reports for key in report)
    return {key: _means([report[key] for report in reports if key in report]) for key in keys}


def _first(clip: Float32, share: float) -> Float32:
    return clip[: int(share * clip.size)]


def _rest(clip: Float32, share: float) -> Float32:
    return clip[int(share * clip.size) :]


def _unsteadiness(clip: Float32) -> float:
    """Standard deviation in dB of the level in tenths of a second."""
    tenths = clip[: clip.size // 1600 * 1600].reshape(-1, 1600)
    return float(np.std(10.0 * np.log10(np.square(tenths).mean(axis=1) + 1e-10)))


def _class_of(stem: str) -> str:
    """UrbanSound's names are recording-class-occurrence-slice."""
    parts = stem.split("-")
    return parts[1] if len(parts) > 1 else ""


def _spoken(stem: str) -> str:
    return EVENT_CLASSES.get(_class_of(stem), stem)
