"""Models that speak and describe, as far as a test needs them; sites and Serve replicas import them by name."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from mmstream.errors import ConfigError, StageError
from mmstream.stages import Heard, Question
from mmstream.types import Float32

SPEECH = "tests.speakers:LoudSpeech"
DESCRIBER = "tests.speakers:ShadeDescriber"
MISSING = "tests.speakers:Missing"
LOUD = 0.2
"""RMS of 0.1 s above which `LoudSpeech` hears something."""
BROKEN = 13
"""A shade of picture, and a number of samples, that break the models."""


class LoudSpeech:
    """Hears "help" once in every loud piece of sound."""

    longest_s = 30.0

    def __init__(self, *, loud: float = LOUD) -> None:
        self.model = "loud@1"
        self._loud = loud

    def transcribe(self, sounds: Sequence[Float32], /) -> list[Heard]:
        if any(sound.size == BROKEN for sound in sounds):
            raise StageError("the model broke")
        return [self._heard(sound) for sound in sounds]

    def _heard(self, sound: Float32) -> Heard:
        pieces = sound[: sound.size // 1600 * 1600].reshape(-1, 1600)
        loud = bool((np.sqrt((pieces**2).mean(axis=1)) > self._loud).any())
        return Heard(text="somebody shouts help" if loud else "", confidence=0.5)


class ShadeDescriber:
    """Says how many pictures it saw and how bright they were, and repeats the first words of the question."""

    def __init__(self, *, takes_s: float = 0.0) -> None:
        self.model = "shade@1"
        self._takes_s = takes_s

    def describe(self, questions: Sequence[Question], /) -> list[str]:
        time.sleep(self._takes_s)
        shades = [[int(picture.mean()) for picture in question.pictures] for question in questions]
        if any(BROKEN in seen for seen in shades):
            raise RuntimeError("the model broke")
        return [
            f"{len(seen)} pictures for: {question.prompt[:20]}"
            for question, seen in zip(questions, shades, strict=True)
        ]


class Missing:
    """A model whose folder is not there."""

    def __init__(self) -> None:
        raise ConfigError("there is no folder /models/nothing; give the folder of a model")
