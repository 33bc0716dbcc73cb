"""A large encoder that teaches a small one: what it says of each picture, asked once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.encoders.batching import build_replica
from mmstream.errors import ConfigError
from mmstream.stages import ReplicaEncoder
from mmstream.training.corpus import Corpus
from mmstream.training.sizing import sized
from mmstream.types import Float16, Float32, PictureSpec, UInt8

AT_ONCE = 32


class Teacher:
    """A replica encoder of pictures, loaded when it is first asked; neither it nor its answers are pickled."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name, self._options = name, dict(options)
        self._encoder: ReplicaEncoder | None = None
        self._known: dict[tuple[int, int], Float16] = {}

    @classmethod
    def of(cls, name: str, folder: str, corpus: Corpus) -> Teacher:
        """``folder`` empty: made as the site makes it.

        Raises:
            ConfigError: there is no folder, and the site runs no such encoder.
        """
        if not folder and name not in corpus.encoders:
            raise ConfigError(f"the teacher {name!r} is not among the site's encoders; give its folder")
        return cls(name, {"folder": folder} if folder else corpus.encoders[name])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoder": None, "_known": {}}

    @property
    def encoder(self) -> ReplicaEncoder:
        """Raises ConfigError: it cannot be loaded, or does not look at pictures."""
        if self._encoder is None:
            encoder = build_replica(self._name, self._options, "auto")
            if not isinstance(encoder.wants, PictureSpec):
                raise ConfigError(f"the teacher {self._name!r} does not look at pictures; choose one that does")
            self._encoder = encoder
        return self._encoder

    @property
    def wants(self) -> PictureSpec:
        wants = self.encoder.wants
        assert isinstance(wants, PictureSpec)
        return wants

    @property
    def dim(self) -> int:
        return self.encoder.dim

    def vectors(self, pictures: UInt8, bursts: npt.NDArray[np.intp], windows: npt.NDArray[np.int64]) -> Float32:
        """Of ``pictures[bursts, windows]``, pictures being (N, T, H, W, 3): (..., dim), the shape of both together."""
        asked = np.broadcast_arrays(bursts, windows)
        keys = [(int(burst), int(window)) for burst, window in zip(*(each.ravel() for each in asked), strict=True)]
        unknown = sorted({key for key in keys if key not in self._known})
        for first in range(0, len(unknown), AT_ONCE):
            part = unknown[first : first + AT_ONCE]
            inputs = sized(np.stack([pictures[key] for key in part]), self.wants)
            answers = self.encoder.encode(inputs).astype(np.float16)
            self._known |= dict(zip(part, answers, strict=True))
        return np.stack([self._known[key] for key in keys]).astype(np.float32).reshape(*asked[0].shape, -1)
