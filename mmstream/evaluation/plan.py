"""What is put into a test set, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmstream.evaluation.compose import Material
from mmstream.evaluation.manifest import EventModality
from mmstream.evaluation.shots import FREEZE_S

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 20.0)
BOTH_SNR_DB = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What to put into one stretch."""

    type: str
    modality: EventModality
    magnitude: float | None = None
    edit: str = ""
    sound: str = ""
    snr_db: float = 0.0
    unusual: int | None = None
    """Which of the unusual clips to show."""
    sham: bool = False


def plan(count: int, sounds: Material | None, num_real: int, random: np.random.Generator) -> list[Item]:
    """``count`` items in random order: every kind in turn, a third of them shams."""
    picture = [
        *[Item(type="tempo", modality="picture", magnitude=f, edit="tempo") for f in (1.5, 2.0, 3.0)],
        *[Item(type="hurrying", modality="picture", magnitude=f, edit="hurrying") for f in (2.0, 3.0)],
        Item(type="elsewhere", modality="picture", edit="elsewhere"),
        Item(type="reverse", modality="picture", edit="reverse"),
        *[Item(type="real", modality="picture", unusual=number) for number in range(num_real)],
    ]
    camera = [
        Item(type="freeze", modality="camera", magnitude=FREEZE_S, edit="freeze"),
        *[Item(type="cover", modality="camera", magnitude=share, edit="cover") for share in (0.5, 1.0)],
        *[Item(type="defocus", modality="camera", magnitude=sigma, edit="defocus") for sigma in (2.0, 6.0)],
        *[Item(type="shift", modality="camera", magnitude=share, edit="shift") for share in (0.05, 0.2)],
    ]
    kinds = [_endless(picture, random), _endless(_shams(None), random), _endless(picture, random)]
    if sounds is not None:
        heard = [
            Item(type=name, modality="sound", magnitude=snr_db, sound=name, snr_db=snr_db)
            for name in sorted(sounds.events)
            for snr_db in SNRS_DB
        ]
        both = [
            Item(
                type=f"{seen.type}+{name}",
                modality="both",
                magnitude=seen.magnitude,
                edit=seen.edit,
                unusual=seen.unusual,
                sound=name,
                snr_db=BOTH_SNR_DB,
            )
            for seen in picture
            for name in sorted(sounds.events)
        ]
        kinds += [_endless(heard, random), _endless(_shams(sounds), random), _endless(heard, random)]
        kinds += [_endless(both, random)]
    kinds += [_endless(camera, random)]
    items = [next(kind) for kind in itertools.islice(itertools.cycle(kinds), count)]
    return [items[number] for number in random.permutation(count)]


def _shams(sounds: Material | None) -> list[Item]:
    if sounds is None:
        return [Item(type="walker", modality="picture", edit="walker", sham=True)]
    return [Item(type=name, modality="sound", sound=name, snr_db=np.nan, sham=True) for name in sorted(sounds.ordinary)]


def _endless(items: Sequence[Item], random: np.random.Generator) -> itertools.cycle[Item]:
    return itertools.cycle([items[number] for number in random.permutation(len(items))])
