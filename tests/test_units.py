"""Text as units: any script, bounded, the same everywhere."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.units import BASE, DIM, FIRST_CODE, lines_in, lines_of, units_of, vector_of


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("Fire at GATE-3!", ["fire", "at", "gate", "#"]),
        ("12:05 / 2024-11-03 plate AB12", ["#", "plate", "#"]),
        ("三号门12号车着火", ["#", "号", "门", "#", "号", "车", "着", "火"]),
        ("助けてください", list("助けてください")),
        ("ช่วยด้วย", ["ช่", "ว", "ย", "ด้", "ว", "ย"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("ＦＵＬＬ ｗｉｄｔｈ １２", ["full", "width", "#"]),
        ("🔥 🔥", ["🔥", "🔥"]),
        ("  \n ", []),
    ],
)
def test_every_script_is_cut_into_words_or_signs_and_numbers_are_one(text: str, units: list[str]) -> None:
    assert list(units_of(text)) == units


def test_sentences_are_lines_and_each_is_kept_once() -> None:
    assert lines_in("Smoke in hall 3. Unit 4 on its way!\nAll clear。") == [
        ("smoke", "in", "hall", "#"),
        ("unit", "#", "on", "its", "way"),
        ("all", "clear"),
    ]
    assert len(lines_of(vector_of("fire\nfire\nFire"))) == 1


def test_of_a_flood_every_line_that_is_read_keeps_its_beginning() -> None:
    lines = lines_of(vector_of("\n".join(f"{'word ' * 40}{number}x{number}y" for number in range(300))))
    assert lines_of(vector_of("word " * 40))[0][:8].tolist() == lines[0][:8].tolist()
    many = lines_of(
        vector_of(
            "\n".join(
                f"line{chr(97 + number % 26)}{chr(97 + number // 26)} is said here now by someone else again today"
                for number in range(300)
            )
        )
    )
    assert 20 <= len(many) <= DIM // 2 // 9
    assert all(len(line) >= 8 for line in many)


@given(st.text(max_size=6000))
def test_no_text_breaks_it_and_half_precision_keeps_it(text: str) -> None:
    vector = vector_of(text)
    assert vector.shape == (DIM,)
    assert vector.dtype == np.float32
    halved = vector.astype(np.float16).astype(np.float32)
    assert [line.tolist() for line in lines_of(halved)] == [line.tolist() for line in lines_of(vector)]
    assert all((line >= FIRST_CODE).all() and (line < BASE * BASE).all() for line in lines_of(vector))


def test_another_process_gives_the_same_bytes() -> None:
    code = "from mmstream.units import vector_of; print(vector_of('Fire at gate 3, 三号门着火').tobytes().hex())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == vector_of("Fire at gate 3, 三号门着火").tobytes().hex()
