"""The small version of ``mmstream eval rules``: learned from nothing, saved, loaded by the real encoder, asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.evaluation.metrics import auc
from mmstream.evaluation.rules import encode_all, margins, recall_at
from mmstream.training.captioned import Caption, Scene, entailed, facts_of
from mmstream.training.contrastive import Recipe, Shape, new_model, save, train_pairs, words_tokenizer
from mmstream.training.drawn import draw_all

SHAPE = Shape(width=48, num_layers=2, dim=16)
RECIPE = Recipe(num_steps=100, batch=48)


def scene(seed: int, *, burns: bool, test: bool) -> Scene:
    hazard = "fire" if burns else ""
    return Scene(
        layout=seed + 1_000_000 * test, place="yard", light="day", subjects=(), hazard=hazard, seed=seed + test
    )


def some(count: int, *, test: bool) -> list[Scene]:
    return [scene(seed, burns=seed % 2 == 0, test=test) for seed in range(count)]


def said_of(shown: Scene) -> Caption:
    """In one of two languages."""
    english = shown.seed % 3 > 0
    if shown.hazard:
        return Caption(text="a fire in the yard" if english else "着火", facts=frozenset({"fire"}))
    return Caption(text="an empty scene" if english else "空无一人", facts=frozenset({"empty"}))


def train(folder: Path, recipe: Recipe = RECIPE) -> None:
    lessons = some(300, test=False)
    captions = [said_of(lesson) for lesson in lessons]
    shown, said = facts_of(lessons, ["fire", "empty"]), facts_of(captions, ["fire", "empty"])
    train_pairs(
        draw_all(lessons),
        [caption.text for caption in captions],
        lambda rows, columns: entailed(shown[rows], said[columns]),
        folder,
        shape=SHAPE,
        recipe=recipe,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> PretrainedVisionEncoder:
    folder = tmp_path_factory.mktemp("trained")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(folder)
    torch.set_num_threads(threads)
    return PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="fp32")


def test_a_rule_finds_what_it_looks_for_in_places_never_seen(trained: PretrainedVisionEncoder) -> None:
    scenes = some(120, test=True)
    vectors = encode_all(trained, draw_all(scenes))
    burns = np.array([bool(scene.hazard) for scene in scenes])
    for row in margins(trained, ["a fire in the yard", "着火"], vectors):
        assert auc(row.astype(np.float64), burns) >= 0.95
    texts = trained.encode_words(["着火", "an empty scene"])
    assert recall_at(vectors, texts, np.stack([burns, ~burns], 1)) >= 0.9


def test_an_untrained_model_of_the_same_shape_finds_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = words_tokenizer(["a fire in the yard", "an empty scene"])
    save(new_model(SHAPE, len(tokenizer)), tokenizer, tmp_path, SHAPE)
    untrained = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    scenes = some(120, test=True)
    texts = untrained.encode_words(["a fire in the yard", "an empty scene"])
    assert np.allclose(np.linalg.norm(texts, axis=1), 1.0, atol=1e-5)
    vectors = encode_all(untrained, draw_all(scenes))
    spread = np.std(vectors @ texts.T, axis=0)
    assert spread.max() < 0.05  # every picture is alike to it


def test_training_is_repeatable(tmp_path: Path) -> None:
    for name in ("one", "two"):
        train(tmp_path / name, Recipe(num_steps=3, batch=16, seed=4))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_words_are_read_in_both_languages_and_unknown_ones_do_no_harm(trained: PretrainedVisionEncoder) -> None:
    vectors = trained.encode_words(["fire", "FIRE", "着火", "quux zzz", ""])
    assert np.array_equal(vectors[0], vectors[1])
    assert np.isfinite(vectors).all()


def test_recall_counts_what_could_be_found() -> None:
    vectors = np.eye(4, dtype=np.float32)
    relevant = np.array([[True, False], [False, True], [False, True], [False, True]])
    assert recall_at(vectors, vectors[:2], relevant, top=2) == pytest.approx((1.0 + 0.5) / 2)
