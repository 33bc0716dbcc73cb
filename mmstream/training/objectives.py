"""What networks are trained towards, as losses of tensors.

With labels (fusion): per window, per stretch, of classes. Without (the site's own networks): what is seen belongs to
what is heard, what comes next follows from what is now, and no number says what another says. From another network:
distillation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from mmstream.training.fusion_nets import Judged

SMOOTH = 8e-5
SPARSE = 8e-5
"""Weights of Sultani et al. 2018, equation 5."""
REBUILD = 0.3
TEMPERATURE = 0.1
LEAST_DEVIATION = 1.0
COVARIANCE = 0.04
"""VICReg's weights of variance and covariance are 25 and 1."""


def window_loss(judged: Judged, labels: Tensor) -> Tensor:
    """Every window has a label, (B, T) in 0..1: binary cross-entropy, the rarer kind weighted up to equal."""
    positive = labels.mean().clamp(1e-3, 1 - 1e-3)
    weights = torch.where(labels > 0.5, 0.5 / positive, 0.5 / (1 - positive))
    return functional.binary_cross_entropy_with_logits(judged.anomaly, labels, weights)


def bag_loss(judged: Judged, labels: Tensor) -> Tensor:
    """Only the stretch has a label, (B,): the mean of its strongest windows is what is labelled.

    Top-k multiple-instance learning (Tian et al. 2021), k = T // 16 + 1, with smoothness in time.
    """
    count = judged.anomaly.shape[1] // 16 + 1
    strongest = judged.anomaly.topk(count, dim=1).values.mean(dim=1)
    return functional.binary_cross_entropy_with_logits(strongest, labels) + _regular(judged.anomaly)


def ranking_loss(judged: Judged, labels: Tensor) -> Tensor:
    """Multiple-instance ranking (Sultani et al. 2018): the strongest window of each stretch with an event shall
    stand one above the strongest of each stretch without; (B,) labels, hinge on sigmoid scores."""
    strongest = torch.sigmoid(judged.anomaly).amax(dim=1)
    positive, negative = strongest[labels > 0.5], strongest[labels <= 0.5]
    if not len(positive) or not len(negative):
        return judged.anomaly.sum() * 0.0
    hinge = functional.relu(1.0 - positive[:, None] + negative[None, :]).mean()
    return hinge + _regular(judged.anomaly[labels > 0.5])


def class_loss(judged: Judged, classes: Tensor) -> Tensor:
    """(B, T) numbers of classes; -1: unknown, counts for nothing."""
    assert judged.classes is not None, "a network without classes was asked for them"
    if not bool((classes >= 0).any()):
        return judged.classes.sum() * 0.0
    return functional.cross_entropy(judged.classes.flatten(0, 1), classes.flatten(), ignore_index=-1)


def rebuild_loss(judged: Judged) -> Tensor:
    """How far the rebuilt modalities are from what they should be; 0 for networks that rebuild nothing."""
    apart = [functional.mse_loss(answered, wanted) for wanted, answered in judged.rebuilt.values()]
    return REBUILD * torch.stack(apart).mean() if apart else judged.anomaly.sum() * 0.0


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The student's vectors shall lie to one another as the teacher's do, (B, D) each of its own D.

    Similarity-preserving distillation (Tung and Mori 2019): no common space and no projection is needed, so a large
    encoder can teach one of any width.
    """
    if len(student) != len(teacher):
        raise ValueError(f"want one vector of the teacher for each of the student, got {len(teacher)}, {len(student)}")
    return functional.mse_loss(_likeness(student), _likeness(teacher))


def alignment_loss(pictures: Tensor, sounds: Tensor, bursts: Tensor, feeds: Tensor) -> Tensor:
    """Each picture shall find the sound of its own window among those of other bursts, and each sound its picture.

    Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021), (N, D) each. Windows of one burst, (N,) numbers,
    look and sound alike: they are no wrong answers to each other. Vectors are seen from the mean of their feed, (N,)
    numbers: to know the camera must not help, for that is learned first and then nothing else.
    """
    seen, heard = (functional.normalize(around_feed(each, feeds)) for each in (pictures, sounds))
    logits = seen @ heard.T / TEMPERATURE
    own = torch.eye(len(bursts), dtype=torch.bool, device=bursts.device)
    logits = logits.masked_fill((bursts[:, None] == bursts[None, :]) & ~own, -torch.inf)
    right = torch.arange(len(bursts), device=bursts.device)
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def prediction_loss(predicted: Tensor, following: Tensor) -> Tensor:
    """What comes next shall be foreseen, (N, D) each: mean squared error, and nothing is learned by moving the target.

    The stopped gradient is SimSiam's (Chen and He 2021). `spread_loss` must stand beside it: vectors that are all the
    same are foreseen best, and the error is in units of the deviation that it asks for.
    """
    return functional.mse_loss(predicted, following.detach())


def spread_loss(vectors: Tensor, feeds: Tensor) -> Tensor:
    """Every number shall vary, and say what no other says: variance and covariance of VICReg (Bardes et al. 2022).

    (N, D) vectors, (N,) numbers of feeds: what varies between cameras only says nothing about what is unusual for one,
    so that each is seen from the mean of its own feed.
    """
    centred = around_feed(vectors, feeds)
    covariance = centred.T @ centred / max(1, len(feeds) - len(torch.unique(feeds)))
    variance = covariance.diagonal()
    apart = covariance - torch.diag(variance)
    missing = functional.relu(LEAST_DEVIATION - (variance + 1e-4).sqrt()).mean()
    return missing + COVARIANCE * apart.square().sum() / vectors.shape[1]


def around_feed(vectors: Tensor, feeds: Tensor) -> Tensor:
    """(N, D), (N,) numbers of feeds: each vector less the mean of its feed."""
    same = (feeds[:, None] == feeds[None, :]).to(vectors.dtype)
    return vectors - (same / same.sum(dim=1, keepdim=True)) @ vectors


def teacher_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The student, projected to the teacher's width, shall point where the teacher does: 1 - cos, (N, D) each."""
    return 1 - functional.cosine_similarity(student, teacher).mean()


def _likeness(vectors: Tensor) -> Tensor:
    unit = functional.normalize(vectors.flatten(1))
    return unit @ unit.T


def _regular(logits: Tensor) -> Tensor:
    scores = torch.sigmoid(logits)
    steps = (scores[:, 1:] - scores[:, :-1]).square().sum(dim=1).mean()
    return SMOOTH * steps + SPARSE * scores.sum(dim=1).mean()
