"""What a file of ordinary lines teaches a fresh feed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmstream.analysis import FeedAnalyzer
from mmstream.config import BudgetSection, ClipSection
from mmstream.encoders.words import WordsEncoder
from mmstream.errors import ConfigError
from mmstream.normality.memory import Memory
from mmstream.types import AlignedWindow, Embedding, TextSpan, Window
from mmstream.vocabulary import MAX_LINES, read_lines, taught_by
from tests.normality.lines import Writer

CHANNELS = {"words": WordsEncoder.channel}


def said(text: str, at_s: float = 1.7e9) -> Embedding:
    span = TextSpan(feed_id="desk", start_s=at_s, end_s=at_s, text=text, origin="pushed")
    found = WordsEncoder().encode(Window(feed_id="desk", start_s=at_s, end_s=at_s + 2.0, texts=(span,)))
    assert found is not None
    return found


def p_of(memory: Memory, text: str) -> float | None:
    embedding = said(text)
    window = AlignedWindow(feed_id="desk", start_s=embedding.start_s, end_s=embedding.end_s, embeddings=(embedding,))
    evidence = memory.weigh(window).channels
    return evidence[0].p if evidence else None


@pytest.mark.parametrize(("language", "encoding"), [("english", "cp1252"), ("chinese", "utf-16")])
def test_a_fresh_feed_knows_the_words_of_the_file_from_its_first_window(
    tmp_path: Path, language: str, encoding: str
) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(Writer(language, 1).ordinary(2500)), encoding=encoding)
    memory = Memory(CHANNELS, taught=taught_by(str(path)))
    ordinary = [p_of(memory, line) or 0.0 for line in Writer(language, 5, fresh=True).ordinary(40)]
    unusual = [p_of(memory, line) or 1.0 for line in Writer(language, 5).unusual("emergency", 10)]
    assert sum(p < 0.02 for p in ordinary) <= 4
    assert sum(p < 0.02 for p in unusual) >= 9
    assert p_of(Memory(CHANNELS), "officer down") is None


def test_feeds_that_say_nothing_hold_nothing_of_it_and_what_one_learns_stays_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(Writer("english", 1).ordinary(300)))
    taught = taught_by(str(path))
    before = {name: array.copy() for name, array in taught["words"].items()}
    silent, speaks = Memory(CHANNELS, taught=taught), Memory(CHANNELS, taught=taught)
    for number in range(40):
        embedding = said("the harvester is in the orchard", 1.7e9 + 20.0 * number)
        window = AlignedWindow(
            feed_id="desk", start_s=embedding.start_s, end_s=embedding.end_s, embeddings=(embedding,)
        )
        speaks.keep(speaks.weigh(window).lesson, hold=False)
    assert silent.sizes() == {}
    assert speaks.sizes()["words"] > 100
    assert all((taught["words"][name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("verdict", ["false_alarm", "true"])
def test_what_was_said_in_an_alert_becomes_ordinary_only_if_it_was_a_false_alarm(tmp_path: Path, verdict: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(Writer("english", 1).ordinary(1000)))
    memory = Memory(CHANNELS, taught=taught_by(str(path)))
    strange = "the harvester is in the orchard behind the cider press"
    before = p_of(memory, strange)
    embedding = said(strange)
    window = AlignedWindow(feed_id="desk", start_s=embedding.start_s, end_s=embedding.end_s, embeddings=(embedding,))
    memory.keep(memory.weigh(window).lesson, hold=True)
    memory.discard(embedding.start_s, "desk:1")
    memory.absorb("desk:1") if verdict == "false_alarm" else memory.confirm("desk:1")
    memory.learn_waiting()
    after = p_of(memory, strange)
    assert before is not None
    assert after is not None
    if verdict == "true":
        assert after == before < 0.02
    else:
        assert after > 5 * before


def test_a_snapshot_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(Writer("english", 1).ordinary(300)))
    options = {"channels": CHANNELS, "budget": BudgetSection(), "max_wait_s": 3.0, "clips": ClipSection()}
    taught, plain = (
        FeedAnalyzer("desk", taught=known, **options)  # type: ignore[arg-type]
        for known in (taught_by(str(path)), {})
    )
    assert plain.restore(taught.snapshot(), None)
    assert taught.restore(plain.snapshot(), None)


def test_a_file_that_cannot_be_used_is_told_by_name_and_costs_a_running_site_nothing(tmp_path: Path) -> None:
    for content in (None, b"", b" \n \n"):
        path = tmp_path / "none.txt"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"words\.vocabulary .*none\.txt"):
            read_lines(str(path))
        assert taught_by(str(path)) == {}
    assert taught_by("") == {}


def test_of_a_long_file_lines_are_taken_evenly(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(f"line {number}" for number in range(10 * MAX_LINES)))
    lines = read_lines(str(path))
    assert len(lines) <= MAX_LINES
    assert (lines[0], lines[-1]) == ("line 0", f"line {10 * MAX_LINES - 10}")
