"""Ordinary lines from a file, so that a fresh feed knows the site's words before anybody has said any."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mmstream.encoders.words import WordsEncoder
from mmstream.errors import ConfigError
from mmstream.normality.history import History
from mmstream.sources.captions import decode_text
from mmstream.types import Float32
from mmstream.units import DIM, lines_in, packed

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 2**20
MAX_LINES = 100_000
"""Of a longer file every so-manieth line is learned: ten seconds' work, and more would change little."""
MAX_UNITS = 60
"""Of one line; four such lines and more are learned at once."""


def taught_by(path: str) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Channel -> what a feed's history of it is to start from; {} for no file.

    A file that has become unreadable costs the feeds what it could have taught them, not their lives.
    """
    if not path:
        return {}
    try:
        lines = read_lines(path)
    except ConfigError as error:
        log.error("%s", error.sentence)
        return {}
    history = History(WordsEncoder.channel, DIM)
    history.teach(_vectors(lines))
    log.info("the vocabulary %s taught %d words in %d lines", path, history.num_rows, len(lines))
    return {WordsEncoder.channel.name: history.state()}


def read_lines(path: str) -> list[str]:
    """The lines of a text file in whatever encoding, at most `MAX_LINES`, evenly.

    Raises:
        ConfigError: it cannot be read, is too large, or holds no words.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise ConfigError(f"words.vocabulary {path} is larger than {MAX_BYTES >> 20} MiB; give a part of it")
        lines = [line for line in decode_text(Path(path).read_bytes()).splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError(f"cannot read words.vocabulary {path}: {error.strerror}") from error
    if not lines:
        raise ConfigError(f"words.vocabulary {path} holds no words; give a text file of ordinary lines")
    return lines[:: -(-len(lines) // MAX_LINES)]


def _vectors(lines: Sequence[str]) -> Iterator[Float32]:
    """As many lines in a vector as fit: learning one costs hardly less than learning ten."""
    room = DIM // 2
    waiting: list[Sequence[str]] = []
    for line in lines:
        for units in lines_in(line):
            if sum(len(other) + 1 for other in waiting) + len(units[:MAX_UNITS]) + 1 > room:
                yield packed(waiting)
                waiting = []
            waiting.append(units[:MAX_UNITS])
    yield packed(waiting)
