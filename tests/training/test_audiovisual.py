from __future__ import annotations

import numpy as np
import pytest

from mmstream.evaluation.metrics import auc
from mmstream.training.audiovisual import BANDS, CELLS, EVENTS, NUM_WINDOWS, Stretches, rendered_stretches
from mmstream.training.fusion_training import FusionRecipe, train_fusion


def make_stretches(count: int = 600, seed: int = 0, **options: float) -> Stretches:
    return rendered_stretches(count, cameras=range(12), seed=seed, **options)  # type: ignore[arg-type]


def test_shapes_and_the_same_seed_gives_the_same() -> None:
    one, again, other = make_stretches(20), make_stretches(20), make_stretches(20, seed=1)
    assert one.vectors["picture"].shape == (20, NUM_WINDOWS, 2 * CELLS**2)
    assert one.vectors["sound"].shape == (20, NUM_WINDOWS, BANDS)
    assert one.present.shape == (20, NUM_WINDOWS, 2)
    assert all(rows.dtype == np.float32 and np.isfinite(rows).all() for rows in one.vectors.values())
    assert np.array_equal(one.vectors["sound"], again.vectors["sound"])
    assert not np.array_equal(one.vectors["sound"], other.vectors["sound"])


def test_every_sort_of_event_is_as_frequent_at_every_place_of_a_stretch() -> None:
    classes = make_stretches(2500).classes
    shares = np.array([[(classes[:, place] == k).mean() for place in range(NUM_WINDOWS)] for k in range(1, 5)])
    expected = 0.5 * np.mean([length / (NUM_WINDOWS + length - 1) for length in (2, 3, 4)]) / len(EVENTS)
    # 4.5 standard errors of a share of 2500: of these 32 one in four thousand seeds would fail
    assert abs(shares - expected).max() < 4.5 * np.sqrt(expected / 2500)


def test_modalities_go_missing_one_at_a_time_and_for_a_whole_stretch() -> None:
    present = make_stretches(2000, missing_share=0.3).present
    assert bool((present.all(axis=1) == present.any(axis=1)).all())
    assert bool(present.any(axis=2).all())
    assert 0.25 < (~present.all(axis=(1, 2))).mean() < 0.35
    assert make_stretches(50, missing_share=0.0).present.all()


def test_without_events_nothing_is_labelled() -> None:
    quiet = make_stretches(50, event_share=0.0)
    assert not quiet.labels.any()
    assert not quiet.classes.any()


def test_one_modality_alone_leaves_the_other_absent() -> None:
    only = make_stretches(30, missing_share=0.0).only("sound")
    assert not only.present[..., 0].any()
    assert only.present[..., 1].all()
    assert only.part([0, 2]).present.shape == (2, NUM_WINDOWS, 2)


@pytest.mark.parametrize("modality", ["picture", "sound"])
def test_a_single_modality_cannot_tell_a_disagreement(modality: str) -> None:
    """Any leak (a kind that is rarer in events, a sound that changes its level) would show here."""
    learn = {"event_share": 1.0, "missing_share": 0.0}
    train, validation = (_disagreements(make_stretches(count, seed, **learn)) for count, seed in ((900, 1), (200, 2)))
    test = _disagreements(make_stretches(900, 3, **learn))
    recipe = FusionRecipe(method="concatenation", width=16, num_epochs=4, patience=4, modality_dropout=0.0)
    trained = train_fusion(train.only(modality), validation.only(modality), recipe)
    scores, unusual = trained.scores(test.only(modality)).ravel().astype(float), test.labels.ravel() > 0
    # Hanley and McNeil at 0.5, four standard errors
    error = np.sqrt((len(scores) + 1) / (12.0 * unusual.sum() * (~unusual).sum()))
    assert abs(auc(scores, unusual) - 0.5) < 4.0 * error


def _disagreements(stretches: Stretches) -> Stretches:
    return stretches.part(np.flatnonzero(np.isin(stretches.classes.max(axis=1), (0, 1 + EVENTS.index("disagreement")))))


def test_seen_and_heard_tell_a_disagreement_together() -> None:
    """By the loudest band, and by how much of the picture is not background."""
    stretches = rendered_stretches(1500, cameras=range(12), seed=5, missing_share=0.0, event_share=1.0)
    counts = np.isin(stretches.classes, (0, 1 + EVENTS.index("disagreement")))
    size = np.abs(stretches.vectors["picture"][..., : CELLS**2]).sum(axis=2)[counts]
    band = stretches.vectors["sound"].argmax(axis=2)[counts]
    unusual = stretches.classes[counts] > 0
    # large things are heard low: the two rise together where nothing is wrong
    usual, wrong = (np.corrcoef(size[flags], band[flags])[0, 1] for flags in (~unusual, unusual))
    assert usual < -0.25
    assert wrong > usual + 0.2
