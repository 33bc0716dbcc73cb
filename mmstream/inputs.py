"""What the replica encoders of one feed are asked about each of its windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.errors import ConfigError
from mmstream.sources.decode import AUDIO_RATE_HZ, Pace
from mmstream.types import InputSpec, PictureSpec, Snapshot, SoundSpec, Window
from mmstream.windowing import WINDOW_S


class ReplicaInputs:
    """`Window` -> one `Snapshot` per encoder that has something to look at, listen to or read in it.

    Pictures come ready from the decoder, at the pace of each encoder; sound and words are paced here.

    Raises:
        ConfigError: an encoder wants sound of another rate or length than the windows have.
    """

    def __init__(self, specs: Mapping[str, InputSpec]) -> None:
        for name, spec in specs.items():
            if isinstance(spec, SoundSpec) and (spec.sample_rate_hz, spec.duration_s) != (AUDIO_RATE_HZ, WINDOW_S):
                raise ConfigError(
                    f"encoder {name!r} wants {spec.duration_s:g} s of sound at {spec.sample_rate_hz} Hz; windows have "
                    f"{WINDOW_S:g} s at {AUDIO_RATE_HZ} Hz: let the encoder resample"
                )
        self.pictures = {name: spec for name, spec in specs.items() if isinstance(spec, PictureSpec)}
        self._others = {name: spec for name, spec in specs.items() if not isinstance(spec, PictureSpec)}
        self._paces = {name: Pace(spec.rate_hz) for name, spec in self._others.items()}

    def of(self, window: Window, *, patient: bool) -> dict[str, Snapshot]:
        """Encoder's channel -> what to send it."""
        data: dict[str, npt.NDArray[Any]] = {}
        for frame in window.frames:
            data |= {name: picture for name, picture in frame.pictures.items() if name in self.pictures}
        for name, spec in self._others.items():
            found = _sound(window, spec) if isinstance(spec, SoundSpec) else _words(window)
            if found is not None and self._paces[name].due(window.start_s):
                data[name] = found
        return {
            name: Snapshot(
                feed_id=window.feed_id,
                start_s=window.start_s,
                end_s=window.end_s,
                encoder=name,
                data=found,
                patient=patient,
            )
            for name, found in data.items()
        }


def _sound(window: Window, spec: SoundSpec) -> npt.NDArray[np.float32] | None:
    return window.samples if window.samples.shape == spec.shape else None


def _words(window: Window) -> npt.NDArray[np.str_] | None:
    text = window.text
    return np.array(text) if text else None
