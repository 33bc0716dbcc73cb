from __future__ import annotations

import json

import numpy as np
import pytest

from mmstream.normality.memory import CONFIRMED_SURPRISE, Memory
from mmstream.normality.quarantine import UNREVIEWED_S
from mmstream.testing import make_embedding
from mmstream.types import AlignedWindow, Channel, Mode, Reading

CHANNELS = {
    "motion": Channel(name="motion", modality="picture", normality="value"),
    "appearance": Channel(name="appearance", modality="picture"),
    "sound": Channel(name="sound", modality="sound"),
}
DIM = 12
START_S = 1_700_000_000.0


class Camera:
    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)

    def window(self, second: float, mode: Mode = "", **shift: float) -> AlignedWindow:
        start_s = START_S + second
        embeddings = tuple(
            make_embedding(
                start_s,
                channel=name,
                vector=(np.abs(self.random.normal(size=DIM)) + shift.get(name, 0.0))
                if name == "motion"
                else self.random.normal(size=DIM) + shift.get(name, 0.0),
            )
            for name in CHANNELS
        )
        return AlignedWindow(feed_id="cam", start_s=start_s, end_s=start_s + 2, embeddings=embeddings, mode=mode)


def live(memory: Memory, camera: Camera, seconds: range, mode: Mode = "", **shift: float) -> None:
    for second in seconds:
        memory.keep(memory.weigh(camera.window(second, mode, **shift)).lesson, hold=False)


def suffer(memory: Memory, camera: Camera, from_s: int, **shift: float) -> str:
    """Ten seconds of something, held back and put in quarantine."""
    for second in range(from_s, from_s + 10):
        memory.keep(memory.weigh(camera.window(second, **shift)).lesson, hold=True)
    name = f"alert-{from_s}"
    memory.discard(START_S + from_s, name)
    return name


def rarity(memory: Memory, camera: Camera, second: int, mode: Mode = "", **shift: float) -> dict[str, float]:
    """Channel -> median of -log10 p of five windows."""
    found: dict[str, list[float]] = {}
    for number in range(5):
        for item in memory.weigh(camera.window(second + number, mode, **shift)).channels:
            found.setdefault(item.channel, []).append(-np.log10(item.p))
    return {channel: float(np.median(values)) for channel, values in found.items()}


@pytest.fixture
def taught() -> tuple[Memory, Camera]:
    memory, camera = Memory(CHANNELS), Camera()
    live(memory, camera, range(900))
    return memory, camera


def test_the_same_thing_stays_rare_until_it_is_called_a_false_alarm(taught):
    memory, camera = taught
    event = {"sound": 5.0, "motion": 6.0}
    alert = suffer(memory, camera, 900, **event)
    live(memory, camera, range(910, 940))
    before = rarity(memory, camera, 940, **event)
    memory.absorb(alert)
    after = rarity(memory, camera, 945, **event)
    assert before["sound"] > 3
    assert before["motion"] > 3
    assert after["sound"] < 2
    assert after["motion"] < 2
    assert rarity(memory, camera, 950, sound=-5.0)["sound"] > 3
    assert after["appearance"] < 1.5


def test_absorbing_twice_is_absorbing_once(taught):
    memory, camera = taught
    alert = suffer(memory, camera, 900, sound=5.0)
    memory.absorb(alert)
    sizes = memory.sizes()
    memory.absorb(alert)
    memory.absorb("never heard of")
    memory.confirm("never heard of")
    assert memory.sizes() == sizes


def test_what_was_confirmed_is_never_learned_and_stands_out_more(taught):
    memory, camera = taught
    alert = suffer(memory, camera, 900, sound=5.0)
    memory.confirm(alert)
    live(memory, camera, range(910, 1100), sound=5.0)
    weighed = memory.weigh(camera.window(1100, sound=5.0))
    assert weighed.bonus == CONFIRMED_SURPRISE
    assert [key[0] for key, _, _ in weighed.lesson.parts] == ["motion", "appearance"]
    assert rarity(memory, camera, 1101, sound=5.0)["sound"] > 3
    assert memory.weigh(camera.window(1120)).bonus == 0.0


def test_what_is_not_confirmed_becomes_normal_when_it_goes_on(taught):
    memory, camera = taught
    live(memory, camera, range(910, 1100), sound=5.0)
    assert rarity(memory, camera, 1101, sound=5.0)["sound"] < 2


def test_a_verdict_can_be_taken_back_both_ways(taught):
    memory, camera = taught
    alert = suffer(memory, camera, 900, sound=5.0)
    memory.absorb(alert)
    memory.confirm(alert)
    assert rarity(memory, camera, 950, sound=5.0)["sound"] > 3
    assert memory.weigh(camera.window(955, sound=5.0)).bonus == CONFIRMED_SURPRISE
    memory.absorb(alert)
    assert rarity(memory, camera, 960, sound=5.0)["sound"] < 2
    assert memory.weigh(camera.window(965, sound=5.0)).bonus == 0.0


def test_what_nobody_reviews_enters_half_after_three_days(taught):
    memory, camera = taught
    suffer(memory, camera, 900, sound=5.0)
    memory.learn_waiting()
    num_learned = memory.num_learned
    memory.keep(memory.weigh(camera.window(1000 + UNREVIEWED_S)).lesson, hold=True)
    assert memory.num_learned == num_learned
    live(memory, camera, range(int(1001 + UNREVIEWED_S), int(1002 + UNREVIEWED_S)))
    assert memory.num_learned == num_learned + 6  # of the 12 windows that overlap the ten seconds and their start


def test_night_pictures_are_learned_apart_and_at_dawn_yesterday_is_still_there(taught):
    memory, camera = taught
    live(memory, camera, range(900, 1500), mode="infrared", appearance=8.0)
    night = rarity(memory, camera, 1500, mode="infrared", appearance=8.0)
    assert night["appearance"] < 1.5
    assert rarity(memory, camera, 1510, appearance=8.0)["appearance"] > 3
    assert rarity(memory, camera, 1520, mode="infrared")["appearance"] > 3
    assert rarity(memory, camera, 1530)["appearance"] < 1.5


def test_sound_does_not_care_how_the_camera_sees(taught):
    memory, camera = taught
    found = memory.weigh(camera.window(900, mode="infrared"))
    assert [item.channel for item in found.channels] == ["sound"]
    assert [item.modality for item in found.aspects] == ["sound"]


def test_neighbours_are_normal_moments_of_the_same_mode(taught):
    memory, camera = taught
    live(memory, camera, range(900, 1000), mode="infrared", appearance=8.0)
    found = memory.neighbours("appearance", np.full(DIM, 8.0, np.float32), 3)
    assert len(found) == 3
    assert all(item.at_s >= START_S + 900 for item in found)
    assert np.mean(found[0].vector) == pytest.approx(8.0, abs=1.0)
    assert memory.neighbours("motion", np.zeros(DIM, np.float32), 3) == []
    assert memory.neighbours("appearance", np.zeros(3, np.float32), 3) == []
    assert memory.neighbours("no such channel", np.zeros(DIM, np.float32), 3) == []


def test_a_loaded_memory_goes_on_exactly_like_the_first(taught):
    first, camera = taught
    live(first, camera, range(900, 1000), mode="infrared")
    absorbed, confirmed = suffer(first, camera, 1000, sound=5.0), suffer(first, camera, 1020, sound=-5.0)
    first.absorb(absorbed)
    first.confirm(confirmed)
    suffer(first, camera, 1040, appearance=7.0)
    first.keep(first.weigh(camera.window(1060)).lesson, hold=True)
    record, arrays = first.state()
    second = Memory(CHANNELS)
    second.load(json.loads(json.dumps(record)), arrays)
    for second_s in range(1061, 1200):
        window = camera.window(second_s, sound=-5.0 * (second_s % 20 == 0))
        one, other = first.weigh(window), second.weigh(window)
        assert other.channels == one.channels
        assert (other.aspects, other.bonus) == (one.aspects, one.bonus)
        first.keep(one.lesson, hold=False)
        second.keep(other.lesson, hold=False)
    first.absorb("alert-1040")
    second.absorb("alert-1040")
    assert second.sizes() == first.sizes()


def test_readings_of_a_window_are_evidence_of_their_sensors():
    memory = Memory({})
    found = []
    for second in range(600):
        at_s = START_S + second
        value = 80.0 if second == 599 else 20.0 + second % 7
        readings = (Reading(feed_id="cam", start_s=at_s, end_s=at_s, sensor="oil", value=value),)
        window = AlignedWindow(feed_id="cam", start_s=at_s, end_s=at_s + 2, embeddings=(), readings=readings)
        found.append(memory.weigh(window))
    assert found[-1].aspects[0].modality == "sensor"
    assert found[-1].aspects[0].p < 0.01
    assert [item.channel for item in found[-1].channels] == ["sensor:oil"]
    again = Memory({})
    again.load(*memory.state())
    assert again.state()[0]["sensors"] == ["oil"]


def test_a_camera_that_was_turned_sees_anew_but_goes_on_hearing(taught: tuple[Memory, Camera]) -> None:
    memory, camera = taught
    turned = Memory(CHANNELS)
    turned.go_on_hearing(memory)
    assert set(turned.sizes()) == {"sound"}
    assert turned.neighbours("sound", np.zeros(DIM, np.float32), 1)
    assert not turned.neighbours("appearance", np.zeros(DIM, np.float32), 1)
    assert rarity(turned, camera, 1010, sound=20.0)["sound"] > 3.0
    assert set(memory.sizes()) == set(CHANNELS)


def test_channels_of_one_aspect_are_taken_together_and_other_aspects_are_heard_by_themselves() -> None:
    channels = {
        "motion": Channel(name="motion", modality="picture", normality="value", aspect="movement"),
        "shapes": Channel(name="shapes", modality="picture", aspect="movement"),
        "still": Channel(name="still", modality="picture", aspect="still", weight=0.5),
    }
    random, memory = np.random.default_rng(0), Memory(channels)

    def window(second: int, **shift: float) -> AlignedWindow:
        start_s = START_S + second
        vectors = {name: np.abs(random.normal(size=DIM)) + shift.get(name, 0.0) for name in channels}
        embeddings = tuple(make_embedding(start_s, channel=name, vector=vector) for name, vector in vectors.items())
        return AlignedWindow(feed_id="cam", start_s=start_s, end_s=start_s + 2, embeddings=embeddings)

    for second in range(600):
        memory.keep(memory.weigh(window(second)).lesson, hold=False)
    left = {item.channel: item for item in memory.weigh(window(700, still=30.0)).aspects}
    assert left.keys() == {"movement", "still"}
    assert left["still"].p < 1e-3 < left["movement"].p
    assert (left["still"].weight, left["movement"].weight) == (0.5, 1.0)
