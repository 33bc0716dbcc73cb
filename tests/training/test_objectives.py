"""What each loss asks for: the best and the worst answer to it, and what must make no difference."""

from __future__ import annotations

import pytest
import torch

from mmstream.training.fusion_nets import Judged
from mmstream.training.objectives import (
    alignment_loss,
    bag_loss,
    class_loss,
    distillation_loss,
    prediction_loss,
    ranking_loss,
    rebuild_loss,
    spread_loss,
    teacher_loss,
    window_loss,
)


def rows(count: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


ONE = torch.zeros(6)
"""All of one camera."""


def test_what_belongs_together_is_aligned_and_what_is_swapped_is_not() -> None:
    pictures, bursts = torch.eye(6), torch.arange(6)
    assert float(alignment_loss(pictures, pictures, bursts, ONE)) < 0.01
    assert float(alignment_loss(pictures, pictures.roll(1, 0), bursts, ONE)) > 5
    assert float(alignment_loss(pictures, 100 * pictures, bursts, ONE)) < 0.01  # how long a vector is says nothing


def test_windows_of_one_burst_are_no_wrong_answers_to_each_other() -> None:
    pictures = torch.eye(3).repeat(2, 1)  # each burst twice, alike
    bursts = torch.arange(3).repeat(2)
    assert float(alignment_loss(pictures, pictures, bursts, ONE)) < 0.01
    assert float(alignment_loss(pictures, pictures, torch.arange(6), ONE)) > 0.6  # ln 2, were they


def test_to_know_the_camera_does_not_help_to_find_the_sound() -> None:
    feeds, bursts = torch.arange(2).repeat_interleave(16), torch.arange(32)
    cameras = 20 * rows(2, seed=2)[feeds]
    known = float(alignment_loss(rows(32) + cameras, rows(32, seed=1) + cameras, bursts, feeds))
    torch.testing.assert_close(
        known, float(alignment_loss(rows(32), rows(32, seed=1), bursts, feeds)), rtol=1e-3, atol=1e-3
    )


def test_nothing_is_learned_by_moving_what_is_to_be_foreseen() -> None:
    predicted, following = rows(4).requires_grad_(), rows(4, seed=1).requires_grad_()
    prediction_loss(predicted, following).backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    assert following.grad is None
    assert float(prediction_loss(following.detach(), following)) == 0


def test_vectors_that_are_all_the_same_are_spread_worst_also_when_cameras_differ() -> None:
    feeds = torch.arange(4).repeat_interleave(64)
    spread = rows(256)
    same = torch.zeros(256, 8)
    only_cameras = 5 * rows(4, seed=2)[feeds]
    copied = rows(256, 1).expand(-1, 8)
    assert float(spread_loss(spread, feeds)) < 0.1
    assert float(spread_loss(same, feeds)) > 0.9
    assert float(spread_loss(only_cameras, feeds)) > 0.9
    assert float(spread_loss(copied, feeds)) > 2 * float(spread_loss(spread, feeds))  # eight times the same number
    torch.testing.assert_close(spread_loss(spread + only_cameras, feeds), spread_loss(spread, feeds))


def test_the_teacher_is_followed_in_direction_or_in_likeness() -> None:
    teacher = rows(16, 12)
    assert float(teacher_loss(3 * teacher, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(teacher_loss(-teacher, teacher)) == pytest.approx(2, abs=1e-6)
    turned = teacher @ torch.linalg.qr(rows(12, 12, seed=3)).Q
    assert float(distillation_loss(turned, teacher)) < 1e-10
    assert float(distillation_loss(rows(16, 5), teacher)) > 0.05
    with pytest.raises(ValueError, match="one vector of the teacher for each"):
        distillation_loss(rows(3), rows(4))


def judged(*logits: list[float]) -> Judged:
    return Judged(anomaly=torch.tensor(logits))


QUIET, LOUD = [-4.0] * 8, [-4.0, -4.0, 4.0, 4.0, -4.0, -4.0, -4.0, -4.0]


def test_labels_of_windows_and_of_stretches_are_learned_from() -> None:
    windows = (torch.tensor([LOUD, QUIET]) > 0).float()
    stretches = torch.tensor([1.0, 0.0])
    for loss, labels in ((window_loss, windows), (bag_loss, stretches), (ranking_loss, stretches)):
        assert float(loss(judged(LOUD, QUIET), labels)) < 0.2 * float(loss(judged(QUIET, LOUD), labels))


def test_without_both_kinds_there_is_nothing_to_rank() -> None:
    anomaly = torch.tensor([LOUD]).requires_grad_()
    loss = ranking_loss(Judged(anomaly=anomaly), torch.tensor([1.0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0


def test_unknown_classes_count_for_nothing() -> None:
    logits = torch.tensor([[[5.0, 0.0], [0.0, 5.0]]])
    net = Judged(anomaly=torch.zeros(1, 2), classes=logits)
    assert float(class_loss(net, torch.tensor([[0, -1]]))) < 0.01
    assert float(class_loss(net, torch.tensor([[1, -1]]))) > 4
    assert float(class_loss(net, torch.tensor([[-1, -1]]))) == 0


def test_what_is_rebuilt_is_compared_and_what_rebuilds_nothing_loses_nothing() -> None:
    wanted, answered = rows(4).reshape(1, 4, 8), rows(4, seed=1).reshape(1, 4, 8)
    anomaly = torch.zeros(1, 4)
    assert float(rebuild_loss(Judged(anomaly=anomaly))) == 0
    assert float(rebuild_loss(Judged(anomaly=anomaly, rebuilt={"sound": (wanted, wanted)}))) == 0
    assert float(rebuild_loss(Judged(anomaly=anomaly, rebuilt={"sound": (wanted, answered)}))) > 0.1
