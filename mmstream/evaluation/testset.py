"""``mmstream eval make``: a camera's day made from its normal clips, with known events, shams and untouched stretches.

Everything is decoded, edited, and encoded once with the same settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from mmstream.config import BudgetSection
from mmstream.errors import ConfigError
from mmstream.evaluation import compose
from mmstream.evaluation.compose import RATE_HZ, Composition, Material
from mmstream.evaluation.manifest import Event, EventModality, JudgedFeed, Manifest, Untouched
from mmstream.evaluation.material import FPS, recordings_in
from mmstream.evaluation.plan import Item, plan
from mmstream.evaluation.shots import LEAD_S, Shot, Shots
from mmstream.evaluation.sound import EVENT_CLASSES, ORDINARY_CLASSES, read_sounds
from mmstream.evaluation.video import Labels
from mmstream.sources.writing import RecordingWriter
from mmstream.types import Float32

Note = Callable[[str, float], None]
EVERY_S = 600.0
"""One event or sham in so much time. With one in every 80 s a quarter of all blocks held one: what comes so often is
usual, and each hid the next."""
BUDGET = BudgetSection(alerts_per_camera_per_day=120.0, block_s=60.0, warmup_s=300.0)
"""Room for what is put in (108 events a day) and for half a false alert an hour: a budget counts both."""


@dataclass(slots=True, kw_only=True)
class Written:
    """What is in the judged recording."""

    events: list[Event] = field(default_factory=list)
    untouched: list[Untouched] = field(default_factory=list)


def make_test_set(
    normal: Path,
    out: Path,
    *,
    audio: Path | None = None,
    unusual: Path | None = None,
    labels: Path | None = None,
    learn_s: float = 3600.0,
    judge_s: float = 7200.0,
    every_s: float = EVERY_S,
    seed: int = 0,
    unseen: bool = False,
    note: Note = lambda name, share: None,  # noqa: ARG005
) -> Path:
    """Write ``learn.mp4``, ``judge.mp4`` and ``manifest.yaml`` to ``out``; -> the manifest. ``unseen``: see `Shots`.

    Raises:
        ConfigError: a folder does not hold what it should.
        SourceError: a file cannot be read.
    """
    random = np.random.default_rng(seed)
    shots = Shots(recordings_in(normal), random, unseen=unseen)
    sounds = _by_class(read_sounds(audio)) if audio is not None else None
    real = _labelled(unusual, labels)
    feed = JudgedFeed(id=_feed_id(normal), learn=(Path("learn.mp4"),), judge=Path("judge.mp4"))
    maker = _Maker(shots, sounds, real, feed.id, random, every_s)
    out.mkdir(parents=True, exist_ok=True)
    maker.write(out / "learn.mp4", learn_s, (), seed=seed * 2 + 1, note=note)
    items = plan(round(judge_s / every_s), sounds, len(real), random)
    written = maker.write(out / "judge.mp4", judge_s, items, seed=seed * 2 + 2, note=note)
    manifest = Manifest(budget=BUDGET, feeds=(feed,), events=tuple(written.events), untouched=tuple(written.untouched))
    path = out / "manifest.yaml"
    plain = manifest.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(plain, sort_keys=False, width=120), encoding="utf-8")
    return path


class _Maker:
    """Writes one recording after another from the same material."""

    def __init__(
        self,
        shots: Shots,
        sounds: Material | None,
        real: Sequence[tuple[Path, int, int]],
        feed_id: str,
        random: np.random.Generator,
        every_s: float,
    ) -> None:
        self._every_s = every_s
        self._shots = shots
        self._sounds = sounds
        self._real = real
        self._feed_id = feed_id
        self._random = random

    def write(self, path: Path, length_s: float, items: Sequence[Item], *, seed: int, note: Note) -> Written:
        """Normal shots, and each item in a stretch of its own. Without items: to be learned."""
        composition = None
        if self._sounds is not None:
            composition = Composition(self._sounds, duration_s=length_s + 2 * self._every_s, seed=seed)
        written = Written()
        waiting = list(items)
        due_s = self._due_s(0)
        rate_hz = RATE_HZ if composition is not None else 0
        with RecordingWriter(path, size_px=self._shots.size_px, fps=FPS, rate_hz=rate_hz) as writer:
            while writer.length_s < length_s or waiting:
                at_s = writer.length_s
                note(path.name, min(1.0, at_s / length_s))
                if waiting and at_s >= due_s:
                    item = waiting.pop(0)
                    due_s = self._due_s(len(items) - len(waiting))
                    shot = self._shot(item)
                    sound = self._sound(composition, item, at_s, shot)
                    written.events.append(self._event(item, shot, at_s))
                else:
                    shot = self._shots.normal(judged=bool(items))
                    sound = composition.render(at_s, at_s + _length_s(shot)) if composition else None
                    first_s, last_s = at_s + shot.first / FPS, at_s + shot.last / FPS
                    written.untouched.append(self._untouched("picture", first_s, last_s))
                for picture in shot.pictures:
                    writer.picture(picture)
                if sound is not None:
                    writer.sound(sound)
        written.untouched = self._kept(written, composition)
        return written

    def _due_s(self, number: int) -> float:
        return self._every_s * (number + float(self._random.uniform(0.3, 0.4)))

    def _shot(self, item: Item) -> Shot:
        if item.unusual is not None:
            return self._shots.of_clip(*self._real[item.unusual])
        if item.edit:
            return self._shots.edited(item.edit, item.magnitude if item.magnitude is not None else 1.0)
        return self._shots.normal(judged=True)

    def _sound(self, composition: Composition | None, item: Item, at_s: float, shot: Shot) -> Float32 | None:
        if composition is None or self._sounds is None:
            return None
        bed = composition.render(at_s, at_s + _length_s(shot))
        if not item.sound:
            return bed
        clips = self._sounds.ordinary if item.sham else self._sounds.events
        snr_db = float(self._random.uniform(*compose.ORDINARY_SNR_DB)) if item.sham else item.snr_db
        wet = compose.in_room(
            compose.respeed(clips[item.sound], 1.0 + self._random.uniform(-compose.SPEED, compose.SPEED)),
            self._random,
        )
        first = round(shot.first / FPS * RATE_HZ)
        wet = wet[: len(bed) - first]
        mixed = bed.copy()
        mixed[first : first + len(wet)] += compose.at_snr(wet, bed[first : first + len(wet)], snr_db)
        return mixed

    def _event(self, item: Item, shot: Shot, at_s: float) -> Event:
        first_s, last_s = at_s + shot.first / FPS, at_s + shot.last / FPS
        if item.modality == "sound" and self._sounds is not None:
            clips = self._sounds.ordinary if item.sham else self._sounds.events
            last_s = min(at_s + _length_s(shot), first_s + len(clips[item.sound]) / RATE_HZ)
        return Event(
            feed=self._feed_id,
            start_s=round(first_s, 2),
            end_s=round(last_s, 2),
            type=item.type,
            modality=item.modality,
            magnitude=item.magnitude,
            sham=item.sham,
        )

    def _untouched(self, modality: EventModality, start_s: float, end_s: float) -> Untouched:
        return Untouched(feed=self._feed_id, start_s=round(start_s, 2), end_s=round(end_s, 2), modality=modality)

    def _kept(self, written: Written, composition: Composition | None) -> list[Untouched]:
        """Away from every event: the aftermath of one must not count as ordinary."""
        found = list(written.untouched)
        if composition is not None:
            last_s = max((item.end_s for item in found), default=0.0)
            found += [self._untouched("sound", p.start_s, p.end_s) for p in composition.placed if p.end_s <= last_s]
        away_s = 10.0
        return [
            item
            for item in found
            if all(item.end_s + away_s < e.start_s or item.start_s - away_s > e.end_s for e in written.events)
        ]


def _labelled(unusual: Path | None, labels: Path | None) -> list[tuple[Path, int, int]]:
    """(clip, first, last) of every labelled stretch that is long enough to be seen."""
    if unusual is None or labels is None:
        if unusual is not None or labels is not None:
            raise ConfigError("--unusual and --labels belong together: clips, and which of their frames are unusual")
        return []
    ranges = Labels.read(labels).ranges
    found = [
        (clip, first - 1, last)
        for clip in recordings_in(unusual)
        for first, last in ranges.get(clip.stem, ())
        if last - first >= LEAD_S * FPS
    ]
    if not found:
        raise ConfigError(f"{labels} marks nothing in the clips of {unusual}; clips are named without their ending")
    return found


def _by_class(sounds: Material) -> Material:
    """UrbanSound clips are named ``100032-3-0-0``: called by their class, so that results are too."""
    classes = {code: name.replace(" ", "_") for code, name in (EVENT_CLASSES | ORDINARY_CLASSES).items()}

    def named(clips: Mapping[str, Float32]) -> dict[str, Float32]:
        known = {clip: classes.get(clip.partition("-")[2].partition("-")[0], clip) for clip in clips}
        alone = len(set(known.values())) == len(known)
        return {known[clip] if alone else clip: samples for clip, samples in clips.items()}

    return Material(beds=sounds.beds, ordinary=named(sounds.ordinary), events=named(sounds.events))


def _feed_id(normal: Path) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in normal.absolute().stem).strip("-")
    return name[:64] or "camera"


def _length_s(shot: Shot) -> float:
    return len(shot.pictures) / FPS
