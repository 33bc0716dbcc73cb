"""How well `mmstream.fusion.agreement` finds what shows in nothing else: ``python -m tests.fusion.measure_agreement``.

Two hours of a made-up street are learned, then 90 minutes are judged with an event every 90 s, and nothing more is
learned: a car that sounds like footsteps, somebody walking who is called a car. Writes JSON: the AUC of events against
all ordinary passers, by what judges. ``agreement:...`` is a pair's own mismatch, ``agreement`` what its p-value says;
``picture``, ``sound``, ``words`` and ``without`` (the fused surprise without agreement) are the controls, and
``shuffled`` is the same learned from sounds and words of ten minutes earlier.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmstream.fusion.agreement import CHANNELS as PAIR_CHANNELS
from mmstream.fusion.agreement import Agreement
from mmstream.fusion.evidence import HarmonicMean
from mmstream.normality.memory import Memory
from mmstream.types import AlignedWindow
from tests.fusion.street import CHANNELS, Passer, passers, windows

LEARN_S, JUDGE_S, EVENT_EVERY_S = 7200.0, 5400.0, 90.0
LATER = 600
NAMES = (*PAIR_CHANNELS, "agreement", "fused", "without", "picture", "sound", "words")


class Judge:
    """Memory, agreement and fusion as the path has them; the same once more without agreement."""

    def __init__(self) -> None:
        self.agreement = Agreement(CHANNELS)
        self._memory, self._plain = Memory({**CHANNELS, **PAIR_CHANNELS}), Memory(CHANNELS)
        self._fuser = HarmonicMean()
        self.cpu_s = 0.0

    def judge(self, window: AlignedWindow, *, learn: bool) -> dict[str, float]:
        started_s = time.thread_time()
        found = self.agreement.weigh(window)
        self.cpu_s += time.thread_time() - started_s
        weighed = self._memory.weigh(dataclasses.replace(window, embeddings=(*window.embeddings, *found)))
        plain = self._plain.weigh(window)
        if learn:
            self._memory.keep(weighed.lesson, hold=False)
            self._plain.keep(plain.lesson, hold=False)
            started_s = time.thread_time()
            self.agreement.keep(window.end_s, hold=False)
            self.cpu_s += time.thread_time() - started_s
        scores = {"fused": self._fuser.fuse(weighed.aspects)[0], "without": self._fuser.fuse(plain.aspects)[0]}
        for item in weighed.aspects:
            scores[item.modality] = max(-math.log10(item.p), scores.get(item.modality, 0.0))
        return scores | {embedding.channel: float(embedding.vector[0]) for embedding in found}


def mispaired(made: Sequence[AlignedWindow]) -> Iterator[AlignedWindow]:
    """The pictures with the sounds and words of `LATER` windows before."""
    for number, window in enumerate(made):
        others = made[number - LATER].embeddings
        seen = [e for e in window.embeddings if CHANNELS[e.channel].modality == "picture"]
        rest = [e for e in others if CHANNELS[e.channel].modality != "picture"]
        yield dataclasses.replace(window, embeddings=(*seen, *rest))


def report(judge: Judge, people: Sequence[Passer], judged: Sequence[tuple[float, dict[str, float]]]) -> dict[str, Any]:
    peaks: dict[str, list[dict[str, float]]] = {"": [], "sound": [], "words": []}
    for passer in people:
        near = [scores for at_s, scores in judged if passer.start_s + 1.0 <= at_s <= passer.end_s + 2.0]
        if near:
            peaks[passer.wrong].append({name: max(scores.get(name, 0.0) for scores in near) for name in NAMES})
    found = {
        wrong: {name: round(auc([p[name] for p in peaks[wrong]], [p[name] for p in peaks[""]]), 3) for name in NAMES}
        for wrong in ("sound", "words")
    }
    return {"events": {w: len(p) for w, p in peaks.items()}, "auc": found, "pairs": judge.agreement.summary()}


def auc(events: Sequence[float], others: Sequence[float]) -> float:
    higher = np.subtract.outer(np.asarray(events), np.asarray(others))
    return float((higher > 0).mean() + 0.5 * (higher == 0).mean())


def measure(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    learned = list(windows(random, passers(random, LEARN_S), LEARN_S))
    people = passers(random, JUDGE_S, event_every_s=EVENT_EVERY_S)
    from_s = LEARN_S + 100.0
    shown = list(windows(random, people, JUDGE_S, from_s=from_s))
    result: dict[str, Any] = {"seed": seed}
    for name, lesson in (("learned", learned), ("shuffled", list(mispaired(learned)))):
        judge, first_s = Judge(), dict[str, int]()
        for window in lesson:
            judge.judge(window, learn=True)
            for pair, trial in judge.agreement.summary().items():
                if trial["used"]:
                    first_s.setdefault(pair, round(window.end_s))
        judged = [(window.end_s - from_s, judge.judge(window, learn=False)) for window in shown]
        result[name] = report(judge, people, judged) | {"first_used_s": first_s}
        result[name]["cpu_ms_per_window"] = round(1000.0 * judge.cpu_s / (len(lesson) + len(shown)), 3)
    return result


if __name__ == "__main__":
    for number in [int(argument) for argument in sys.argv[1:]] or [1, 2]:
        sys.stdout.write(json.dumps(measure(number), indent=1) + "\n")
        sys.stdout.flush()
