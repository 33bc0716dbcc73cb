"""What was normal where the camera looked before: put away when it is turned, taken out when it looks there again."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.memory import Memory
from mmstream.types import Channel, UInt8

MAX_BYTES = 4 * 2**20
"""For all scenes put away; beyond that the one put away first is forgotten."""


class Scenes:
    """Memories of scenes that are not looked at now, by the number that `HealthTracker.scene` gives them."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = dict(channels)
        self._kept: dict[int, bytes] = {}

    def swap(self, memory: Memory, *, left: int, entered: int, known: Collection[int]) -> Memory:
        """Put ``memory`` away as that of scene ``left``; -> what is known of scene ``entered``, empty when it is new.

        ``known``: the scenes that would be recognised; what was learned of others is of no use any more.
        """
        self._kept[left] = _packed(memory)
        memory = Memory(self._channels)
        if entered in self._kept:
            record, arrays = _unpacked(self._kept.pop(entered))
            memory.load(record, arrays)
        self._kept = {number: packed for number, packed in self._kept.items() if number in known}
        while sum(map(len, self._kept.values())) > MAX_BYTES:
            del self._kept[next(iter(self._kept))]
        return memory

    def state(self) -> dict[str, UInt8]:
        return {str(number): np.frombuffer(packed, np.uint8) for number, packed in self._kept.items()}

    def load(self, arrays: Mapping[str, UInt8]) -> None:
        self._kept = {int(number): packed.tobytes() for number, packed in arrays.items()}


def _packed(memory: Memory) -> bytes:
    record, arrays = memory.state()
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for allow_pickle
    return file.getvalue()


def _unpacked(packed: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop("record").tobytes()), arrays
