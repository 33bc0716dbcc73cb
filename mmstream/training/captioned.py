"""Small scenes that know what they show, and everything that can truly be said of them in a sentence.

What is learned on some and asked about others must not hang on the walls or on single combinations: scenes to learn
from and scenes to be tested on have no layout in common, and `HELD_OUT` (a colour of each kind) is in the latter only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PLACES = ("street", "yard", "park", "platform", "hall")
LIGHTS = ("day", "dusk", "night")
VEHICLES = ("car", "bus", "lorry")
ACTIONS = ("walking", "running", "lying", "fighting")
COLOURS = ("red", "blue", "green", "yellow", "white", "black")
HAZARDS = ("smoke", "fire")
HELD_OUT = frozenset({("car", "yellow"), ("bus", "green"), ("lorry", "red"), ("person", "blue")})
"""(kind, colour) that nothing is ever trained on."""

NUM_TRAIN_LAYOUTS = 2000
_TEST_LAYOUT = 1_000_000
"""Layouts from here on are for testing."""

_ZH = {
    "street": "街道上",
    "yard": "院子里",
    "park": "公园里",
    "platform": "站台上",
    "hall": "大厅里",
    "day": "白天",
    "dusk": "黄昏",
    "night": "夜里",
    "car": "汽车",
    "bus": "公交车",
    "lorry": "卡车",
    "walking": "有人走路",
    "running": "有人跑步",
    "lying": "有人躺在地上",
    "fighting": "有人打架",
    "red": "红色",
    "blue": "蓝色",
    "green": "绿色",
    "yellow": "黄色",
    "white": "白色",
    "black": "黑色",
    "smoke": "冒烟",
    "fire": "着火",
    "hazard": "冒烟或着火",
}
_EN = {
    "walking": "a person{} walking",
    "running": "a person{} running",
    "lying": "a person{} lying on the ground",
    "fighting": "two people fighting",
    "smoke": "smoke",
    "fire": "fire",
    "hazard": "smoke or fire",
}
_OPENINGS = ("", "", "a picture of ", "a photo of ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A vehicle, or people who do something."""

    kind: str
    """One of `VEHICLES`, or ``person``."""
    colour: str
    action: str = ""
    """Of people: one of `ACTIONS`."""

    @property
    def facts(self) -> tuple[str, ...]:
        """From what anybody says to what one would add: what it is, and of what colour."""
        name = self.action or self.kind
        return (name,) if name == "fighting" else (name, f"{self.colour} {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a picture shows; the same scene is always drawn alike."""

    layout: int
    """Of the place: which walls, trees and lines."""
    place: str
    light: str
    subjects: tuple[Subject, ...]
    hazard: str
    seed: int
    """Where everything stands, and the noise."""

    @property
    def facts(self) -> frozenset[str]:
        """Everything that a caption can truly say of it."""
        found = {self.place, self.light, *(fact for subject in self.subjects for fact in subject.facts)}
        found |= {self.hazard, "hazard"} if self.hazard else set()
        return frozenset(found if self.subjects or self.hazard else found | {"empty"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A sentence, and the facts that it states."""

    text: str
    facts: frozenset[str]


def make_scene(
    rng: np.random.Generator,
    *,
    test: bool = False,
    layout: int | None = None,
    ordinary: bool = False,
) -> Scene:
    """A scene with up to two subjects; ``ordinary``: nobody lies, fights or runs, nothing burns.

    ``layout`` (any number) fixes the camera: its place and its walls.
    """
    number = int(rng.integers(NUM_TRAIN_LAYOUTS)) if layout is None else layout
    number += _TEST_LAYOUT if test else 0
    subjects = tuple(_subject(rng, test=test, ordinary=ordinary) for _ in range(rng.choice(3, p=(0.12, 0.64, 0.24))))
    hazard = "" if ordinary else str(rng.choice(["", *HAZARDS], p=(0.76, 0.12, 0.12)))
    return Scene(
        layout=number,
        place=PLACES[number % len(PLACES)],
        light=str(rng.choice(LIGHTS)),
        subjects=subjects,
        hazard=hazard,
        seed=int(rng.integers(2**31)),
    )


def caption_of(rng: np.random.Generator, scene: Scene) -> Caption:
    """One thing that somebody might say of it: one to three of its facts, in English or (a quarter) in Chinese."""
    seen = [subject.facts[rng.integers(len(subject.facts))] for subject in scene.subjects]
    if scene.hazard:
        seen.append(scene.hazard if rng.random() < 0.7 else "hazard")
    seen = list(dict.fromkeys(seen or ["empty"]))
    rng.shuffle(seen)
    about = rng.random()
    place = scene.place if about < 0.2 else ""
    light = scene.light if 0.12 < about < 0.3 else ""
    chosen = seen[: 0 if about < 0.1 else 1 if rng.random() < 0.65 else 2]
    facts = frozenset(chosen) | ({place, light} - {""})
    if rng.random() < 0.25:
        return Caption(text=chinese(chosen, place, light), facts=facts)
    return Caption(text=str(rng.choice(_OPENINGS)) + english(chosen, place, light), facts=facts)


def facts_of(items: Sequence[Scene] | Sequence[Caption], names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(N, F): which of the facts each scene shows, or each caption states."""
    found: npt.NDArray[np.bool_] = np.array([[name in facts for name in names] for facts in (i.facts for i in items)])
    return found


def entailed(shown: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(N, F) and (M, F) -> (N, M): whether every fact that caption j states is shown by scene i."""
    lacking = (~shown).astype(np.float32) @ said.T.astype(np.float32)
    result: npt.NDArray[np.bool_] = lacking < 0.5
    return result


def truth(scenes: Sequence[Scene], captions: Sequence[Caption]) -> npt.NDArray[np.bool_]:
    """(N, M): whether caption j is true of scene i."""
    names = sorted({fact for caption in captions for fact in caption.facts})
    return entailed(facts_of(scenes, names), facts_of(captions, names))


def english(facts: Sequence[str], place: str = "", light: str = "") -> str:
    """
    >>> english(["red car", "running"], "yard", "night")
    'a red car and a person running in the yard at night'
    >>> english([], "park")
    'a scene in the park'
    """
    parts = [_english(fact) for fact in facts] or ["a scene"]
    where = f" in the {place}" if place else ""
    return " and ".join(parts) + where + (f" at {light}" if light else "")


def chinese(facts: Sequence[str], place: str = "", light: str = "") -> str:
    """
    >>> chinese(["red car", "running"], "yard", "night")
    '夜里院子里有一辆红色的汽车和有人跑步'
    """
    said = "和".join(_chinese(fact) for fact in facts) or "的画面"
    return f"{_ZH.get(light, '')}{_ZH.get(place, '')}{said}"


def _english(fact: str) -> str:
    colour, _, name = fact.rpartition(" ")
    if name == "empty":
        return "an empty scene"
    if name in _EN:
        return _EN[name].format(f" in {colour}" if colour else "")
    return f"a {colour} {name}" if colour else f"a {name}"


def _chinese(fact: str) -> str:
    colour, _, name = fact.rpartition(" ")
    if name == "empty":
        return "空无一人"
    if name in VEHICLES:
        return f"有一辆{_ZH[colour]}的{_ZH[name]}" if colour else f"有一辆{_ZH[name]}"
    return f"穿{_ZH[colour]}衣服的{_ZH[name]}" if colour else _ZH[name]


def _subject(rng: np.random.Generator, *, test: bool, ordinary: bool) -> Subject:
    while True:
        kind = str(rng.choice(["person", "person", *VEHICLES]))
        colour = str(rng.choice(COLOURS))
        if test or (kind, colour) not in HELD_OUT:
            break
    if kind != "person":
        return Subject(kind=kind, colour=colour)
    return Subject(kind=kind, colour=colour, action="walking" if ordinary else str(rng.choice(ACTIONS)))
