"""Do rules stay within their budget on cameras where nothing of the kind happens, and notice it when it does?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmstream.alerts.levels import DAY_S
from mmstream.config import BudgetSection, RuleConfig
from mmstream.evaluation.metrics import poisson_interval
from mmstream.rules.resemblance import TextVectors
from mmstream.rules.watch import CHANNEL, RuleWatch
from mmstream.training.captioned import LIGHTS, Scene, Subject, make_scene
from mmstream.training.drawn import draw_all
from mmstream.types import Alert, AlignedWindow, Embedding, Float32

if TYPE_CHECKING:
    from mmstream.encoders.vision import PretrainedVisionEncoder

STEP_S = 10.0
"""Windows are made this long here: a day is 8640 of them."""
STAYS_S = 60.0
"""A scene stays for so long on average before the next one."""
JITTER, JITTER_MEMORY = 0.06, 0.9
"""What a vector trembles by, and how much of it is left in the next window."""

EVENT_S = 90.0
EVENT_EVERY_S = 3600.0
_START_S = 1_700_006_400.0

CASES: Mapping[str, tuple[str, str, str]] = {
    "fire": ("smoke or fire", "", "fire"),
    "lying": ("a person lying on the ground", "lying", ""),
    "fight": ("有人打架", "fighting", ""),
}
"""Rule -> (its text, the action and the hazard of an event of the kind)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSize:
    num_cameras: int = 10
    learn_days: int = 1
    days: int = 5
    alerts_per_day: float = 2.0
    num_backgrounds: int = 150
    """Pictures of each camera's ordinary life, drawn once, seen again and again."""


class _Camera:
    """An endless ordinary life of one camera: pictures by the light of the hour, each with a tremble of its own."""

    def __init__(self, encoder: PretrainedVisionEncoder, layout: int, size: BudgetSize, seed: int) -> None:
        self._rng = rng = np.random.default_rng((seed, layout))
        scenes = [make_scene(rng, test=True, layout=layout, ordinary=True) for _ in range(size.num_backgrounds)]
        vectors = encoder.encode(draw_all(scenes))
        self._by_light = {light: vectors[[scene.light == light for scene in scenes]] for light in LIGHTS}
        self.events = {name: encoder.encode(draw_all(_events(rng, layout, name))) for name in CASES}
        self._shown, self._noise = vectors[0], np.zeros(vectors.shape[1])

    def vector(self, at_s: float, event: str = "") -> Float32:
        rng = self._rng
        if event or rng.random() < STEP_S / STAYS_S:
            choice = self.events[event] if event else self._by_light[_light(at_s)]
            self._shown = choice[rng.integers(len(choice))]
        fresh = rng.normal(0.0, JITTER / np.sqrt(len(self._noise)), len(self._noise))
        self._noise = JITTER_MEMORY * self._noise + np.sqrt(1 - JITTER_MEMORY**2) * fresh
        seen = self._shown + self._noise
        return np.asarray(seen / np.linalg.norm(seen), np.float32)


def keep_budget(
    encoder: PretrainedVisionEncoder, size: BudgetSize, *, seed: int, note: Callable[[int, int], None]
) -> dict[str, Any]:
    """Days of several cameras through `RuleWatch`: -> alerts per rule, camera and day once calibrated, with the exact
    interval of that rate, beside the budget; then an event an hour, for a day: how many open an alert of the rule."""
    texts = TextVectors()
    texts.want([text for text, _, _ in CASES.values()])
    texts.expect(encoder.model)
    wanted = texts.missing()[1]
    texts.put(encoder.model, wanted, encoder.encode_words(wanted))
    rules = [
        RuleConfig(name=name, looks_like=text, alerts_per_day=size.alerts_per_day)
        for name, (text, _, _) in CASES.items()
    ]
    opened: dict[str, list[int]] = {name: [] for name in CASES}
    most_told = 0
    noticed = {name: [0, 0] for name in CASES}
    for number in range(size.num_cameras):
        note(number, size.num_cameras)
        camera = _Camera(encoder, number, size, seed)
        watch = RuleWatch(f"camera-{number}", budget=BudgetSection(), vectors=texts)
        watch.follow(rules)
        learned_s = _START_S + size.learn_days * DAY_S
        _live(watch, camera, encoder.model, _START_S, learned_s)
        ended_s = learned_s + size.days * DAY_S
        alerts = _live(watch, camera, encoder.model, learned_s, ended_s)
        for name in CASES:
            mine = [alert for alert in alerts if alert.cause == name and alert.state == "open"]
            opened[name].append(len(mine))
            most_told = max(most_told, sum(not alert.suppressed for alert in mine))
            _count_events(watch, camera, encoder.model, name, ended_s, noticed[name])
            ended_s += DAY_S
    return _report(size, opened, most_told, noticed)


def _report(
    size: BudgetSize, opened: Mapping[str, list[int]], most_told: int, noticed: Mapping[str, list[int]]
) -> dict[str, Any]:
    total = sum(map(sum, opened.values()))
    days = size.num_cameras * size.days * len(CASES)
    low, high = poisson_interval(total)
    cap = size.alerts_per_day * (size.learn_days + size.days) + max(2.0, 2 * size.alerts_per_day)
    return {
        "nominal_per_day": size.alerts_per_day,
        "alerts_per_day": total / days,
        "alerts_per_day_95": [low / days, high / days],
        "camera_days": days,
        "within": low / days <= size.alerts_per_day,
        "by_rule": {name: sum(counts) / (size.num_cameras * size.days) for name, counts in opened.items()},
        "most_told_of_one_rule_and_camera": most_told,
        "cap": cap,
        "event_recall": {name: found / count for name, (found, count) in noticed.items()},
    }


def _live(
    watch: RuleWatch,
    camera: _Camera,
    model: str,
    start_s: float,
    end_s: float,
    event_at: Callable[[float], str] = lambda _at_s: "",
) -> list[Alert]:
    alerts = []
    for at_s in np.arange(start_s, end_s, STEP_S).tolist():
        seen = Embedding(
            feed_id="",
            start_s=at_s,
            end_s=at_s + STEP_S,
            channel=CHANNEL,
            vector=camera.vector(at_s, event_at(at_s)),
            model=model,
        )
        alerts += watch.push(AlignedWindow(feed_id="", start_s=at_s, end_s=at_s + STEP_S, embeddings=(seen,)), "")
    return alerts


def _count_events(watch: RuleWatch, camera: _Camera, model: str, name: str, start_s: float, counts: list[int]) -> None:
    """An event at the end of every hour of a day; an alert counts whether the bucket let it be told or not."""

    def event_at(at_s: float) -> str:
        return name if (at_s - start_s) % EVENT_EVERY_S >= EVENT_EVERY_S - EVENT_S else ""

    alerts = _live(watch, camera, model, start_s, start_s + DAY_S, event_at)
    opened_s = [alert.start_s for alert in alerts if alert.cause == name and alert.state == "open"]
    for hour in range(int(DAY_S / EVENT_EVERY_S)):
        ended_s = start_s + (hour + 1) * EVENT_EVERY_S
        counts[0] += any(ended_s - EVENT_S - STEP_S <= at_s < ended_s for at_s in opened_s)
        counts[1] += 1


def _events(rng: np.random.Generator, layout: int, name: str) -> list[Scene]:
    """Pictures of what the rule is after, at all hours."""
    _, action, hazard = CASES[name]
    found = []
    for _ in range(30):
        scene = make_scene(rng, test=True, layout=layout, ordinary=True)
        subjects = (
            (*scene.subjects[:1], Subject(kind="person", colour="red", action=action)) if action else scene.subjects
        )
        found.append(
            Scene(
                layout=scene.layout,
                place=scene.place,
                light=scene.light,
                subjects=subjects,
                hazard=hazard,
                seed=scene.seed,
            )
        )
    return found


def _light(at_s: float) -> str:
    hour = at_s % DAY_S / 3600.0
    return "night" if hour < 6 or hour >= 21 else "dusk" if hour < 8 or hour >= 19 else "day"
