"""Scenes say nothing that they do not show, and what is tested on was never trained on."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.training.captioned import HELD_OUT, Scene, caption_of, make_scene, truth
from mmstream.training.drawn import SIDE_PX, draw, draw_all


def scenes(seed: int, count: int, *, test: bool = False) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [make_scene(rng, test=test) for _ in range(count)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_a_caption_is_true_of_its_scene(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = make_scene(rng, test=bool(seed % 2))
    captions = [caption_of(rng, scene) for _ in range(10)]
    assert truth([scene], captions).all()
    assert all(caption.text and caption.facts for caption in captions)


def test_a_caption_is_not_true_of_everything() -> None:
    rng = np.random.default_rng(1)
    some = scenes(1, 200)
    share = truth(some, [caption_of(rng, scene) for scene in some]).mean()
    assert 0.03 < share < 0.3


def test_layouts_and_colours_of_the_test_are_never_trained_on() -> None:
    learned, asked = scenes(2, 2000), scenes(3, 500, test=True)
    assert not {scene.layout for scene in learned} & {scene.layout for scene in asked}
    seen = {(subject.kind, subject.colour) for scene in learned for subject in scene.subjects}
    assert not seen & HELD_OUT
    assert {(subject.kind, subject.colour) for scene in asked for subject in scene.subjects} >= HELD_OUT


def test_an_ordinary_scene_has_nothing_that_a_rule_would_ask_for() -> None:
    rng = np.random.default_rng(4)
    facts = {fact for _ in range(300) for fact in make_scene(rng, layout=7, ordinary=True).facts}
    assert not facts & {"smoke", "fire", "hazard", "lying", "fighting", "running"}
    assert {"car", "walking"} <= facts


def test_the_same_scene_is_always_drawn_alike_and_others_differ() -> None:
    some = scenes(5, 6)
    pictures = draw_all(some)
    assert (pictures.shape, pictures.dtype) == ((6, SIDE_PX, SIDE_PX, 3), np.dtype(np.uint8))
    assert np.array_equal(pictures[2], draw(some[2]))
    assert len({picture.tobytes() for picture in pictures}) == 6
