"""What happens out of the ordinary in a rendered scene, and when: the scripts."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SCRIPT_PAGE_S = 60.0
"""A script is asked for so many seconds at a time."""

Script = Callable[[str, float], Sequence["ScriptedEvent"]]
"""``script(scene_name, at_s)`` -> the events of that scene that start in
``[at_s, at_s + SCRIPT_PAGE_S)``, in order. Times count from the scene's own start."""


@dataclass(frozen=True)
class ScriptedEvent:
    """One unusual thing, in seconds since the scene's own start."""

    kind: str
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.start_s < self.end_s:
            raise ValueError(f"event {self.kind!r}: want 0 <= start_s < end_s, got [{self.start_s}, {self.end_s})")

    def covers(self, at_s: float) -> bool:
        return self.start_s <= at_s < self.end_s


class _Plan(NamedTuple):
    first_s: float
    kinds: tuple[tuple[str, float], ...]
    """(kind, how long it takes), in turn."""


DEMO_PLANS: Mapping[str, _Plan] = {
    "dock": _Plan(20.0, (("crash", 5.0),)),
    "junction": _Plan(30.0, (("wrong_way", 5.5),)),
    "walkway": _Plan(60.0, (("runner", 7.5), ("cyclist", 7.5))),
    "yard": _Plan(90.0, (("lights_out", 8.0),)),
}
DEMO_PERIOD_S = 240.0
DEMO_JITTER_S = 30.0
"""Two events of one scene are DEMO_PERIOD_S -+ 2 DEMO_JITTER_S apart: three to five minutes."""


def quiet_script(_scene_name: str, _at_s: float) -> Sequence[ScriptedEvent]:
    """Nothing ever happens."""
    return ()


def demo_script(scene_name: str, at_s: float) -> Sequence[ScriptedEvent]:
    """One event per scene every three to five minutes for ever, staggered over the scenes.

    >>> demo_script("dock", 0.0)
    [ScriptedEvent(kind='crash', start_s=20.0, end_s=25.0)]
    """
    plan = DEMO_PLANS[scene_name]
    lowest = max(0, math.floor((at_s - plan.first_s - DEMO_JITTER_S) / DEMO_PERIOD_S))
    highest = math.ceil((at_s + SCRIPT_PAGE_S - plan.first_s + DEMO_JITTER_S) / DEMO_PERIOD_S)
    events = (_demo_event(scene_name, plan, k) for k in range(lowest, highest + 1))
    return [event for event in events if at_s <= event.start_s < at_s + SCRIPT_PAGE_S]


def _demo_event(scene_name: str, plan: _Plan, k: int) -> ScriptedEvent:
    """The k-th event of a scene: a pure function, so that pages can be asked for in any order."""
    kind, duration_s = plan.kinds[k % len(plan.kinds)]
    jitter_s = 0.0
    if k > 0:
        rng = np.random.default_rng([zlib.crc32(scene_name.encode()), k])
        jitter_s = float(rng.uniform(-DEMO_JITTER_S, DEMO_JITTER_S))
    start_s = plan.first_s + k * DEMO_PERIOD_S + jitter_s
    return ScriptedEvent(kind, start_s, start_s + duration_s)


SCRIPTS: Mapping[str, Script] = {"demo": demo_script, "quiet": quiet_script}
