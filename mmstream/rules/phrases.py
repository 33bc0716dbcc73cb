"""Words and phrases found in what was said or written, in any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that put no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""

_SPACED = rf"[^\W{_UNSPACED}]"
_APOSTROPHES = re.compile("['’ʼ`]")
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_INSIDE_UNSPACED = re.compile(rf"(?<=[{_UNSPACED}]) (?=[{_UNSPACED}])")
_STRIPPED = ("LATIN", "GREEK")


def normalised(text: str) -> str:
    """One form for what reads alike: case, width, accents (of Latin and Greek letters), apostrophes, punctuation.

    >>> normalised("  Au  secours!! ＦＩＲＥ, C’est l'Été. 有 人 打架")
    'au secours fire cest lete 有人打架'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    letters: list[str] = []
    for letter in unicodedata.normalize("NFD", folded):
        if unicodedata.combining(letter) and letters and unicodedata.name(letters[-1], "").startswith(_STRIPPED):
            continue
        letters.append(letter)
    plain = _APOSTROPHES.sub("", unicodedata.normalize("NFC", "".join(letters)))
    return _INSIDE_UNSPACED.sub("", _BETWEEN_WORDS.sub(" ", plain)).strip()


class Phrases:
    """Looks for any of several phrases.

    In alphabets a phrase is found as whole words, where ``*`` at the end of a word stands for any ending; in scripts
    without spaces it is found anywhere. A phrase without any letter or digit is never found.

    >>> phrases = Phrases(["help me", "explo*", "救命"])
    >>> phrases.find("Please, HELP  me!"), phrases.find("an explosion"), phrases.find("快来人啊救命！")
    ('help me', 'explo*', '救命')
    >>> phrases.find("helpless men exploit") , phrases.find("nobody helped me")
    ('explo*', '')
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        patterns = [(phrase, _pattern(phrase)) for phrase in phrases]
        self._patterns = [(phrase.strip(), re.compile(found)) for phrase, found in patterns if found]

    def __len__(self) -> int:
        return len(self._patterns)

    def find(self, text: str) -> str:
        """The first of the phrases, as it was given, that is in ``text``; empty when none is."""
        return self.find_in(normalised(text)) if text and self._patterns else ""

    def find_in(self, plain: str) -> str:
        """The same for a text that is `normalised` already: once for many rules."""
        return next((phrase for phrase, pattern in self._patterns if pattern.search(plain)), "")


def _pattern(phrase: str) -> str:
    """Regular expression over `normalised` text; empty for a phrase that says nothing."""
    words = [found for word in phrase.split() if (found := _word(word))]
    # `normalised` takes the spaces out of scripts that have none
    return (" ?" if re.search(f"[{_UNSPACED}]", phrase) else " ").join(words)


def _word(word: str) -> str:
    is_open = word.endswith("*")
    plain = normalised(word)
    if not plain:
        return ""
    before = rf"(?<!{_SPACED})" if re.match(_SPACED, plain[0]) else ""
    if not re.match(_SPACED, plain[-1]):
        return before + re.escape(plain)
    return before + re.escape(plain) + (f"{_SPACED}*" if is_open else rf"(?!{_SPACED})")
