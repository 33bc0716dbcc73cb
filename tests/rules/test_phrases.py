"""Phrases in what was said, in any script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.rules.phrases import Phrases, normalised


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("fire", "FIRE!"),
        ("fire", "there's a fire, run"),
        ("help me", "Help  me\nplease"),
        ("help me", "ＨＥＬＰ ｍｅ"),
        ("au secours", "AU SÉCOURS"),
        ("été", "en ete"),
        ("don't shoot", "dont shoot"),
        ("explo*", "two explosions"),
        ("man* down", "many down"),
        ("救命", "快来人啊救命!"),
        ("有人打架", "有 人 打架"),
        ("火事", "あっ、火事だ"),
        ("ไฟไหม้", "ตรงนั้นไฟไหม้แล้ว"),
        ("sos", "请求SOS支援"),
        ("пожар", "ПОЖАР в доме"),
        ("도와*", "저를 도와주세요"),
        ("straße", "in der STRASSE"),
        ("break-in", "a break in at gate 3"),
        ("打架 fight", "有人打架fight了"),
    ],
)
def test_a_phrase_is_found_however_it_is_written(phrase: str, text: str) -> None:
    assert Phrases([phrase]).find(text) == phrase


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("fire", "the fireman fired"),
        ("help me", "help mercy"),
        ("help me", "help us and me"),
        ("explo*", "unexploded"),
        ("art", "the cart starts"),
        ("救命", "救了一命"),
        ("sos", "sosage"),
        ("", "anything"),
        ("*", "anything"),
        ("?!", "what?!"),
        ("fire", ""),
    ],
)
def test_what_only_resembles_it_is_not(phrase: str, text: str) -> None:
    assert Phrases([phrase]).find(text) == ""


def test_the_first_of_several_is_named_as_it_was_given() -> None:
    assert Phrases(["Gun", "Fire"]).find("fire and a gun") == "Gun"


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(), st.text())
def test_any_words_are_found_between_any_others_and_nothing_breaks(before: str, phrase: str, after: str) -> None:
    found = Phrases([phrase]).find(f"{before} . {phrase} . {after}")
    if "*" not in phrase and normalised(phrase):
        assert found == phrase.strip()
    assert normalised(normalised(phrase)) == normalised(phrase)
