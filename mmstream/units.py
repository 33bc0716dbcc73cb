"""Text of any language as a short list of units: words, or single signs where words are not parted by spaces.

The list is a vector, so that it goes wherever vectors go: two numbers below 2048 per unit, which half precision holds
exactly. What follows what is kept, what was said is not: a unit is a hash of 22 bits.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32

DIM = 512
"""Numbers in a vector: 256 units, with one before each line."""
BASE = 2048
FIRST_CODE = 16
"""Codes below this are no units; 1 begins a line."""
LINE = 1
LEAST_UNITS = 8
"""A line is cut no shorter than this; of a flood of lines every so-manieth is read instead."""
NUMBER = "#"
"""Every number, time and date, and everything with a digit in it (plates, tickets): which one is never unusual."""

_SCATTER = 0x9E3779B1
_LINE_END = re.compile(r"[.!?;](?=\s)|[。！？；…\n\r]+")
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
"""Thai and Lao, Burmese, Khmer: written without spaces, though their signs are not wide."""

Int64 = npt.NDArray[np.int64]


def vector_of(text: str) -> Float32:
    """(DIM,) the units of each line (sentence) once, in order. Of more than fits every line keeps its beginning.

    >>> [len(line) for line in lines_of(vector_of("Fire at gate 3! Okafor is on his way. Fire at gate 4!"))]
    [4, 5]
    """
    return packed(dict.fromkeys(lines_in(text)))


def lines_in(text: str) -> list[tuple[str, ...]]:
    """The units of each line (sentence) that has any."""
    return [units for line in _LINE_END.split(text) if (units := tuple(units_of(line)))]


def packed(lines: Iterable[Sequence[str]]) -> Float32:
    """(DIM,) of lines given as units."""
    codes: list[int] = []
    for line in _fitted(list(lines), DIM // 2):
        codes += [LINE, *map(code_of, line)]
    numbers = np.zeros((DIM // 2, 2), np.float32)
    numbers[: len(codes)] = np.stack(np.divmod(np.array(codes, np.int64), BASE), axis=1)
    return numbers.ravel()


def lines_of(vector: Float32) -> list[Int64]:
    """The codes of each line that has any, each at least `FIRST_CODE`."""
    pairs = np.clip(np.rint(vector[: len(vector) // 2 * 2]), 0, BASE - 1).astype(np.int64).reshape(-1, 2)
    codes = BASE * pairs[:, 0] + pairs[:, 1]
    codes = codes[codes > 0]
    begins = np.flatnonzero(codes == LINE).tolist()
    lines = [codes[first:last] for first, last in zip([0, *begins], [*begins, len(codes)], strict=True)]
    return [units for line in lines if len(units := line[line >= FIRST_CODE])]


def units_of(line: str) -> Iterator[str]:
    """Case, width and ligatures do not matter; signs count only where there are no letters. Numbers in a row are one.

    >>> list(units_of("Okafor: plate AB12 seen 14:05 at GATE-3"))
    ['okafor', 'plate', '#', 'seen', '#', 'at', 'gate', '#']
    >>> list(units_of("12号门着火")), list(units_of("🔥 🔥"))
    (['#', '号', '门', '着', '火'], ['🔥', '🔥'])
    """
    plain = unicodedata.normalize("NFKC", line).casefold()
    last = ""
    for word in _words(plain) or plain.split():
        unit = NUMBER if any(map(str.isnumeric, word)) else word
        if unit != NUMBER or last != NUMBER:
            yield unit
        last = unit


def code_of(unit: str) -> int:
    """22 bits, the same in every process."""
    # A CRC is linear: without the multiplication similar words would have related codes.
    number = zlib.crc32(unit.encode()) * _SCATTER & 0xFFFFFFFF
    return FIRST_CODE + (number >> 10) % (BASE * BASE - FIRST_CODE)


def _words(plain: str) -> list[str]:
    """Runs of letters and digits; signs of scripts without spaces one by one, each with the marks it carries."""
    words: list[str] = []
    is_open = False
    for sign in plain:
        kind = unicodedata.category(sign)[0]
        if kind == "M" and words:
            words[-1] += sign
        elif kind not in "LN":
            is_open = False
        elif is_open and not _stands_alone(sign):
            words[-1] += sign
        else:
            words.append(sign)
            is_open = not _stands_alone(sign)
    return words


def _stands_alone(sign: str) -> bool:
    code = ord(sign)
    if code < _UNSPACED[0][0]:
        return False
    return unicodedata.east_asian_width(sign) in "WF" or any(first <= code <= last for first, last in _UNSPACED)


def _fitted(lines: Sequence[Sequence[str]], room: int) -> list[Sequence[str]]:
    """So much of lines that need more than ``room`` that they do not."""
    kept = list(lines[:: max(1, -(-len(lines) // (room // (LEAST_UNITS + 1))))])
    longest = room - 1
    while sum(min(len(line), longest) + 1 for line in kept) > room:
        longest = max(LEAST_UNITS, longest * 3 // 4)
    return [line[:longest] for line in kept]
