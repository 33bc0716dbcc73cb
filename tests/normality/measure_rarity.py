"""``python -m tests.normality.measure_rarity``: rarity of unusual lines by kind and language, beside two controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmstream.encoders.words import WordsEncoder
from mmstream.normality.bank import Bank
from mmstream.types import Float32, TextSpan, Window
from mmstream.units import vector_of
from tests.normality.lines import KINDS, Writer
from tests.normality.test_rarity import auc, learned

NUM_HELD_OUT, NUM_UNUSUAL = 500, 40


def bag(line: str) -> Float32:
    """The encoder's own vector: hashed words and pieces."""
    span = TextSpan(feed_id="cam", start_s=0.0, end_s=0.0, text=line, origin="pushed")
    found = WordsEncoder().encode(Window(feed_id="cam", start_s=0.0, end_s=2.0, texts=(span,)))
    assert found is not None
    return found.vector


def nearest_bags(lines: Sequence[str]) -> Callable[[str], float]:
    bank = Bank(dim=WordsEncoder().dim, density=False)
    for number, line in enumerate(lines):
        bank.learn(bag(line), 60.0 * number)
    return lambda line: bank.score(bag(line))


def report(language: str) -> None:
    rarity = learned(language)
    ways: dict[str, Callable[[str], float]] = {
        "rarity": lambda line: rarity.score(vector_of(line)),
        "nearest hashed bags": nearest_bags(Writer(language, 1).ordinary(5000)),
        "length": lambda line: float(len(line)),
    }
    usual = Writer(language, 99, fresh=True).ordinary(NUM_HELD_OUT)
    writer = Writer(language, 7)
    unusual = {kind: writer.unusual(kind, NUM_UNUSUAL) for kind in KINDS}
    for name, score in ways.items():
        ordinary = [score(line) for line in usual]
        found = {kind: [score(line) for line in lines] for kind, lines in unusual.items()}
        threshold = float(np.quantile(ordinary, 0.99))
        by_kind = ", ".join(f"{kind} {auc(scores, ordinary):.3f}" for kind, scores in found.items())
        everything = [score for scores in found.values() for score in scores]
        share = float(np.mean([score > threshold for score in everything]))
        print(f"{language}, {name}: AUC {by_kind}; found at 1 % of ordinary lines {share:.2f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    for either in ("english", "chinese"):
        report(either)
