"""Composed streets: repeatable, seamless, as loud as they say, and nothing marks an event but its sound."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.evaluation.compose import (
    BED_DB,
    EVENT_SNRS_DB,
    RATE_HZ,
    Composition,
    Material,
    at_snr,
    coloured,
    faded,
    in_room,
    respeed,
    rms,
)
from mmstream.types import Float32


def tone(frequency_hz: float, seconds: float) -> Float32:
    wave: Float32 = np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.float32)
    return wave


def make_material() -> Material:
    random = np.random.default_rng(0)
    return Material(
        beds=(coloured(6 * RATE_HZ, 0.5, random),),
        ordinary={"hum": tone(200.0, 3.0), "dog": tone(700.0, 0.3)},
        events={"siren": tone(2000.0, 4.0), "shot": tone(3000.0, 0.5)},
    )


def make(seed: int = 1, *, minutes: int = 10, events: bool = True) -> Composition:
    return Composition(make_material(), duration_s=60.0 * minutes, seed=seed, events=events)


def test_the_same_seed_gives_the_same_sound_and_another_seed_another():
    once, again, other = (make(seed).render(30.0, 40.0) for seed in (1, 1, 2))
    assert once.tobytes() == again.tobytes()
    assert once.tobytes() != other.tobytes()


def test_rendered_in_pieces_it_is_what_it_is_in_one():
    whole = make().render(0.0, 90.0)
    composition = make()
    pieces = [composition.render(start_s, start_s + 7.5) for start_s in np.arange(0.0, 90.0, 7.5)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)
    assert whole.dtype == np.float32


def test_every_minute_has_one_event_and_one_sham_and_they_do_not_meet():
    composition = make(minutes=60)
    events, shams = ([p for p in composition.placed if p.kind == kind] for kind in ("event", "sham"))
    assert [int(p.start_s // 60) for p in events] == list(range(60))
    assert [int(p.start_s // 60) for p in shams] == list(range(60))
    assert {p.name for p in events} == {"siren", "shot"}
    assert {p.name for p in shams} <= {"hum", "dog"}
    assert all(e.end_s <= s.start_s or s.end_s <= e.start_s for e, s in zip(events, shams, strict=True))
    for of_kind in (events, shams):
        ratios = sorted(p.snr_db for p in of_kind)
        assert ratios == sorted(db for db, count in EVENT_SNRS_DB.items() for _ in range(count))


def test_without_events_there_are_only_ordinary_sounds_every_half_minute():
    placed = make(events=False).placed
    assert {p.kind for p in placed} == {"ordinary"}
    assert [int(p.start_s // 30) for p in placed] == list(range(20))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_a_placed_sound_is_as_loud_against_the_background_as_it_says(snr_db):
    around = coloured(4 * RATE_HZ, 0.5, np.random.default_rng(1)) * np.float32(0.02)
    placed = at_snr(tone(1000.0, 4.0), around, snr_db)
    assert 20 * np.log10(rms(placed) / rms(around)) == pytest.approx(snr_db, abs=0.1)


def test_an_event_raises_its_own_band_by_about_its_ratio():
    composition = make(minutes=60)
    loud = next(p for p in composition.placed if p.kind == "event" and p.name == "siren" and p.snr_db == 20.0)
    heard = composition.render(loud.start_s, loud.end_s)
    assert 20 * np.log10(rms(heard)) > BED_DB + 8.0


def test_the_bed_neither_clicks_nor_falls_silent_where_crops_meet():
    samples = make(events=False).render(0.0, 300.0)
    tenths = samples[: samples.size // 1600 * 1600].reshape(-1, 1600)
    levels_db = 20 * np.log10(np.sqrt(np.square(tenths).mean(axis=1)) + 1e-9)
    assert levels_db.min() > BED_DB - 15.0
    assert np.abs(samples).max() < 1.0


def test_a_room_adds_a_tail_and_keeps_the_start():
    click = np.zeros(RATE_HZ, np.float32)
    click[0] = 1.0
    wet = in_room(click, np.random.default_rng(0))
    assert wet[0] == pytest.approx(1.0, abs=1e-3)
    early, late = rms(wet[100:1600]), rms(wet[4000:4700])
    assert early > 10 * late > 0.0
    assert wet.size == click.size


def test_played_faster_it_is_shorter_and_higher():
    played = respeed(tone(1000.0, 1.0), 1.25)
    assert played.size == int(RATE_HZ / 1.25)
    spectrum = np.abs(np.fft.rfft(played))
    assert np.argmax(spectrum) * RATE_HZ / played.size == pytest.approx(1250.0, abs=3.0)


def test_two_pieces_that_fade_into_one_another_keep_their_power():
    random = np.random.default_rng(3)
    one, other = (faded(coloured(RATE_HZ, 0.0, random)) for _ in range(2))
    overlap = round(0.1 * RATE_HZ)
    assert rms(one[-overlap:] + other[:overlap]) == pytest.approx(1.0, abs=0.15)


def test_too_little_material_or_time_is_refused():
    with pytest.raises(ValueError, match="duration_s"):
        Composition(make_material(), duration_s=10.0, seed=0)
    empty = Material(beds=(), ordinary={}, events={})
    with pytest.raises(ValueError, match="at least one bed"):
        Composition(empty, duration_s=60.0, seed=0)
