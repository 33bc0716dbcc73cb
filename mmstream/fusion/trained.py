"""Fusion that has learned from verdicts: the harmonic mean, bent where operators have said that it is wrong.

Of each modality m that is there, with aspects i in it, ``s_i = slope_i * -log10 p_i``, weights ``w_i`` (the site's, as
verdicts have moved them, times a learned factor) and ``s_m = log10(sum w_i 10^s_i / sum w_i)``:

    f = log10(sum_i w_i 10^s_i / sum_i w_i) + u . (phi(V s + b) - phi(b))

with ``V, u >= 0`` and ``b`` depending on which modalities are there (Sill 1998: networks with non-negative weights are
monotone; Runje and Shankaranarayana 2023: ``phi`` must bend both ways, so half of it is softplus and half tanh). The
surprise never falls when a p falls. Untrained, ``f`` is the harmonic mean. At the end ``f`` is read on the scale of the
harmonic mean: as many ordinary moments reach any level as before, so that thresholds stay what they were.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.errors import ConfigError
from mmstream.fusion.evidence import MODALITY_WEIGHTS, exact_shares
from mmstream.types import MODALITIES, Evidence, Float64

NUM_HIDDEN = 8
MAX_SURPRISE = 12.0
"""Rarer is not more: beyond it 10^s would leave nothing of the others."""
FORMAT = "monotone-fusion@1"
_PLACE = {modality: number for number, modality in enumerate(MODALITIES)}
ARRAYS: Mapping[str, tuple[int, ...]] = {
    "into": (NUM_HIDDEN, len(MODALITIES)),
    "there": (NUM_HIDDEN, len(MODALITIES)),
    "bias": (NUM_HIDDEN,),
    "out": (NUM_HIDDEN,),
}
"""V, how b depends on what is there, what b is besides, u."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MonotoneRule:
    """What was learned. The default has learned nothing."""

    version: str = ""
    factors: Mapping[str, float] = field(default_factory=dict)
    """Aspect -> its weight is multiplied by this; 1 where it is not named."""
    slopes: Mapping[str, float] = field(default_factory=dict)
    """Aspect -> its -log10 p is multiplied by this; 1 where it is not named."""
    arrays: Mapping[str, Float64] = field(
        default_factory=lambda: {name: np.zeros(shape, np.float64) for name, shape in ARRAYS.items()}
    )
    """As `ARRAYS` says; ``into`` and ``out`` not negative."""
    raw: tuple[float, ...] = ()
    read: tuple[float, ...] = ()
    """``f`` at some points, ascending, and what it is read as there; beyond, it moves as ``f`` does."""

    def __post_init__(self) -> None:
        for name, shape in ARRAYS.items():
            array = self.arrays[name]
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"MonotoneRule.{name}: want finite numbers {shape}, got {array.shape}")
        if any((self.arrays[name] < 0.0).any() for name in ("into", "out")):
            raise ValueError("MonotoneRule: into and out must not be negative: surprise would fall when a p falls")
        if (
            len(self.raw) != len(self.read)
            or list(self.raw) != sorted(self.raw)
            or list(self.read) != sorted(self.read)
        ):
            raise ValueError("MonotoneRule: raw and read must ascend, and be as many")
        if any(not value > 0.0 for value in (*self.factors.values(), *self.slopes.values())):
            raise ValueError("MonotoneRule: factors and slopes must be above 0")

    def to_bytes(self) -> bytes:
        """As safetensors, whose head says what is in it."""
        from safetensors.numpy import save

        head = {"format": FORMAT, "version": self.version, "modalities": json.dumps(MODALITIES)}
        head |= {"factors": json.dumps(dict(self.factors)), "slopes": json.dumps(dict(self.slopes))}
        scale = np.array([self.raw, self.read], np.float64)
        return bytes(save({**{name: np.ascontiguousarray(a) for name, a in self.arrays.items()}, "scale": scale}, head))

    @classmethod
    def from_bytes(cls, data: bytes, *, version: str = "") -> MonotoneRule:
        """``version``: its name in the registry.

        Raises:
            ConfigError: these are not the weights of a fusion rule, or of one that this program does not know.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            head = _head(data)
            if head.get("format") != FORMAT or json.loads(head["modalities"]) != list(MODALITIES):
                raise ValueError(f"its format is {head.get('format')!r}, not {FORMAT!r}")
            scale = arrays.pop("scale")
            return cls(
                version=version or head.get("version", ""),
                factors=json.loads(head["factors"]),
                slopes=json.loads(head["slopes"]),
                arrays={name: np.asarray(arrays[name], np.float64) for name in ARRAYS},
                raw=tuple(scale[0].tolist()),
                read=tuple(scale[1].tolist()),
            )
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise ConfigError(
                f"these are not the weights of trained fusion ({error}); train again, or roll back"
            ) from None


def _head(data: bytes) -> dict[str, str]:
    head: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return dict(head.get("__metadata__", {}))


UNTRAINED = MonotoneRule()


class TrainedFuser:
    """Joins evidence as ``rule`` has learned it; with `UNTRAINED` the surprise is that of `HarmonicMean`.

    The share of a modality is by how much ``f`` falls when its p-values are 1 (leave one out).

    >>> sound = Evidence(channel="sound", modality="sound", p=0.0001)
    >>> picture = Evidence(channel="picture", modality="picture", p=0.5)
    >>> surprise, shares = TrainedFuser().fuse([sound, picture])
    >>> round(surprise, 2), {name: round(share, 2) for name, share in shares.items()}
    (3.61, {'sound': 1.0, 'picture': 0.0})
    """

    def __init__(self, weights: Mapping[str, float] = MODALITY_WEIGHTS, *, rule: MonotoneRule = UNTRAINED) -> None:
        if any(not weight > 0 for weight in weights.values()):
            raise ValueError(f"weights of modalities must be above 0, got {dict(weights)}")
        self._weights = dict(weights)
        self.rule = rule
        self._is_bent = bool(rule.arrays["out"].any())

    def fuse(self, evidence: Sequence[Evidence]) -> tuple[float, dict[str, float]]:
        """-> (surprise >= 0, shares per modality that sum to 1); (0.0, {}) without evidence."""
        if not evidence:
            return 0.0, {}
        factors, slopes = self.rule.factors, self.rule.slopes
        pulls: dict[str, float] = {}
        masses: dict[str, float] = {}
        for item in evidence:
            mass = self._weights.get(item.modality, 1.0) * item.weight * factors.get(item.channel, 1.0)
            surprise = min(-slopes.get(item.channel, 1.0) * math.log10(item.p), MAX_SURPRISE)
            pulls[item.modality] = pulls.get(item.modality, 0.0) + mass * 10.0**surprise
            masses[item.modality] = masses.get(item.modality, 0.0) + mass
        total, mass = math.fsum(pulls.values()), math.fsum(masses.values())
        if mass <= 0.0:
            return 0.0, {}
        whole = math.log10(total / mass)
        left = {name: math.log10((math.fsum(_others(pulls, name)) + masses[name]) / mass) for name in pulls}
        if self._is_bent:
            whole, left = self._bent(whole, left, pulls, masses)
        return max(0.0, self._read(whole)), exact_shares({name: max(0.0, whole - rest) for name, rest in left.items()})

    def _bent(
        self, whole: float, left: Mapping[str, float], pulls: Mapping[str, float], masses: Mapping[str, float]
    ) -> tuple[float, dict[str, float]]:
        """With what the network adds: to all of it, and to what is left without each modality."""
        names = list(pulls)
        places = [_PLACE[name] for name in names]  # type: ignore[index]  # evidence has known modalities
        surprises = np.array([math.log10(pulls[name] / masses[name]) for name in names])
        rows = np.tile(surprises, (len(names) + 2, 1))
        rows[-1] = 0.0
        np.fill_diagonal(rows[1:-1], 0.0)
        arrays = self.rule.arrays
        inside = rows @ arrays["into"][:, places].T
        inside += arrays["bias"] + arrays["there"][:, places].sum(axis=1)
        half = NUM_HIDDEN // 2
        bent = np.concatenate([np.logaddexp(inside[:, :half], 0.0), np.tanh(inside[:, half:])], axis=1)
        added = (bent @ arrays["out"]).tolist()
        nothing = added.pop()
        return whole + added[0] - nothing, {
            name: left[name] + more - nothing for name, more in zip(names, added[1:], strict=True)
        }

    def _read(self, value: float) -> float:
        raw, read = self.rule.raw, self.rule.read
        if not raw:
            return value
        place = bisect.bisect_right(raw, value)
        if place == 0:
            return read[0] + value - raw[0]
        if place == len(raw):
            return read[-1] + value - raw[-1]
        share = (value - raw[place - 1]) / (raw[place] - raw[place - 1])
        return read[place - 1] + share * (read[place] - read[place - 1])


def _others(pulls: Mapping[str, float], name: str) -> list[float]:
    return [pull for other, pull in pulls.items() if other != name]


def on_scale_of(
    raw: npt.NDArray[np.float64], usual: npt.NDArray[np.float64], *, num_steps: int = 64
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """-> (`MonotoneRule.raw`, `MonotoneRule.read`): as many of the same moments reach a level of ``raw`` as
    reach what it is read as. Both (n,), in any order; steps are finer towards the top, where thresholds are.
    """
    shares = 1.0 - np.geomspace(1.0, max(1.0 / len(raw), 1e-5), num_steps)
    raw_steps, read_steps = np.quantile(raw, shares), np.quantile(usual, shares)
    kept = np.append(np.diff(raw_steps) > 1e-6, True)  # of equal ones the last: the highest that it is read as
    return tuple(raw_steps[kept].tolist()), tuple(read_steps[kept].tolist())
