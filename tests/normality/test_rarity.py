"""Rarity of words: new names and numbers are ordinary, unusual lines are not, in English and in Chinese."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mmstream.normality.rarity import Rarity
from mmstream.sources.captions import read_captions
from mmstream.units import DIM, vector_of
from tests.normality.lines import KINDS, Writer

LANGUAGES = ("english", "chinese")
NUM_LEARNED, NUM_HELD_OUT, NUM_UNUSUAL = 5000, 300, 20


def auc(unusual: Sequence[float], usual: Sequence[float]) -> float:
    """Chance that an unusual line scores above a usual one."""
    one, other = np.array(unusual)[:, None], np.array(usual)[None]
    return float(np.mean(one > other) + 0.5 * np.mean(one == other))


@functools.lru_cache(maxsize=4)
def learned(language: str, count: int = NUM_LEARNED) -> Rarity:
    rarity = Rarity(dim=DIM)
    for number, line in enumerate(Writer(language, 1).ordinary(count)):
        rarity.learn(vector_of(line), 60.0 * number)
    return rarity


@functools.lru_cache(maxsize=4)
def held_out(language: str) -> tuple[str, ...]:
    """Ordinary lines with names, places and numbers that nobody has said before."""
    return tuple(Writer(language, 99, fresh=True).ordinary(NUM_HELD_OUT))


def scores(language: str, lines: Sequence[str]) -> list[float]:
    return [learned(language).score(vector_of(line)) for line in lines]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_unusual_lines_of_every_kind_stand_out_among_ordinary_ones_with_new_names(language: str, kind: str) -> None:
    unusual = scores(language, Writer(language, 7).unusual(kind, NUM_UNUSUAL))
    assert auc(unusual, scores(language, held_out(language))) >= 0.95


@pytest.mark.parametrize("language", LANGUAGES)
def test_at_one_false_line_in_a_hundred_nearly_all_unusual_ones_are_found(language: str) -> None:
    unusual = [line for kind in KINDS for line in Writer(language, 7).unusual(kind, NUM_UNUSUAL)]
    usual = held_out(language)
    threshold = np.quantile(scores(language, usual), 0.99)
    assert np.mean(scores(language, unusual) > threshold) >= 0.9
    assert auc([len(line) for line in unusual], [len(line) for line in usual]) < 0.9


@pytest.mark.parametrize(
    ("language", "ordinary", "unusual"),
    [
        ("english", "officer Okafor at gate 417", "officer down at gate 4 send help"),
        ("english", "Vehicle ZX99 QQQ entered through gate 993", "vehicle exploded beside the school bus"),
        ("english", "visitor Przybylski from Quuxian ltd to see Anke Vandervoort badge G99999", "nobody leaves alive"),
        ("chinese", "欧阳嬷在998号门执勤", "有人在门口持刀砍人"),
        ("chinese", "车辆藏Z98765从77号门进入", "车辆失控撞向人群"),
    ],
)
def test_a_new_name_and_number_in_an_ordinary_frame_is_more_ordinary_than_ordinary_words_about_an_event(
    language: str, ordinary: str, unusual: str
) -> None:
    assert scores(language, [ordinary])[0] < scores(language, [unusual])[0]
    assert scores(language, [ordinary])[0] < np.quantile(scores(language, held_out(language)), 0.995)


def test_one_unknown_word_is_weak_evidence_and_several_are_strong() -> None:
    one, two, four = scores("english", ["Qwzx", "Qwzx blorfex", "Qwzx blorfex dunnig paltrem"])
    assert one < two < four
    assert one < np.quantile(scores("english", held_out("english")), 0.99) < four


def test_known_words_that_never_stand_together_are_unusual() -> None:
    usual, mixed = scores(
        "english", ["the train to Wistee departs from platform 9", "platform train departs the wallet to"]
    )
    assert mixed > usual + 1.0


def test_numbers_times_and_plates_change_nothing() -> None:
    lines = ["vehicle AB12 CDE left through gate 3", "vehicle ZZ98 CDE left through gate 1,204"]
    assert scores("english", lines)[0] == scores("english", lines)[1]


def test_a_strange_line_among_ordinary_ones_counts_as_if_it_came_alone() -> None:
    strange = "there is a bomb under the bench"
    among = "\n".join(["unit 3 on patrol in sector 9", strange, "officer Rou at gate 12"])
    assert scores("english", [among]) == pytest.approx(scores("english", [strange]))


def test_what_is_said_again_and_again_becomes_ordinary() -> None:
    rarity = Rarity(dim=DIM)
    rarity.load(learned("english").state())
    line = vector_of("the harvester is in the orchard behind the cider press")
    before = rarity.score(line)
    for hour in range(12):
        rarity.learn(line, 1e7 + 3600.0 * hour)
    assert rarity.score(line) < 0.4 * before


def test_a_line_that_stays_for_several_windows_is_learned_once_and_one_that_is_taught_again_is_not() -> None:
    once, stays, taught = Rarity(dim=DIM), Rarity(dim=DIM), Rarity(dim=DIM)
    vector = vector_of("smoke in the hall")
    once.learn(vector, 10.0)
    for second in range(10, 15):
        stays.learn(vector, float(second))
    for _ in range(5):
        taught.learn(vector, 10.0)
    probe = vector_of("smoke in the yard")
    assert (len(stays), len(taught)) == (5, 5)
    assert stays.score(probe) == once.score(probe) != taught.score(probe)


def test_it_goes_on_exactly_where_its_state_was_taken() -> None:
    some = Writer("english", 3).ordinary(300)
    one, other = Rarity(dim=DIM), Rarity(dim=DIM)
    for number, line in enumerate(some[:200]):
        one.learn(vector_of(line), 1.5 * number)
    other.load(one.state())
    for number, line in enumerate(some[200:]):
        vector = vector_of(line)
        assert one.score(vector) == other.score(vector)
        one.learn(vector, 300.0 + 1.5 * number)
        other.learn(vector, 300.0 + 1.5 * number)
    assert one.num_rescaled == other.num_rescaled > 0
    assert one.self_scores().tobytes() == other.self_scores().tobytes()


def test_nothing_is_kept_before_the_first_words_and_never_more_than_a_megabyte() -> None:
    empty = Rarity(dim=DIM)
    assert sum(array.nbytes for array in empty.state().values()) < 200
    random = np.random.default_rng(0)
    for number in range(800):  # 200,000 words, none twice
        codes = random.integers(16, 2048 * 2048, 250)
        vector = np.zeros(DIM, np.float32)
        vector[:500] = np.stack(np.divmod(codes, 2048), axis=1).ravel()
        empty.learn(vector, float(number))
    assert sum(array.nbytes for array in empty.state().values()) <= 2**20
    assert np.isfinite(empty.score(vector_of("anything at all")))


@pytest.mark.footage
@pytest.mark.parametrize(
    ("kind", "least"), [("emergency", 0.95), ("threat", 0.95), ("gibberish", 0.85), ("salad", 0.9)]
)
def test_what_is_no_dialogue_stands_out_among_the_dialogues_of_a_film(footage: Path, kind: str, least: float) -> None:
    """Open language, every sixth word new: the rest of the film is ordinary, in French."""
    dialogue = Rarity(dim=DIM)
    cues = [text for _, _, text in read_captions(str(footage / "subtitles" / "utf-8.srt"))]
    for number, text in enumerate(cues[:1000]):
        dialogue.learn(vector_of(" ".join(text.split())), 10.0 * number)
    usual = [dialogue.score(vector_of(" ".join(text.split()))) for text in cues[1000:]]
    unusual = [dialogue.score(vector_of(line)) for line in Writer("english", 7).unusual(kind, NUM_UNUSUAL)]
    assert auc(unusual, usual) >= least
