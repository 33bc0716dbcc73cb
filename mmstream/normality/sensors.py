"""All the numeric sensors of one feed, each with what is normal for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from mmstream.normality.reference import P_FLOOR
from mmstream.normality.sensor import Fault, SensorModel
from mmstream.types import Evidence, Reading

MAX_SENSORS = 24
"""Per feed, so that what is known of them stays below 1.5 MB; readings of further ones are refused and counted."""

HEARD_S = 3.0
"""A reading speaks for so long: an alert wants two windows of three, and a sensor may say a thing once."""

CHANNEL = "sensor:"


class Sensors:
    """A `SensorModel` per sensor name: readings in, evidence out.

    Each reading is judged by all the earlier ones of its sensor and learned at once: unlike a picture
    it is one number among thousands, and the trackers move by a fiftieth of it. The evidence of the rarest
    reading of a sensor in the last ``HEARD_S`` counts. Sensors are joined by the harmonic mean of their
    p-values (Wilson, 2019), so that a hundred quiet ones do not hide the one that is not, and do not add up.
    """

    def __init__(self) -> None:
        self._models: dict[str, SensorModel] = {}
        self._heard: dict[str, list[tuple[float, float]]] = {}
        """Sensor -> (at_s, surprise) of the readings that still speak."""
        self.num_refused = 0

    def __len__(self) -> int:
        return len(self._models)

    @property
    def num_bad(self) -> int:
        """Readings that were no number."""
        return sum(model.num_bad for model in self._models.values())

    def weigh(self, readings: Sequence[Reading], end_s: float) -> list[Evidence]:
        """Judge and learn the new ``readings`` of a window that ends at ``end_s`` -> evidence per sensor."""
        for reading in readings:
            self._take(reading)
        evidence = []
        for sensor, heard in self._heard.items():
            heard[:] = [(at_s, surprise) for at_s, surprise in heard if at_s > end_s - HEARD_S]
            if heard:
                surprise = max(surprise for _, surprise in heard)
                p = min(1.0, max(P_FLOOR, math.pow(10.0, -surprise)))
                evidence.append(Evidence(channel=CHANNEL + sensor, modality="sensor", p=p, raw=surprise))
        return evidence

    def faults(self, now_s: float) -> dict[str, Fault]:
        """Sensor -> what is wrong with it; those in order are left out."""
        found = {sensor: model.fault(now_s) for sensor, model in self._models.items()}
        return {sensor: fault for sensor, fault in found.items() if fault}

    def state(self) -> tuple[list[str], dict[str, npt.NDArray[Any]]]:
        """-> (names, arrays): all that `load` takes back exactly, but for what still speaks."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for number, model in enumerate(self._models.values()):
            arrays |= {f"{number}.{name}": array for name, array in model.state().items()}
        return list(self._models), arrays

    def load(self, names: Sequence[str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of sensors."""
        self._models, self._heard = {}, {}
        for number, sensor in enumerate(names):
            prefix = f"{number}."
            model = SensorModel()
            model.load({k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)})
            self._models[sensor] = model

    def _take(self, reading: Reading) -> None:
        model = self._models.get(reading.sensor)
        if model is None:
            if len(self._models) >= MAX_SENSORS:
                self.num_refused += 1
                return
            model = self._models[reading.sensor] = SensorModel()
        num_bad = model.num_bad
        model.push(reading.start_s, reading.value)
        if model.shares and model.num_bad == num_bad:
            self._heard.setdefault(reading.sensor, []).append((reading.start_s, model.surprise))


def joined(evidence: Sequence[Evidence]) -> Evidence | None:
    """The sensors of one window as one piece of evidence; None without any.

    >>> rare = Evidence(channel="sensor:oil", modality="sensor", p=0.001)
    >>> usual = Evidence(channel="sensor:air", modality="sensor", p=0.5)
    >>> round(joined([rare, usual]).p, 4)
    0.002
    """
    if not evidence:
        return None
    p = len(evidence) / math.fsum(1.0 / item.p for item in evidence)
    return Evidence(channel="sensor", modality="sensor", p=min(1.0, p), raw=-math.log10(p))
