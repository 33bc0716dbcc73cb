"""The nearest remembered vectors and one ellipsoid around all, together, against a background that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.backgrounds import LIMIT as NEW
from mmstream.normality.backgrounds import Backgrounds
from mmstream.normality.bank import COPIES, Bank
from mmstream.normality.ellipsoid import Ellipsoid, Whitening
from mmstream.normality.lessons import under
from mmstream.normality.reference import Reference
from mmstream.normality.translation import translation
from mmstream.stages import Neighbour
from mmstream.types import Float32

START = 64
"""Vectors known before anything is scored."""

BANK_START = 512
"""The ellipsoid alone judges before; then its longest axes are known well enough to look for neighbours in."""

NUM_AXES = 32
MAX_ROWS = 2048
GROWTH = 0.25
REFIT_EVERY = 65_536
"""The ellipsoid is fitted again when a quarter more is known, and at least with so many vectors (18 hours)."""

TURN_UNTIL = 4096
"""Until so much is known the bank's axes turn with the ellipsoid's; then only after `REFIT_EVERY`."""

CAPACITY, THIN = 4096, 16
"""Scores kept per part: the last 18 hours at one a second."""

PROVISIONAL = 0.5
"""-log10 p at most while the background is new: ordinary."""


class Joint:
    """A vector is two halves: what there is now, and by how much that differs from the last minute's usual.

    Two judges look at the first half: a `Bank` with local densities in its `NUM_AXES` longest whitened axes, and
    the Mahalanobis distance under an `Ellipsoid` in all (the bank alone misses the loudest, which are far from
    everything in a direction that is no long axis). Each one's scores become a surprise in its own past
    (`Reference.surprise`: -log10 p with a tail without end, for the score is ranked again); the score is their mean (a
    harmonic mean of p-values had 0.01 to 0.05 less recall), so it keeps its scale however much is learned.

    First minus second half is the background. While that is new (`Backgrounds`: nothing like it was heard for long
    enough) everything would be unusual, so nothing is said: the score is at most `PROVISIONAL`. One loud
    event does not make a background: the encoder takes medians of a minute.
    """

    def __init__(self, *, dim: int, density: bool = True) -> None:
        if dim < 2 or dim % 2:
            raise ValueError(f"a joint channel needs vectors of two halves, got {dim = }")
        self._half = dim // 2
        self._density = density
        self._num_axes = min(NUM_AXES, self._half)
        self._ellipsoid = Ellipsoid(dim=self._half)
        self._whitening: Whitening | None = None
        self._bank = self._new_bank()
        """Of points in ``_whitening``; both begin after `BANK_START` vectors."""
        self._early: list[tuple[float, Float32]] = []
        self._backgrounds = Backgrounds(dim=self._num_axes)
        self._all, self._near = (Reference(capacity=CAPACITY, thin=THIN, gradual=True) for _ in range(2))
        self._fit_at = START
        self.num_rescaled = 0

    def __len__(self) -> int:
        return len(self._ellipsoid)

    @property
    def num_rows(self) -> int:
        return self._bank.num_rows

    def score(self, vector: Float32) -> float:
        """0.0 while nothing is known."""
        if self.num_rescaled == 0:
            return 0.0
        now = vector[: self._half]
        surprise = self._all.surprise(self._ellipsoid.distance(now))
        if self._whitening is not None:
            near = self._bank.score(self._whitening.apply(now))
            surprise = (surprise + self._near.surprise(near)) / 2.0
        return min(surprise, PROVISIONAL) if self.newness(vector) > NEW else surprise

    def newness(self, vector: Float32) -> float:
        """Of the vector's background: 1 = as usual, above 2 = not heard for long enough, 0 = not known yet."""
        return self._backgrounds.newness(self._background(vector)) if self._whitening is not None else 0.0

    def nearest(self, vector: Float32, count: int) -> list[Neighbour]:
        """In the units of the vector, as far as the bank's axes hold it. Differences from the last minute are
        not remembered: they are 0."""
        if self._whitening is None:
            return []
        found = self._bank.nearest(self._whitening.apply(vector[: self._half]), count)
        return [self._in_units(self._whitening, neighbour) for neighbour in found]

    def learn(self, vector: Float32, at_s: float) -> None:
        now = vector[: self._half]
        if self.num_rescaled:
            self._all.add(self._ellipsoid.distance(now))
        self._ellipsoid.learn(now)
        if self._whitening is None:
            self._early.append((at_s, now.copy()))
        else:
            self._remember(self._whitening.apply(now), at_s)
            self._backgrounds.learn(self._background(vector), at_s)
        if len(self) >= self._fit_at:
            self._fit()

    def absorb(self, vector: Float32, at_s: float) -> None:
        """An operator has called this normal: it has near neighbours from now on, and its distance is not rare."""
        self.learn(vector, at_s)
        if self._whitening is None:
            return
        now = vector[: self._half]
        for _ in range(COPIES - 1):
            self._all.insert(self._ellipsoid.distance(now))
        self._bank.absorb(self._whitening.apply(now), at_s)

    def forget(self, vector: Float32) -> None:
        """Take the near neighbours that `absorb` gave back."""
        if self._whitening is not None:
            self._bank.forget(self._whitening.apply(vector[: self._half]))

    def self_scores(self) -> Float32:
        """None: scores are p-values already, and before the first fit there were none."""
        return np.zeros(0, np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        parts = {"ellipsoid": self._ellipsoid.state(), "bank": self._bank.state(), "near": self._near.state()}
        parts |= {"all": self._all.state(), "backgrounds": self._backgrounds.state()}
        if self._whitening is not None:
            parts["whitening"] = self._whitening.state()
        state = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
        state["early"] = np.array([row for _, row in self._early], np.float32).reshape(-1, self._half)
        state["early_s"] = np.array([at_s for at_s, _ in self._early], np.float64)
        state["counts"] = np.array([self._fit_at, self.num_rescaled], np.int64)
        return state

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of a joint of as many dimensions."""
        self._ellipsoid.load(under(state, "ellipsoid."))
        self._bank.load(under(state, "bank."))
        self._near.load(under(state, "near."))
        self._all.load(under(state, "all."))
        self._backgrounds.load(under(state, "backgrounds."))
        whitening = under(state, "whitening.")
        self._whitening = Whitening.of_state(whitening) if whitening else None
        self._early = list(zip(state["early_s"].tolist(), np.array(state["early"]), strict=True))
        self._fit_at, self.num_rescaled = (int(count) for count in state["counts"])

    def _new_bank(self) -> Bank:
        return Bank(dim=self._num_axes, density=self._density, max_rows=MAX_ROWS)

    def _background(self, vector: Float32) -> Float32:
        assert self._whitening is not None
        return self._whitening.apply(vector[: self._half] - vector[self._half :])

    def _remember(self, point: Float32, at_s: float) -> None:
        self._near.add(self._bank.score(point))
        before = self._bank.num_rescaled
        self._bank.learn(point, at_s)
        if self._bank.num_rescaled > before:
            self._near.translate(self._bank.translation.offset, self._bank.translation.factor)

    def _fit(self) -> None:
        count = len(self)
        self._fit_at = count + min(int(GROWTH * count), REFIT_EVERY)
        self._ellipsoid.fit()
        self.num_rescaled = 1
        if count >= REFIT_EVERY or (count >= BANK_START and (self._whitening is None or count <= TURN_UNTIL)):
            self._turn()

    def _turn(self) -> None:
        """Give bank and backgrounds the axes of the ellipsoid; costs a fifth of a second at most, so it is rare."""
        before, self._whitening = self._whitening, self._ellipsoid.whitening(self._num_axes)
        if before is None:
            rows, self._early = self._early, []
        else:
            known = self._bank.nearest(np.zeros(self._num_axes, np.float32), self._bank.num_rows)
            rows = [(row.at_s, before.restore(row.vector)) for row in sorted(known, key=lambda row: row.at_s)]
            self._backgrounds.replace_points(self._whitening.apply(before.restore(self._backgrounds.points)))
        old, self._bank = self._bank, self._new_bank()
        for at_s, row in rows:
            self._bank.learn(self._whitening.apply(row), at_s)
        scores = self._bank.self_scores()
        if before is None:
            self._near.replace(scores)
            self._all.keep_newest(len(self._all) // 2)
        else:
            change = translation(np.sort(old.self_scores()), np.sort(scores))
            self._near.translate(change.offset, change.factor)

    def _in_units(self, whitening: Whitening, neighbour: Neighbour) -> Neighbour:
        vector = np.zeros(2 * self._half, np.float32)
        vector[: self._half] = whitening.restore(neighbour.vector)
        return Neighbour(at_s=neighbour.at_s, distance=neighbour.distance, vector=vector)
