from __future__ import annotations

import json

import numpy as np

from mmstream.normality.lessons import Key, Lesson
from mmstream.normality.quarantine import MAX_BYTES, MAX_CASES, MAX_WINDOWS, UNREVIEWED_S, Quarantine

KEY: Key = ("appearance", "a@1", 8, "")


def make_lessons(count: int, dim: int = 8, from_s: float = 0.0) -> list[Lesson]:
    random = np.random.default_rng(0)
    return [
        Lesson(
            start_s=from_s + i,
            end_s=from_s + i + 2,
            parts=((("appearance", "a@1", dim, ""), random.normal(size=dim).astype(np.float32), 1.0),),
            sums=(),
        )
        for i in range(count)
    ]


def test_a_long_alert_keeps_64_windows_spread_over_all_of_it():
    quarantine = Quarantine()
    quarantine.put("a", make_lessons(200), 200.0)
    case = quarantine.case("a")
    assert case is not None
    assert len(case.lessons) <= MAX_WINDOWS
    assert case.lessons[-1].start_s > 190


def test_the_ninth_alert_pushes_the_oldest_out():
    quarantine = Quarantine()
    for number in range(MAX_CASES + 1):
        quarantine.put(f"alert-{number}", make_lessons(3), float(number))
    assert len(quarantine) == MAX_CASES
    assert quarantine.case("alert-0") is None


def test_wide_vectors_stay_within_the_bytes_and_every_case_keeps_something():
    quarantine = Quarantine()
    for number in range(MAX_CASES):
        quarantine.put(f"alert-{number}", make_lessons(64, dim=4096), float(number))
    record, vectors = quarantine.state([("appearance", "a@1", 4096, "")])
    assert vectors.nbytes <= MAX_BYTES
    assert [len(case[4]) >= 1 for case in record] == [True] * MAX_CASES


def test_what_nobody_looks_at_comes_out_after_three_days_with_half_its_windows():
    quarantine = Quarantine()
    quarantine.put("a", make_lessons(10), 100.0)
    assert quarantine.due(100.0 + UNREVIEWED_S - 1) == []
    assert len(quarantine.due(100.0 + UNREVIEWED_S)) == 5
    assert quarantine.due(200.0 + UNREVIEWED_S) == []


def test_what_was_decided_does_not_come_out_again():
    quarantine = Quarantine()
    quarantine.put("a", make_lessons(10), 100.0)
    case = quarantine.case("a")
    assert case is not None
    case.fate = "confirmed"
    assert quarantine.due(100.0 + UNREVIEWED_S) == []
    assert len(quarantine) == 0


def test_it_is_kept_and_found_again():
    first, second = Quarantine(), Quarantine()
    first.put("a", make_lessons(10), 100.0)
    first.put("b", make_lessons(5, from_s=50.0), 200.0)
    record, vectors = first.state([KEY])
    second.load(json.loads(json.dumps(record)), [KEY], vectors)
    for name in ("a", "b"):
        kept, found = first.case(name), second.case(name)
        assert kept is not None
        assert found is not None
        assert (found.since_s, found.fate) == (kept.since_s, kept.fate)
        for one, other in zip(kept.lessons, found.lessons, strict=True):
            assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
            assert one.parts[0][1].tolist() == other.parts[0][1].tolist()
