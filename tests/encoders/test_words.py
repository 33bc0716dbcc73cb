"""Words as vectors, in any language."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mmstream.encoders.words import WordsEncoder
from mmstream.types import MAX_WINDOW_CHARS, Embedding, TextSpan, Window


def make_window(*texts: str) -> Window:
    spans = tuple(
        TextSpan(feed_id="cam", start_s=0.1 * n, end_s=0.1 * n + 1, text=text, origin="caption")
        for n, text in enumerate(texts)
    )
    return Window(feed_id="cam", start_s=0.0, end_s=2.0, texts=spans)


def encode(*texts: str) -> Embedding:
    answer = WordsEncoder().encode(make_window(*texts))
    assert answer is not None
    return answer


def likeness(one: str, other: str) -> float:
    return float(encode(one).vector @ encode(other).vector)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("the delivery has arrived", "deliveries have arrived", "fire in the boiler room"),
        ("Fire at gate 3", "FIRE, at gate 4!", "good morning everybody"),
        ("Feuerwehr", "Feueralarm", "Guten Morgen"),
        ("三号门着火了", "二号门着火", "欢迎光临本店"),
        ("пожар у ворот", "Пожар около ворот", "доброе утро"),
        ("حريق في البوابة", "حريق عند البوابة", "صباح الخير"),
    ],
)
def test_what_shares_words_or_pieces_is_nearer_than_what_does_not(text: str, near: str, far: str) -> None:
    assert likeness(text, near) > likeness(text, far) + 0.1
    assert abs(likeness(text, far)) < 0.3


def test_vectors_have_length_one_and_case_and_width_do_not_matter() -> None:
    assert np.linalg.norm(encode("some words").vector) == pytest.approx(1.0, abs=1e-6)
    assert encode("GATE 3").vector.tobytes() == encode("gate 3").vector.tobytes()


def test_the_text_is_kept_in_order_of_time() -> None:
    answer = encode("first this ", "then that")
    assert answer.text == "first this\nthen that"
    assert answer.model == "hashed-pieces-256@1"


@pytest.mark.parametrize("texts", [(), ("",), ("  ", "\n")])
def test_no_words_are_absent_and_not_zero(texts: tuple[str, ...]) -> None:
    assert WordsEncoder().encode(make_window(*texts)) is None


def test_signs_alone_are_words_too() -> None:
    assert np.linalg.norm(encode("🔥").vector) == pytest.approx(1.0, abs=1e-6)


def test_a_flood_of_text_is_cut() -> None:
    assert len(encode("word " * 100_000).text) <= MAX_WINDOW_CHARS


def test_another_process_computes_the_same_bytes() -> None:
    """Python's own hash of a string differs from process to process; vectors must not."""
    code = (
        "from mmstream.encoders.words import WordsEncoder; from mmstream.types import *;"
        "w = Window(feed_id='cam', start_s=0., end_s=2., texts=(TextSpan(feed_id='cam', start_s=0., end_s=1.,"
        "text='Fire at gate 3', origin='caption'),)); print(WordsEncoder().encode(w).vector.tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == encode("Fire at gate 3").vector.tobytes().hex()


def test_unrelated_sentences_spread_over_all_buckets() -> None:
    used = sum(encode(f"{number * 7919} {number * 104729}").vector != 0 for number in range(200))
    assert (used > 0).all()
