"""Do rules and word search find what they ask for? A small CLIP is trained from nothing on rendered scenes that know
what they show, saved, loaded by the real encoder, and asked about scenes of layouts and colours it never saw.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.evaluation.metrics import auc
from mmstream.evaluation.rule_budget import BudgetSize, keep_budget
from mmstream.rules.resemblance import TextVectors
from mmstream.training.captioned import Caption, Scene, caption_of, entailed, facts_of, make_scene, truth
from mmstream.training.contrastive import Recipe, Shape, Truth, new_model, save, train_pairs, words_tokenizer
from mmstream.training.drawn import draw_all
from mmstream.types import Float32, UInt8

RULES = {
    "smoke or fire": "hazard",
    "fire": "fire",
    "a person lying on the ground": "lying",
    "有人躺在地上": "lying",
    "two people fighting": "fighting",
    "有人打架": "fighting",
    "a person running": "running",
    "a bus": "bus",
    "a lorry": "lorry",
    "a red car": "red car",
    "a yellow car": "yellow car",
}
"""What a rule looks like -> the fact that it is after. The last one's colour was in no picture learned from."""

TOP = 10
PICTURES_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is rendered, learned and asked."""

    num_scenes: int = 8000
    captions_per_scene: int = 4
    num_moments: int = 1000
    num_queries: int = 300
    recipe: Recipe
    shuffled_recipe: Recipe
    """Of the control: the same captions, dealt out at random."""
    budget: BudgetSize


Note = Callable[[str, int, int], None]
"""Told (what is being done, how far, of how much)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """Scenes to learn from, several captions of each."""

    pictures: UInt8
    captions: tuple[Caption, ...]
    scene_of: npt.NDArray[np.intp]
    """Caption -> its scene."""
    shown: npt.NDArray[np.bool_]
    """(scenes, facts)"""
    said: npt.NDArray[np.bool_]
    """(captions, facts)"""

    @classmethod
    def make(cls, seed: int, size: Size) -> Lesson:
        rng = np.random.default_rng(seed)
        scenes = [make_scene(rng) for _ in range(size.num_scenes)]
        captions = tuple(caption_of(rng, scene) for scene in scenes for _ in range(size.captions_per_scene))
        names = sorted({fact for caption in captions for fact in caption.facts})
        return cls(
            pictures=draw_all(scenes),
            captions=captions,
            scene_of=np.repeat(np.arange(len(scenes)), size.captions_per_scene),
            shown=facts_of(scenes, names),
            said=facts_of(captions, names),
        )

    @property
    def texts(self) -> list[str]:
        return [caption.text for caption in self.captions]

    def truth(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """A `training.contrastive.Truth`."""
        return entailed(self.shown[self.scene_of[rows]], self.said[columns])


def evaluate_rules(
    size: Size, *, seed: int = 0, models: Path | None = None, note: Note | None = None
) -> dict[str, Any]:
    """Train, save, load, ask: -> the report of ``mmstream eval rules``. Controls beside: an untrained model of the same
    shape, and one that was trained on captions dealt out at random.

    ``models``: a folder for what is trained; a model that is there already is not trained again.
    """
    note = note or (lambda _what, _done, _total: None)
    note("rendering", 0, 1)
    lesson = Lesson.make(seed, size)
    rng = np.random.default_rng(seed + 1_000_000)
    scenes = [make_scene(rng, test=True) for _ in range(size.num_moments)]
    queries = _queries(rng, scenes, size.num_queries)
    pictures = draw_all(scenes)
    with tempfile.TemporaryDirectory() as scratch:
        folder = models or Path(scratch)
        dealt = np.random.default_rng(seed).permutation(len(lesson.captions))
        _train(folder / "trained", lesson, lesson.texts, lesson.truth, size.recipe, partial(note, "training"))
        encoder = load(folder / "trained")
        report = _judge(encoder, scenes, pictures, queries)
        report["budget"] = keep_budget(encoder, size.budget, seed=seed, note=partial(note, "budget"))
        _make_untrained(folder / "untrained", lesson.texts)
        texts = [lesson.captions[i].text for i in dealt.tolist()]
        _train(folder / "shuffled", lesson, texts, _only_its_own, size.shuffled_recipe, partial(note, "shuffled"))
        report["controls"] = {
            "untrained": _judge(load(folder / "untrained"), scenes, pictures, queries),
            "shuffled_captions": _judge(load(folder / "shuffled"), scenes, pictures, queries),
        }
    report["size"] = {
        "scenes": size.num_scenes,
        "captions": len(lesson.captions),
        "steps": size.recipe.num_steps,
        "shuffled_steps": size.shuffled_recipe.num_steps,
        "moments": len(scenes),
        "queries": len(queries),
        "seed": seed,
    }
    return report


def load(folder: Path) -> PretrainedVisionEncoder:
    """By the road of every pretrained model."""
    return PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="fp32")


def encode_all(encoder: PretrainedVisionEncoder, pictures: UInt8) -> Float32:
    parts = [encoder.encode(pictures[i : i + PICTURES_AT_ONCE]) for i in range(0, len(pictures), PICTURES_AT_ONCE)]
    return np.concatenate(parts)


def margins(encoder: PretrainedVisionEncoder, texts: Sequence[str], vectors: Float32) -> Float32:
    """(number of texts, number of vectors), as `RuleWatch` sees them."""
    known = TextVectors()
    known.want(texts)
    known.expect(encoder.model)
    wanted = known.missing()[1]
    known.put(encoder.model, wanted, encoder.encode_words(wanted))
    return np.array([[known.margin(encoder.model, text, vector) for vector in vectors] for text in texts], np.float32)


def recall_at(vectors: Float32, texts: Float32, relevant: npt.NDArray[np.bool_], top: int = TOP) -> float:
    """Mean over queries of: of the ``top`` nearest moments, how many are right, of as many as could be.

    ``vectors`` (N, D) and ``texts`` (M, D) of length 1, ``relevant`` (N, M) with something relevant in every column.

    >>> vectors = np.eye(3, dtype=np.float32)
    >>> recall_at(vectors, vectors[:1], np.array([[True], [False], [True]]), top=2)
    0.5
    """
    nearest = np.argsort(-(vectors @ texts.T), axis=0, kind="stable")[:top]
    found = np.take_along_axis(relevant, nearest, axis=0).sum(0)
    return float((found / np.minimum(relevant.sum(0), top)).mean())


def _judge(
    encoder: PretrainedVisionEncoder, scenes: Sequence[Scene], pictures: UInt8, queries: Sequence[Caption]
) -> dict[str, Any]:
    vectors = encode_all(encoder, pictures)
    shown = {fact: np.array([fact in scene.facts for scene in scenes]) for fact in RULES.values()}
    found = margins(encoder, list(RULES), vectors)
    areas = {
        text: auc(row.astype(np.float64), shown[fact]) for row, (text, fact) in zip(found, RULES.items(), strict=True)
    }
    texts = encoder.encode_words([query.text for query in queries])
    relevant = truth(scenes, queries)
    return {
        "rule_auc": areas,
        "least_rule_auc": min(areas.values()),
        "recall_at_10": recall_at(vectors, texts, relevant),
        "recall_at_10_by_chance": float(relevant.mean(0).mean()),
    }


def _queries(rng: np.random.Generator, scenes: Sequence[Scene], count: int) -> list[Caption]:
    """What somebody might search for: something true of one of the moments, each text once."""
    found: dict[str, Caption] = {}
    for at in rng.integers(len(scenes), size=20 * count).tolist():
        caption = caption_of(rng, scenes[at])
        found.setdefault(caption.text, caption)
        if len(found) == count:
            break
    return list(found.values())


def _train(
    folder: Path,
    lesson: Lesson,
    texts: Sequence[str],
    truth: Truth,
    recipe: Recipe,
    progress: Callable[[int, int], None],
) -> None:
    if (folder / "preprocessor_config.json").exists():  # written last
        return
    train_pairs(
        lesson.pictures,
        texts,
        truth,
        folder,
        picture_of=lesson.scene_of,
        recipe=recipe,
        progress=lambda step, steps, _loss: progress(step, steps),
    )


def _only_its_own(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Of captions that were dealt out at random nothing is known but whom each was dealt to."""
    return np.asarray(rows[:, None] == columns[None, :])


def _make_untrained(folder: Path, texts: Sequence[str]) -> None:
    tokenizer = words_tokenizer(texts)
    save(new_model(Shape(), len(tokenizer)), tokenizer, folder, Shape())
