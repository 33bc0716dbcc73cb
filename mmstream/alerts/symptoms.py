"""What a camera's `Condition` shows to be wrong, against what is usual on this camera."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.alerts.usual import Usual
from mmstream.alerts.views import Views
from mmstream.types import Condition, HealthCause, UInt8

PICTURE_CAUSES: tuple[HealthCause, ...] = ("black", "covered", "blurred", "frozen", "moved")

SILENT_S = 10.0
HOLD_S: Mapping[HealthCause, float] = {
    "offline": 0.0,
    "frozen": 0.0,
    "black": 11.0,
    "covered": 6.0,
    "blurred": 9.0,
    "moved": 4.0,
    "mute": 8.0,
    "clipped": 8.0,
    "clock": 8.0,
}
"""From the first window that shows it to the alert. A window shows what began up to three seconds before; those with
less hold are measured over several seconds already."""
QUIETER_HOLD_S = 60.0
SETTLED_S = 600.0
"""A new view that has stayed for so long is where the camera looks now."""

LOSES_VIEW: frozenset[HealthCause] = frozenset({"black", "covered", "blurred", "frozen"})

BLACK_LEVEL = 20.0
FEW = 0.3
"""Of this camera's usual sharpness: what a cloth before the lens or a lost focus leaves."""
UNLIKE = 0.5
SCENE_LEFT = 0.35
STILL_S = 8.0
"""Between key pictures up to 4 s apart: with what passed before the first, the picture has stood for 10 s or so."""
QUIET_DB = -90.0
QUIETER_DB = 20.0
AUDIBLE_DB = -70.0
"""A microphone that is usually quieter than this has never been heard."""
CLIPPED_SHARE = 0.02
CLOCK_OFF_S = 10.0

Measure = str
MEASURES: Mapping[Measure, Callable[[Condition], float | None]] = {
    "brightness": lambda c: c.brightness,
    "contrast": lambda c: c.contrast,
    "entropy": lambda c: c.entropy_bits,
    "sharpness": lambda c: c.sharpness,
    "fineness": lambda c: _fineness(c),
    "change": lambda c: c.change,
}


class Symptoms:
    """Rules over single `Condition`s. Relative to this camera's own last hour, per scene and per mode: night comes
    slowly and becomes usual, and an infrared picture is compared with infrared pictures."""

    def __init__(self) -> None:
        self._usual: dict[str, dict[Measure, Usual]] = {}
        """By scene and mode."""
        self._level = Usual()
        self.views = Views()
        self.num_strange = 0
        self.home: int | None = None
        """Where the camera looked before it was moved; None while it looks where it should."""
        self.settling_s = 0.0
        self._absent_until_s = float("-inf")
        """While nothing came no picture stood: a camera that comes back with the same picture is not frozen."""

    def tellable(self, c: Condition) -> set[HealthCause]:
        """The causes that this condition says anything about, for or against."""
        told: set[HealthCause] = {"offline"}
        if c.no_picture_s > 0:
            told |= {"frozen"}
        if c.brightness is not None:
            told |= {"black", "covered", "blurred", "frozen"}
        if c.view is not None:
            told |= {"moved"}
        if c.level_db is not None:
            told |= {"mute"}
        if c.clipped_share is not None:
            told |= {"clipped"}
        if c.clock_error_s is not None:
            told |= {"clock"}
        return told

    def findings(self, c: Condition, faults: Collection[HealthCause]) -> dict[HealthCause, float]:
        """Cause -> how long it must last; of the picture's causes the first that explains it."""
        found: dict[HealthCause, float] = {}
        if c.silent_s > 0:
            self._absent_until_s = c.end_s
        if c.silent_s >= SILENT_S and c.state not in ("paused", "ended"):
            found["offline"] = HOLD_S["offline"]
        if c.no_picture_s >= SILENT_S:
            found["frozen"] = HOLD_S["frozen"]
        if c.brightness is not None:
            lost = self._lost_picture(c)
            if lost is None and self._is_frozen(c):
                lost = "frozen"
            if lost is not None:
                found[lost] = HOLD_S[lost]
            if c.view is not None and self._is_moved(c.view, c, lost is not None or bool(LOSES_VIEW & set(faults))):
                found["moved"] = HOLD_S["moved"]
        quiet_hold_s = self._is_quiet(c)
        if quiet_hold_s is not None:
            found["mute"] = quiet_hold_s
        if c.clipped_share is not None and c.clipped_share >= CLIPPED_SHARE:
            found["clipped"] = HOLD_S["clipped"]
        if c.clock_error_s is not None and abs(c.clock_error_s) >= CLOCK_OFF_S:
            found["clock"] = HOLD_S["clock"]
        return found

    def learn(self, c: Condition, faults: Collection[HealthCause]) -> None:
        """What is usual is learned only from conditions without fault."""
        if c.brightness is not None and not set(faults) & set(PICTURE_CAUSES):
            usual = self._usual.setdefault(self._key(c), {name: Usual() for name in MEASURES})
            for name, measure in MEASURES.items():
                value = measure(c)
                if value is not None:
                    usual[name].push(value, c.end_s)
            if c.view is not None and self.num_strange == 0:
                self.views.learn(c.view, c.mode, c.end_s)
        if c.level_db is not None and c.level_db > QUIET_DB and not set(faults) & {"mute", "clipped"}:
            self._level.push(c.level_db, c.end_s)

    def moved(self, view: UInt8, c: Condition) -> None:
        """The camera has been turned: what it sees now may become its scene."""
        self.home = self.views.current
        self.views.begin(view, c.mode, c.end_s)
        self.settling_s = c.end_s
        known = self.views.numbers
        self._usual = {key: of for key, of in self._usual.items() if int(key.partition(" ")[0]) in known}

    def state(self) -> list[Any]:
        return [self.views.current, self.views.likeness, self.home, self.settling_s, self.num_strange]

    def load(self, state: list[Any]) -> None:
        self.views.current, self.views.likeness, self.home, self.settling_s, self.num_strange = state

    def learned(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays): what is usual, and the views."""
        record, arrays = self.views.state()
        usual = {key: {name: value.state() for name, value in of.items()} for key, of in self._usual.items()}
        return {"views": record, "usual": usual, "level": self._level.state()}, arrays

    def load_learned(self, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[np.float16]]) -> None:
        """Raises KeyError or ValueError when these are not what `learned` gave."""
        self.views.load(record["views"], arrays)
        self._usual = {key: {name: Usual(of.get(name, ())) for name in MEASURES} for key, of in record["usual"].items()}
        self._level = Usual(record["level"])

    def _key(self, c: Condition) -> str:
        return f"{self.views.current} {c.mode}"

    def _usually(self, c: Condition, measure: Measure) -> float | None:
        usual = self._usual.get(self._key(c), {}).get(measure)
        return usual.value if usual is not None else None

    def _lost_picture(self, c: Condition) -> HealthCause | None:
        """Black, covered or blurred, against what this camera usually sees in this mode."""
        values = [self._usually(c, name) for name in ("brightness", "contrast", "entropy", "sharpness", "fineness")]
        if None in values or c.brightness is None or c.sharpness is None:
            return None
        bright, contrast, entropy, sharp, fine = (value or 0.0 for value in values)
        like = c.likeness if c.likeness is not None else 1.0
        if c.brightness < BLACK_LEVEL and bright > 1.5 * BLACK_LEVEL and (c.contrast or 0.0) < FEW * contrast:
            return "black"
        if self.home is not None:
            return None  # of this view it is not known how sharp it should be
        collapsed = c.sharpness < FEW * sharp
        empty = (c.entropy_bits or 0.0) < 0.5 * entropy
        if (collapsed or empty) and like < UNLIKE and self.views.likeness < SCENE_LEFT:
            return "covered"
        lit = 0.6 * bright < c.brightness < 1.6 * bright and (c.contrast or 0.0) > 0.4 * contrast
        if collapsed and lit and like >= UNLIKE and _fineness(c) < 1.5 * FEW * fine:
            return "blurred"
        return None

    def _is_frozen(self, c: Condition) -> bool:
        """A sensor's noise makes even an empty night different from key picture to key picture."""
        usually = self._usually(c, "change")
        if c.still_s is None or c.change is None or min(c.still_s, c.end_s - self._absent_until_s) < STILL_S:
            return False
        return c.change == 0.0 if usually is None else c.change < 0.5 * usually

    def _is_moved(self, view: UInt8, c: Condition, lost: bool) -> bool:
        """Three views in a row that are not the scene's. Another known scene is no fault: a camera on its tour."""
        number = self.views.find(view, c.mode, c.end_s)
        if lost:
            return self.home is not None
        if self.home is not None:
            return self._settle(number, view, c)
        if number == self.views.current:
            self.num_strange = 0
            return False
        self.num_strange += 1
        if self.num_strange < 3:
            return False
        if number is not None:
            self.views.switch(number)
            self.num_strange = 0
            return False
        return True

    def _settle(self, number: int | None, view: UInt8, c: Condition) -> bool:
        """After a move: back where it was, still turning, or staying at a view that becomes the scene."""
        passing = self.views.current
        if number is None:
            self.views.replace(view, c.mode)
            self.settling_s = c.end_s
            return True
        if number != passing:
            self.views.switch(number)
            self.views.drop(passing)
        elif c.end_s - self.settling_s < SETTLED_S:
            # a knocked camera that slips back bit by bit must be recognised, too
            self.views.learn(view, c.mode, c.end_s)
            return True
        self.home, self.num_strange = None, 0
        return False

    def _is_quiet(self, c: Condition) -> float | None:
        lowest = self._level.lowest
        if c.level_db is None or lowest is None or lowest < AUDIBLE_DB:
            return None
        if c.level_db <= QUIET_DB:
            return HOLD_S["mute"]
        return QUIETER_HOLD_S if c.level_db < lowest - QUIETER_DB else None


def _fineness(c: Condition) -> float:
    """Sharpness for its contrast: a lamp that goes out takes both, a lost focus only the first."""
    if c.sharpness is None or c.contrast is None:
        return 0.0
    return c.sharpness / max(c.contrast, 1.0) ** 2
