"""Joining modalities without a single label, on the same stretches that fusion networks learn from with labels."""

from __future__ import annotations

import numpy as np

from mmstream.evaluation.metrics import Flags
from mmstream.fusion.adapters import APART_S, Adapter, fit
from mmstream.fusion.evidence import HarmonicMean
from mmstream.training.audiovisual import Stretches
from mmstream.types import Evidence, Float32, Float64, Modality

NUM_REMEMBERED = 2000
NEIGHBOUR = 3
"""The distance to the third nearest remembered vector counts."""
NUM_PARTS = 12
"""Principal components of each modality in which what goes together is looked for."""
AT_ONCE = 2000


def harmonic_mean(train: Stretches, validation: Stretches, test: Stretches, *, agreement: bool) -> Float64:
    """(N, T) surprise of ``test``: per modality the distance to the nearest normal windows of ``train``, ranked among
    the normal ones of ``validation``, joined as the live path does. With ``agreement`` how badly picture and sound
    match is a modality of its own, learned from the same normal windows.
    """
    names = list(train.vectors)
    surprises: dict[Modality, Float64] = {}
    for number, name in enumerate(names):
        bank = _normal(train, name, number)[:NUM_REMEMBERED]
        usual = _distances(_normal(validation, name, number), bank)
        values = _distances(test.vectors[name].reshape(-1, bank.shape[1]), bank)
        surprises[_modality(name)] = np.where(test.present[..., number].ravel(), _ranked(values, usual), np.nan)
    if agreement:
        surprises["agreement"] = _mismatches(train, validation, test)
    fuser = HarmonicMean()
    fused = [
        fuser.fuse(
            [
                Evidence(channel=name, modality=name, p=float(p))
                for name, p in zip(surprises, row, strict=True)
                if not np.isnan(p)
            ]
        )[0]
        for row in np.stack(list(surprises.values()), axis=1)
    ]
    return np.array(fused).reshape(test.labels.shape)


def _modality(name: str) -> Modality:
    return "sound" if name == "sound" else "words" if name == "words" else "picture"


def _normal(stretches: Stretches, name: str, number: int) -> Float32:
    """(n, D): what was there and normal, one window of every stretch after another."""
    usable = stretches.present[..., number] & (stretches.labels == 0)
    rows: Float32 = stretches.vectors[name].swapaxes(0, 1)[usable.T]
    return rows


def _distances(rows: Float32, bank: Float32) -> Float64:
    """(n,) to the third nearest."""
    squared = (bank**2).sum(axis=1)
    found = []
    for first in range(0, len(rows), AT_ONCE):
        part = rows[first : first + AT_ONCE]
        table = (part**2).sum(axis=1)[:, None] - 2.0 * part @ bank.T + squared
        found.append(np.partition(table, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1])
    distances: Float64 = np.sqrt(np.maximum(np.concatenate(found), 0.0)).astype(np.float64)
    return distances


def _ranked(values: Float64, usual: Float64) -> Float64:
    """p of each value: the share of the usual ones that are at least as high."""
    below = np.searchsorted(np.sort(usual), values, side="left")
    return np.asarray((1.0 + len(usual) - below) / (1.0 + len(usual)), np.float64)


def _mismatches(train: Stretches, validation: Stretches, test: Stretches) -> Float64:
    """(N * T,) p of how badly the first two modalities match; nan where one of them is absent, or everywhere when
    nothing is known to go together."""
    names = list(train.vectors)[:2]
    scales = [_axes(_normal(train, name, number)[:NUM_REMEMBERED]) for number, name in enumerate(names)]

    def pairs(stretches: Stretches, usable: Flags) -> tuple[Float32, Float32]:
        left, right = (
            np.asarray((stretches.vectors[name][usable] - mean) @ axes, np.float32)
            for name, (mean, axes) in zip(names, scales, strict=True)
        )
        return left, right

    together = [np.asarray(s.present[..., :2].all(axis=2)) for s in (train, validation, test)]
    left, right = pairs(train, together[0] & (train.labels == 0))
    p = np.full(test.labels.size, np.nan)
    adapter = fit(left, right, np.arange(len(left), dtype=np.float64) * APART_S)
    if adapter is not None and together[2].any():
        usual = _matched(adapter, *pairs(validation, together[1] & (validation.labels == 0)))
        p[together[2].ravel()] = _ranked(_matched(adapter, *pairs(test, together[2])), usual)
    return p


def _axes(rows: Float32) -> tuple[Float32, Float32]:
    """-> mean (D,) and principal axes (D, k)."""
    mean = rows.mean(axis=0)
    _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
    return mean, axes[:NUM_PARTS].T


def _matched(adapter: Adapter, left: Float32, right: Float32) -> Float64:
    """(n,): of each pair."""
    return np.concatenate(
        [
            np.diagonal(adapter.mismatches(left[first : first + 256], right[first : first + 256]))
            for first in range(0, len(left), 256)
        ]
    )
