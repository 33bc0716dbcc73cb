"""A street made up: people are heard walking, cars are heard rolling, somebody says what passes - sometimes wrongly.

Windows are encoded by the edge encoders of the path; only motion, sound and words are made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmstream.encoders.activity import ActivityEncoder
from mmstream.encoders.motion import MotionEncoder
from mmstream.encoders.sound import SoundEncoder
from mmstream.encoders.words import WordsEncoder
from mmstream.types import AlignedWindow, Channel, Float32, Float64, Frame, TextSpan, UInt8, Window

CHANNELS: dict[str, Channel] = {
    encoder.channel.name: encoder.channel for encoder in (MotionEncoder, ActivityEncoder, SoundEncoder, WordsEncoder)
}
RATE_HZ = 16_000
FRAME_S = 0.2
ROWS, COLS = 50, 90
EVERY_S = {"walker": 25.0, "car": 35.0}
LASTS_S = {"walker": (6.0, 10.0), "car": (3.0, 6.0)}
SAYINGS = {
    "walker": ("somebody walks by", "a woman walking past", "a man on foot", "a person walks along the street"),
    "car": ("a car drives by", "a vehicle passing", "a dark car on the road", "car driving along the street"),
}

Kind = Literal["walker", "car", ""]
"""Empty: not at all."""
OTHER: dict[Kind, Kind] = {"walker": "car", "car": "walker"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Passer:
    """Somebody, or a car: seen as one kind, heard as one, called one."""

    start_s: float
    end_s: float
    seen: Kind
    heard: Kind
    said: Kind
    near: float
    """0.5 to 1.5: how large and how loud."""
    wrong: Literal["", "sound", "words"] = ""


def passers(random: np.random.Generator, length_s: float, *, event_every_s: float = 0.0) -> list[Passer]:
    """Of ten one is heard without being seen and one seen without being heard, half of those seen are named; with
    ``event_every_s`` some look like one kind, and sound or are called like the other."""
    made = []
    kinds: tuple[Kind, ...] = ("walker", "car")
    for kind in kinds:
        start_s = random.exponential(EVERY_S[kind])
        while start_s < length_s - 12.0:
            luck, said = random.random(), kind if random.random() < 0.5 else ""
            seen, heard = kind if luck > 0.1 else "", kind if luck < 0.9 else ""
            made.append(_passer(random, start_s, seen, heard, said if seen else ""))
            start_s += 2.0 + random.exponential(EVERY_S[kind])
    if event_every_s:
        for number, start_s in enumerate(np.arange(event_every_s, length_s - 12.0, event_every_s)):
            kind = kinds[number % 2]
            made = [p for p in made if p.end_s < start_s - 3.0 or p.start_s > start_s + 12.0]
            if number % 4 < 2:
                made.append(_passer(random, float(start_s), kind, OTHER[kind], "", wrong="sound"))
            else:
                made.append(_passer(random, float(start_s), kind, kind, OTHER[kind], wrong="words"))
    return sorted(made, key=lambda passer: passer.start_s)


def windows(
    random: np.random.Generator, people: list[Passer], length_s: float, *, from_s: float = 0.0
) -> Iterator[AlignedWindow]:
    """A window per second."""
    encoders = (MotionEncoder(), ActivityEncoder(), SoundEncoder(), WordsEncoder())
    ways = {passer.start_s: random.choice((-1.0, 1.0)) for passer in people}
    rows = {passer.start_s: int(random.integers(8, 30)) for passer in people}
    luma: UInt8 = np.full((136, 240), 100, np.uint8)
    samples = np.zeros(0, np.float32)
    frames: list[Frame] = []
    for second in range(int(length_s)):
        samples = np.concatenate([samples, _sound_of(random, people, float(second))])[-2 * RATE_HZ :]
        for number in range(5):
            at_s = second + FRAME_S * number
            field = _motion_at(random, people, at_s, ways, rows)
            start_s = from_s + at_s
            frames.append(
                Frame(feed_id="street", start_s=start_s, end_s=start_s + FRAME_S, is_key=False, luma=luma, motion=field)
            )
        frames = frames[-10:]
        if second == 0:
            continue
        window = Window(
            feed_id="street",
            start_s=from_s + second - 1.0,
            end_s=from_s + second + 1.0,
            frames=tuple(frames),
            samples=samples,
            sample_rate_hz=RATE_HZ,
            texts=tuple(_said_of(random, people, float(second), from_s)),
        )
        said = (encoder.encode(window) for encoder in encoders)
        embeddings = tuple(embedding for embedding in said if embedding is not None)
        yield AlignedWindow(feed_id="street", start_s=window.start_s, end_s=window.end_s, embeddings=embeddings)


def _passer(
    random: np.random.Generator,
    start_s: float,
    seen: Kind,
    heard: Kind,
    said: Kind,
    *,
    wrong: Literal["", "sound", "words"] = "",
) -> Passer:
    end_s = start_s + random.uniform(*LASTS_S[seen or heard])
    near = random.uniform(0.5, 1.5)
    return Passer(start_s=start_s, end_s=end_s, seen=seen, heard=heard, said=said, near=near, wrong=wrong)


def _said_of(random: np.random.Generator, people: list[Passer], second: float, from_s: float) -> Iterator[TextSpan]:
    """In the second and third second of a passage."""
    for passer in people:
        if passer.said and 1.0 <= second - passer.start_s < 3.0:
            text = str(random.choice(SAYINGS[passer.said]))
            at_s = from_s + second
            yield TextSpan(feed_id="street", start_s=at_s, end_s=at_s + 1.0, text=text, origin="caption")


def _motion_at(
    random: np.random.Generator, people: list[Passer], at_s: float, ways: dict[float, float], rows: dict[float, int]
) -> Float32:
    field = np.zeros((ROWS, COLS, 2), np.float32)
    for passer in people:
        if not (passer.seen and passer.start_s <= at_s < passer.end_s):
            continue
        height, width = (np.array([14, 24]) if passer.seen == "car" else np.array([9, 4])) * (0.6 + 0.4 * passer.near)
        speed = (9.0 if passer.seen == "car" else 2.2) * (0.7 + 0.3 * passer.near)
        share = (at_s - passer.start_s) / (passer.end_s - passer.start_s)
        way, top = ways[passer.start_s], rows[passer.start_s]
        left = int((share if way > 0 else 1.0 - share) * (COLS - width))
        part = field[top : top + int(height), left : left + int(width)]
        part[..., 0] = way * speed
        part += random.normal(0.0, 0.2 * speed, part.shape)
    return field


def _sound_of(random: np.random.Generator, people: list[Passer], second: float) -> Float32:
    times_s = second + np.arange(RATE_HZ) / RATE_HZ
    bed = 0.004 * (1.0 + 0.4 * np.sin(2 * np.pi * second / 37.0)) * random.normal(size=RATE_HZ)
    mixed = bed + 0.006 * np.cumsum(random.normal(size=RATE_HZ)) / 60.0
    for passer in people:
        inside = (times_s >= passer.start_s) & (times_s < passer.end_s)
        if not passer.heard or not inside.any():
            continue
        loud = (
            0.05 * passer.near * inside * np.sin(np.pi * (times_s - passer.start_s) / (passer.end_s - passer.start_s))
        )
        mixed += loud * (_rolling(random, times_s) if passer.heard == "car" else _steps(random, times_s))
    samples: Float32 = np.clip(mixed, -1.0, 1.0).astype(np.float32)
    return samples


def _rolling(random: np.random.Generator, times_s: Float64) -> Float64:
    """Noise below some 300 Hz."""
    noise: Float64 = np.convolve(random.normal(size=len(times_s)), np.hanning(64) / 5.0, mode="same")
    return noise


def _steps(random: np.random.Generator, times_s: Float64) -> Float64:
    """Two short clicks a second, around 2 kHz."""
    since_s = np.mod(times_s, 0.5)
    rough = 1.0 + 0.3 * random.normal(size=len(times_s))
    clicks: Float64 = 2.5 * np.exp(-since_s / 0.03) * np.sin(2 * np.pi * 2000.0 * since_s) * rough
    return clicks
