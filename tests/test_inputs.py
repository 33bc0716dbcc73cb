"""What replica encoders are asked about a window."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmstream.errors import ConfigError
from mmstream.inputs import ReplicaInputs
from mmstream.testing import make_window
from mmstream.types import PictureSpec, SoundSpec, WordsSpec

SPECS = {
    "vision": PictureSpec(width_px=8, height_px=4, colour=True),
    "clap": SoundSpec(rate_hz=0.5),
    "meaning": WordsSpec(),
}


def test_each_encoder_gets_what_it_wants_of_the_window() -> None:
    inputs = ReplicaInputs(SPECS)
    assert set(inputs.pictures) == {"vision"}
    window = make_window(10.0, words=["Feuer", "am Tor 3"])
    picture = np.zeros((4, 8, 3), np.uint8)
    frame = dataclasses.replace(window.frames[3], pictures={"vision": picture})
    window = dataclasses.replace(window, frames=(*window.frames[:3], frame))
    asked = inputs.of(window, patient=True)
    assert asked["vision"].data is picture
    assert asked["clap"].data is window.samples
    assert asked["meaning"].data.item() == "Feuer am Tor 3"
    assert all((one.start_s, one.end_s, one.encoder, one.patient) == (10.0, 12.0, n, True) for n, one in asked.items())


def test_who_has_nothing_to_listen_to_or_read_is_not_asked() -> None:
    window = make_window(10.0, picture=False, sound=False)
    assert ReplicaInputs(SPECS).of(window, patient=False) == {}


def test_sound_is_sent_as_often_as_the_encoder_wants() -> None:
    inputs = ReplicaInputs(SPECS)
    sent = [second for second in range(8) if "clap" in inputs.of(make_window(float(second)), patient=False)]
    assert sent == [0, 2, 4, 6]


def test_sound_of_another_rate_is_refused_with_the_cure() -> None:
    with pytest.raises(ConfigError, match=r"wants 2 s of sound at 48000 Hz.*let the encoder resample"):
        ReplicaInputs({"clap": SoundSpec(sample_rate_hz=48_000)})
