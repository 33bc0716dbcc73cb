"""Words as they are looked for: the same pieces from a stored text and from a question, in any script.

Alphabets are cut at everything that is no letter or digit. Scripts that are written without spaces (Chinese, Japanese,
Thai and others) become overlapping pairs of characters: dictionaries cut the same characters differently in another
sentence (ICU cuts 打架斗殴 into 打架 斗 殴), and then the question misses the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_TERMS = 2000
"""Of one text."""

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
_PIECE = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^\W_{_UNSPACED}]+")


def stored_terms(text: str) -> str:
    """All that a text can be found by: words, single unspaced characters and pairs of them, joined by spaces.

    >>> stored_terms("Ｓmoke near GATE-3: 有人打架")
    'smoke near gate 3 有 人 打 架 有人 人打 打架'
    """
    return " ".join(_terms(text, singles=True)[:MAX_TERMS])


def asked_terms(text: str) -> list[str]:
    """What a question asks for: pairs, and a single character only where it stands alone.

    >>> asked_terms("打架"), asked_terms("火 fire!"), asked_terms("...")
    (['打架'], ['火', 'fire'], [])
    """
    return list(dict.fromkeys(_terms(text, singles=False)))[:64]


def snippet(text: str, terms: Sequence[str], max_chars: int) -> str:
    """``text`` cut to ``max_chars`` around the first of the terms in it.

    >>> snippet("one two three four", ["three"], 11)
    '… two three …'
    """
    if len(text) <= max_chars:
        return text
    low = text.casefold()
    at = min((place for place in (low.find(term) for term in terms) if place >= 0), default=0)
    start = max(0, min(at - max_chars // 2, len(text) - max_chars))
    cut = text[start : start + max_chars].strip()
    return f"{'… ' if start > 0 else ''}{cut}{' …' if start + max_chars < len(text) else ''}"


def _terms(text: str, *, singles: bool) -> list[str]:
    terms: list[str] = []
    for match in _PIECE.finditer(_plain(text)):
        piece = match[0]
        if match["unspaced"] is None:
            terms.append(piece)
            continue
        if singles or len(piece) == 1:
            terms += piece
        terms += [piece[at : at + 2] for at in range(len(piece) - 1)]
    return terms


def _plain(text: str) -> str:
    """One width, one case, no accents over Latin letters."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    without = "".join(char for char in folded if not "\u0300" <= char <= "\u036f")
    return unicodedata.normalize("NFC", without)
