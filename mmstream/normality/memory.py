"""Everything one feed has learned, and when it may learn more."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.history import MIN_SCORES, History
from mmstream.normality.hours import CAPACITY, THIN
from mmstream.normality.lessons import Key, Lesson, SumKey, pack, under, unpack
from mmstream.normality.levelling import Levelling
from mmstream.normality.quarantine import Case, Quarantine
from mmstream.normality.reference import Reference
from mmstream.normality.sensors import Sensors, joined
from mmstream.stages import Neighbour
from mmstream.types import AlignedWindow, Channel, Embedding, Evidence, Float32, Mode
from mmstream.units import vector_of

LAG_S = 10.0
"""Windows are learned so much later: what leads up to an alert must not be in the bank that judges
it, and scores are then the same whether or not the last windows were held back."""

MAX_WAITING = 256
MAX_WAITING_BYTES = 512 * 1024
"""Windows waiting to be learned at most; beyond that every second one is dropped."""

MAX_LEARNED_AT_ONCE = 8
MAX_MODELS = 2
"""Models per channel and mode remembered side by side while one replaces another."""

SETTLED = 2048
"""Windows after which a new model needs its predecessor's memory no more."""

YOUNG = 4
"""While fewer than a quarter of what a channel has learned are sums with another one, which has just begun to speak, it
goes on speaking for both: what is not known of their sum yet must not silence it."""

EXPECTED = math.log10(math.e)
"""Mean of -log10 p of ordinary windows."""

TaughtState = Mapping[str, npt.NDArray[Any]]
NOTHING: Mapping[str, TaughtState] = {}

CONFIRMED_SURPRISE = 0.5
"""Added to the surprise of a window that is like an event which an operator has confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighed:
    """How rare one window is: by channel, and by aspect for fusion."""

    channels: tuple[Evidence, ...]
    aspects: tuple[Evidence, ...]
    lesson: Lesson
    bonus: float = 0.0
    """To be added to the fused surprise: the window is like a confirmed event."""


class Memory:
    """A `History` per channel, model and mode, and a `Reference` per aspect of several channels.

    Of the channels of one aspect the weighted sum of -log10 p is ranked again among this feed's own sums (a
    harmonic mean there loses to it: one badly calibrated channel decides). The sum is taken about
    its expectation, so that of three channels one that is missing from a window changes it little; a single one speaks
    for itself. Aspects are not summed: with seven channels in one sum, what showed in one of them drowned
    (`docs/benchmarks.md`).

    What a camera shows in infrared is learned apart from what it shows in colour; sound and words
    do not know the difference. Windows of alerts wait in quarantine for a verdict. Of words, what was said is
    judged and learned (`mmstream.units`), not the vector that their encoder gives for search.
    """

    def __init__(self, channels: Mapping[str, Channel], *, taught: Mapping[str, TaughtState] = NOTHING) -> None:
        """``taught``: channel -> `History.state` of what a fresh feed knows from the start."""
        self._channels = dict(channels)
        self._given = taught
        self._histories: dict[Key, History] = {}
        per_aspect = Counter(aspect_of(channel) for channel in channels.values())
        self._joined = {aspect for aspect, count in per_aspect.items() if count > 1}
        self._sums: dict[SumKey, Reference] = {}
        self._last: dict[str, Key] = {}
        """Channel -> the key of its newest vector."""
        self._adopted: list[Key] = []
        """Histories made in advance, whose model has not come yet."""
        self._waiting: deque[Lesson] = deque()
        self._quarantine = Quarantine()
        self._sensors = Sensors()
        self._levelling = Levelling()
        self.num_unknown = 0
        self.num_learned = 0

    @property
    def channels(self) -> Mapping[str, Channel]:
        """All that is measured, by name."""
        return self._channels

    def history(self, key: Key) -> History | None:
        """What is known of a channel under a model, if anything is."""
        return self._histories.get(key)

    def case(self, alert_id: str) -> Case | None:
        """The windows of an alert, while they are kept."""
        return self._quarantine.case(alert_id)

    def weigh(self, window: AlignedWindow) -> Weighed:
        """Judge a window by what has been learned so far; learn nothing yet."""
        parts = []
        evidence = []
        bonus = 0.0
        for embedding in window.embeddings:
            channel = self._channels.get(embedding.channel)
            if channel is None or not len(embedding.vector):
                self.num_unknown += 1
                continue
            if channel.normality == "rarity":
                embedding = dataclasses.replace(embedding, vector=vector_of(embedding.text))
            history = self._history(channel, embedding, window.mode)
            raw, p = history.weigh(embedding.vector, window.end_s)
            if history.is_confirmed(embedding.vector):
                bonus = CONFIRMED_SURPRISE
            else:
                parts.append((self._last[channel.name], embedding.vector, raw))
            if p is not None:
                evidence.append(_evidence(channel, embedding, p, raw))
        aspects, sums = self._by_aspect(evidence, window.mode)
        sensed = self._sensors.weigh(window.readings, window.end_s)
        together = joined(sensed)
        if together is not None:
            aspects.append(together)
        keys = [_sum_key(item, window.mode) for item in aspects]
        lesson = Lesson(
            start_s=window.start_s,
            end_s=window.end_s,
            parts=tuple(parts),
            sums=sums,
            heights=tuple((key, item.p) for key, item in zip(keys, aspects, strict=True)),
        )
        levelled = (
            dataclasses.replace(item, p=self._levelling.p(key, item.p)) for key, item in zip(keys, aspects, strict=True)
        )
        return Weighed(channels=(*evidence, *sensed), aspects=tuple(levelled), lesson=lesson, bonus=bonus)

    def neighbours(self, channel: str, vector: Float32, count: int) -> list[Neighbour]:
        """The ``count`` normal vectors most like this one, nearest first, in the encoder's own units; of the model
        and mode that the channel's newest window had. Nothing from a channel that remembers none."""
        key = self._last.get(channel)
        history = self._histories.get(key) if key is not None and key[2] == len(vector) else None
        return history.nearest(vector, count) if history is not None else []

    def keep(self, lesson: Lesson, *, hold: bool) -> None:
        """Queue a window's lesson; unless ``hold``, learn those that have waited `LAG_S`. How rare its aspects were
        counts at once and in any case: to leave out what was rare would make everything rare."""
        self._levelling.push(lesson.heights, lesson.end_s)
        self._waiting.append(lesson)
        if len(self._waiting) > MAX_WAITING or len(self._waiting) * lesson.num_bytes > MAX_WAITING_BYTES:
            self._waiting = deque(list(self._waiting)[::2])
        if hold:
            return
        for _ in range(MAX_LEARNED_AT_ONCE):
            if not self._waiting or abs(lesson.end_s - self._waiting[0].end_s) < LAG_S:
                break
            self._learn(self._waiting.popleft())
        for late in self._quarantine.due(lesson.end_s):
            self._learn(self._scored_anew(late))

    def go_on_hearing(self, other: Memory) -> None:
        """Another view, the same microphone and sensors: take over what ``other`` knows of all but the picture."""
        heard = {key: h for key, h in other._histories.items() if self._channels[key[0]].modality != "picture"}
        seen = {key: h for key, h in self._histories.items() if self._channels[key[0]].modality == "picture"}
        self._histories = seen | heard
        self._last |= {name: key for name, key in other._last.items() if key in heard}
        self._adopted = [key for key in self._adopted if key in seen] + [key for key in other._adopted if key in heard]
        self._sensors, self._given = other._sensors, other._given
        seen_in = {aspect_of(channel) for channel in self._channels.values() if channel.modality == "picture"}
        self._levelling.take_over(other._levelling, [key[0] for key in other._levelling if key[0] not in seen_in])

    def adopt(self, key: Key, state: TaughtState) -> bool:
        """A model that comes soon brings what is normal with it (`normality.adoption`): kept beside that of the model
        in use, from the model's first window on in its place. The same again, or less of it, changes nothing; False
        then, and where the channel is not measured.

        Raises:
            KeyError, ValueError: this is not the state of such a history.
        """
        if key[0] not in self._channels:
            return False
        history = History(self._channels[key[0]], key[2], key[3])
        history.load(state)
        known = self._histories.get(key)
        if known is not None and len(known) >= len(history):
            return False
        others = [other for other in self._others(key) if other != self._last.get(key[0])]
        spare = len(self._others(key)) + 1 - MAX_MODELS
        for forgotten in others[: max(0, spare)]:
            self._forget(forgotten)
        self._histories[key] = history
        self._adopted = [other for other in self._adopted if other != key] + [key]
        return True

    def learn_waiting(self) -> None:
        """Learn what still waits: the recording is over, and nothing can show any more that it was unusual."""
        while self._waiting:
            self._learn(self._waiting.popleft())

    def discard(self, from_s: float, alert_id: str) -> None:
        """Put the waiting windows that end after ``from_s`` in quarantine, under ``alert_id``."""
        held = [lesson for lesson in self._waiting if lesson.end_s > from_s]
        self._waiting = deque(lesson for lesson in self._waiting if lesson.end_s <= from_s)
        if held:
            self._quarantine.put(alert_id, held, held[-1].end_s)

    def absorb(self, alert_id: str) -> None:
        """The alert was false: what was seen in it is normal from now on. Nothing happens twice, nor without a case."""
        case = self._quarantine.case(alert_id)
        if case is None or case.fate == "absorbed":
            return
        for history in self._histories.values():
            history.unconfirm(alert_id)
        for history, vector, at_s in self._taught(case.lessons):
            history.absorb(vector, at_s)
        case.fate = "absorbed"

    def confirm(self, alert_id: str) -> None:
        """The alert was true: nothing like it is ever learned, and it stands out more the next time."""
        case = self._quarantine.case(alert_id)
        if case is None or case.fate == "confirmed":
            return
        if case.fate == "absorbed":
            for history, vector, _ in self._taught(case.lessons):
                history.forget(vector)
        for history, vector, at_s in self._taught(case.lessons):
            history.confirm(alert_id, vector, at_s)
        case.fate = "confirmed"

    def take_back(self, alert_id: str) -> None:
        """Nobody knows any more what the alert was: as before a verdict, as far as its windows are still kept."""
        case = self._quarantine.case(alert_id)
        if case is None:
            return
        if case.fate == "absorbed":
            for history, vector, _ in self._taught(case.lessons):
                history.forget(vector)
        for history in self._histories.values():
            history.unconfirm(alert_id)
        case.fate = ""

    def sizes(self) -> dict[str, int]:
        """Rows remembered, per channel (of the model and mode seen last)."""
        return {channel: self._histories[key].num_rows for channel, key in self._last.items() if key in self._histories}

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays): all that `load` takes back exactly."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        keys, sums = list(self._histories), list(self._sums)
        for number, history in enumerate(self._histories.values()):
            arrays |= {f"history{number}.{name}": array for name, array in history.state().items()}
        for number, reference in enumerate(self._sums.values()):
            arrays |= {f"sum{number}.{name}": array for name, array in reference.state().items()}
        waiting, arrays["waiting"] = pack(self._waiting, keys)
        quarantine, arrays["quarantine"] = self._quarantine.state(keys)
        sensors, sensor_arrays = self._sensors.state()
        levels, level_arrays = self._levelling.state()
        arrays |= {f"level.{name}": array for name, array in level_arrays.items()}
        arrays |= {f"sensor.{name}": array for name, array in sensor_arrays.items()}
        record = {
            "keys": keys,
            "last": self._last,
            "adopted": self._adopted,
            "sums": sums,
            "waiting": waiting,
            "quarantine": quarantine,
            "sensors": sensors,
            "levels": levels,
            "counts": [self.num_unknown, self.num_learned],
        }
        return record, arrays

    def load(self, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Channels that are configured no more are left out.

        Raises:
            KeyError, ValueError, IndexError: these are not the arrays of a memory.
        """
        keys: list[Key] = [(channel, model, dim, mode) for channel, model, dim, mode in record["keys"]]
        self._histories = {}
        for number, key in enumerate(keys):
            if key[0] in self._channels:
                self._histories[key] = History(self._channels[key[0]], key[2], key[3])
                self._histories[key].load(under(arrays, f"history{number}."))
        self._sums = {}
        for number, (aspect, mode) in enumerate(record["sums"]):
            if aspect in self._joined:
                self._sum(aspect, mode).load(under(arrays, f"sum{number}."))
        self._last = {channel: (key[0], key[1], key[2], key[3]) for channel, key in record["last"].items()}
        adopted = [(channel, model, dim, mode) for channel, model, dim, mode in record.get("adopted", ())]
        self._adopted = [key for key in adopted if key in self._histories]
        self._waiting = deque(unpack(record["waiting"], keys, arrays["waiting"]))
        self._quarantine.load(record["quarantine"], keys, arrays["quarantine"])
        self._sensors.load(record["sensors"], under(arrays, "sensor."))
        self._levelling.load(record.get("levels", ()), under(arrays, "level."))
        self.num_unknown, self.num_learned = record["counts"]

    def _history(self, channel: Channel, embedding: Embedding, mode: Mode) -> History:
        """The history that the vector belongs to; a new one takes the place of the oldest when there are too many."""
        of_mode: Mode = mode if channel.modality == "picture" else ""
        key: Key = (channel.name, embedding.model, len(embedding.vector), of_mode)
        self._last[channel.name] = key
        if self._adopted and key in self._adopted:
            self._adopted.remove(key)
        history = self._histories.get(key)
        if history is None:
            others = self._others(key)
            history = self._histories[key] = History(channel, key[2], of_mode)
            if channel.name in self._given:
                history.load(self._given[channel.name])
            for forgotten in others[: len(others) + 1 - MAX_MODELS]:
                self._forget(forgotten)
        return history

    def _forget(self, key: Key) -> None:
        del self._histories[key]
        if key in self._adopted:
            self._adopted.remove(key)

    def _others(self, key: Key) -> list[Key]:
        """The same channel in the same mode under other models."""
        return [other for other in self._histories if (other[0], other[3]) == (key[0], key[3]) and other != key]

    def _sum(self, aspect: str, mode: Mode) -> Reference:
        if (aspect, mode) not in self._sums:
            self._sums[aspect, mode] = Reference(capacity=CAPACITY, thin=THIN, gradual=True)
        return self._sums[aspect, mode]

    def _by_aspect(
        self, evidence: Sequence[Evidence], mode: Mode
    ) -> tuple[list[Evidence], tuple[tuple[SumKey, float], ...]]:
        """-> (evidence per aspect, sums to be learned)."""
        together: dict[str, list[Evidence]] = {}
        found = []
        for item in evidence:
            aspect = aspect_of(self._channels[item.channel])
            if aspect in self._joined:
                together.setdefault(aspect, []).append(item)
            else:
                found.append(dataclasses.replace(item, channel=aspect))
        sums: list[tuple[SumKey, float]] = []
        for aspect, items in together.items():
            modality = items[0].modality
            elder = max(items, key=lambda item: self._num_learned(item.channel))
            if len(items) == 1:
                found.append(dataclasses.replace(elder, channel=aspect))
                continue
            total = math.fsum(item.weight * (-math.log10(item.p) - EXPECTED) for item in items)
            key = _sum_key(elder, mode, aspect)
            sums.append((key, total))
            reference = self._sum(*key)
            weight = max(item.weight for item in items)
            if len(reference) >= max(MIN_SCORES, min(SETTLED, self._num_learned(elder.channel) // YOUNG)):
                p = reference.p(total)
                found.append(Evidence(channel=aspect, modality=modality, p=p, raw=total, weight=weight))
            else:
                found.append(dataclasses.replace(elder, channel=aspect, weight=weight))
        return found, tuple(sums)

    def _num_learned(self, channel: str) -> int:
        return len(self._histories[self._last[channel]])

    def _learn(self, lesson: Lesson) -> None:
        self.num_learned += 1
        for key, vector, raw in lesson.parts:
            history = self._histories.get(key)
            if history is None:
                continue  # its model was replaced while it waited
            history.learn(np.asarray(vector, np.float32), raw, lesson.end_s)
            if len(history) == SETTLED:
                for other in self._others(key):
                    if other not in self._adopted:
                        self._forget(other)
        for (aspect, mode), total in lesson.sums:
            if aspect in self._joined:
                self._sum(aspect, mode).add(total)

    def _taught(self, lessons: Iterable[Lesson]) -> Iterable[tuple[History, Float32, float]]:
        """The vectors of lessons with the histories they belong to, where those still are."""
        for lesson in lessons:
            for key, vector, _ in lesson.parts:
                if key in self._histories:
                    yield self._histories[key], np.asarray(vector, np.float32), lesson.end_s

    def _scored_anew(self, lesson: Lesson) -> Lesson:
        """What has lain for days was scored on another scale; its sum over the channels is of no use any more."""
        parts = []
        for key, half, _ in lesson.parts:
            if key in self._histories:
                vector = np.asarray(half, np.float32)
                parts.append((key, vector, self._histories[key].weigh(vector, lesson.end_s)[0]))
        return Lesson(start_s=lesson.start_s, end_s=lesson.end_s, parts=tuple(parts), sums=())


def _sum_key(item: Evidence, mode: Mode, aspect: str = "") -> SumKey:
    """Of the aspect that ``item`` is evidence of, or belongs to."""
    return aspect or item.channel, mode if item.modality == "picture" else ""


def aspect_of(channel: Channel) -> str:
    return channel.aspect or channel.modality


def _evidence(channel: Channel, embedding: Embedding, p: float, raw: float) -> Evidence:
    return Evidence(
        channel=channel.name, modality=channel.modality, p=p, raw=raw, weight=channel.weight, model=embedding.model
    )
