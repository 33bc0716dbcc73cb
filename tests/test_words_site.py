"""Three days of text through fusion, calibration and tracker: everyday words stay inside the budget, others alert."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mmstream.analysis import FeedAnalyzer
from mmstream.config import BudgetSection, ClipSection
from mmstream.encoders.words import WordsEncoder
from mmstream.types import Alert, EncodedWindow, TextSpan
from mmstream.vocabulary import taught_by
from mmstream.windowing import Windower
from tests.normality.lines import Writer

START_S = 1_700_006_400.0
DAY_S = 86_400.0
PER_DAY = 2.0


def day_of_lines(language: str, *, days: float, per_hour: float, seed: int) -> list[tuple[float, str]]:
    """(when, what): at random moments, with names that no vocabulary has had."""
    some = random.Random(seed)
    moments = sorted(some.uniform(0.0, days * DAY_S) for _ in range(round(24 * days * per_hour)))
    lines = Writer(language, seed, fresh=True).ordinary(len(moments))
    return [(START_S + at_s, line) for at_s, line in zip(moments, lines, strict=True)]


def encoded(said: Sequence[tuple[float, str]]) -> Iterator[EncodedWindow]:
    """As a feed of words gives them whose clock ticks: time is told around everything that is said."""
    windower, encoder = Windower("desk"), WordsEncoder()
    windower.advance("text", START_S - 10.0)
    for at_s, text in said:
        span = TextSpan(feed_id="desk", start_s=at_s, end_s=at_s, text=text, origin="pushed")
        windows = [*windower.advance("text", at_s - 3.0), *windower.push(span), *windower.advance("text", at_s + 3.0)]
        for window in windows:
            embedding = encoder.encode(window)
            assert embedding is not None
            yield EncodedWindow(feed_id="desk", start_s=window.start_s, end_s=window.end_s, embeddings=(embedding,))


def alerts_of(said: Sequence[tuple[float, str]], vocabulary: Path | None = None) -> list[Alert]:
    analyzer = FeedAnalyzer(
        "desk",
        channels={"words": WordsEncoder.channel},
        budget=BudgetSection(alerts_per_camera_per_day=PER_DAY),
        max_wait_s=3.0,
        clips=ClipSection(),
        taught=taught_by(str(vocabulary)) if vocabulary is not None else {},
    )
    told: dict[str, Alert] = {}
    for window in encoded(sorted(said)):
        told |= {alert.alert_id: alert for judged in analyzer.push(window) for alert in judged.alerts}
    return [alert for alert in told.values() if alert.severity != "notice"]


@pytest.mark.parametrize(("language", "per_hour"), [("english", 1.0), ("english", 12.0), ("chinese", 12.0)])
def test_everyday_words_stay_inside_the_budget_however_seldom_they_come(language: str, per_hour: float) -> None:
    alerts = alerts_of(day_of_lines(language, days=3.0, per_hour=per_hour, seed=11))
    assert len(alerts) <= 3.0 * PER_DAY + 2.0


@pytest.mark.parametrize("kind", ["emergency", "threat"])
@pytest.mark.parametrize("language", ["english", "chinese"])
def test_with_a_vocabulary_unusual_words_alert_on_the_second_day_and_are_shown(
    tmp_path: Path, language: str, kind: str
) -> None:
    vocabulary = tmp_path / "log.txt"
    vocabulary.write_text("\n".join(Writer(language, 1).ordinary(4000)), encoding="utf-8")
    usual = day_of_lines(language, days=1.2, per_hour=12.0, seed=12)
    event_s, line = START_S + DAY_S + 617.0, Writer(language, 5).unusual(kind, 1)[0]
    alerts = alerts_of([*usual, (event_s, line)], vocabulary)
    found = [alert for alert in alerts if abs(alert.start_s - event_s) < 5.0]
    assert [alert.text for alert in found] == [line]
    assert found[0].shares == {"words": 1.0}
    assert len(alerts) <= 1.2 * PER_DAY + 2.0
