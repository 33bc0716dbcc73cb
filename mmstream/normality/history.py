"""All that a feed has shown on one channel under one model: what is normal, and how often it was how unusual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from mmstream.normality import NORMALITY
from mmstream.normality.gaussian import MIN_ROWS
from mmstream.normality.reference import Reference
from mmstream.stages import Normality, load
from mmstream.types import Channel, Float32

MIN_SCORES = 30
"""Fewer scores than this are no evidence."""

_STILL_GROWING = 4096


class _Kept(Normality, Protocol):
    """A `Normality` that can be kept and that says when its scores changed their scale."""

    num_rescaled: int

    @property
    def num_rows(self) -> int: ...

    def self_scores(self) -> Float32: ...

    def state(self) -> dict[str, npt.NDArray[Any]]: ...

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None: ...


class History:
    """A channel's `Normality` with the `Reference` of its scores.

    Scored first, learned after: what enters the reference was measured out of sample. When the
    normality rescales itself, the reference forgets the scores of the scale before.
    """

    def __init__(self, channel: Channel, dim: int) -> None:
        self.channel = channel
        self._normality: _Kept = load(NORMALITY, channel.normality)(dim=dim, density=channel.density)
        self._reference = Reference()

    def __len__(self) -> int:
        """How many windows have been learned."""
        return len(self._normality)

    @property
    def num_rows(self) -> int:
        return self._normality.num_rows

    def weigh(self, vector: Float32) -> tuple[float, float | None]:
        """-> (raw score, p), p None while there is too little to compare with."""
        raw = self._normality.score(vector)
        return raw, self._reference.p(raw) if len(self._reference) >= MIN_SCORES else None

    def learn(self, vector: Float32, raw: float, at_s: float) -> None:
        """Take in a vector whose score was ``raw`` when it came."""
        if self.channel.normality == "value" or len(self._normality) >= MIN_ROWS:
            self._reference.add(raw)
        before = self._normality.num_rescaled
        self._normality.learn(vector, at_s)
        if self._normality.num_rescaled == before:
            return
        if before == 0:
            self._reference.replace(self._normality.self_scores())
        elif len(self._normality) <= _STILL_GROWING:
            self._reference.keep_newest(len(self._normality) // 2)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        parts = {"normality": self._normality.state(), "reference": self._reference.state()}
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of this channel."""
        for part, owner in (("normality.", self._normality), ("reference.", self._reference)):
            arrays = {name.removeprefix(part): array for name, array in state.items() if name.startswith(part)}
            owner.load(arrays)
