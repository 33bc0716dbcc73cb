"""The rule of trained fusion as a module with gradients: what `fusion.trained` computes window by window, for many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmstream.fusion.trained import MAX_SURPRISE, NUM_HIDDEN, MonotoneRule
from mmstream.training.fusion_examples import Aspect
from mmstream.types import MODALITIES, Float64

RANGE = math.log(4.0)
"""Factors stay within 1/4 and 4 ..."""
SLOPES = math.log(2.0)
"""... and slopes within 1/2 and 2."""


class MonotoneNet(nn.Module):
    """`MonotoneRule` with gradients: (N, aspects) -log10 p, NaN where missing -> (N,) f, not yet on its scale."""

    member: Tensor
    """(aspects, modalities) 1 where the aspect belongs."""
    weights: Tensor
    """(aspects,)"""

    def __init__(self, aspects: Sequence[Aspect]) -> None:
        super().__init__()
        modality_of = torch.tensor([modality for _, modality, _ in aspects])
        self.register_buffer("member", functional.one_hot(modality_of, len(MODALITIES)).float(), persistent=False)
        self.register_buffer("weights", torch.tensor([w for _, _, w in aspects], dtype=torch.float32), persistent=False)
        self.factors = nn.Parameter(torch.zeros(len(aspects)))
        self.slopes = nn.Parameter(torch.zeros(len(aspects)))
        self.into = nn.Parameter(torch.rand(NUM_HIDDEN, len(MODALITIES)) * 0.7)
        self.there = nn.Parameter(torch.zeros(NUM_HIDDEN, len(MODALITIES)))
        self.bias = nn.Parameter(torch.linspace(-2.0, 0.0, NUM_HIDDEN))
        self.out = nn.Parameter(torch.full((NUM_HIDDEN,), 0.03))
        """Squared, as ``into`` is: never negative, and next to nothing at first."""

    def forward(self, heights: Tensor) -> Tensor:
        there = ~heights.isnan()
        slopes = (SLOPES * torch.tanh(self.slopes)).exp()
        surprise = (torch.where(there, heights, 0.0) * slopes).clamp_max(MAX_SURPRISE)
        masses = torch.where(there, self.weights * (RANGE * torch.tanh(self.factors)).exp(), 0.0)
        pulls = masses * torch.pow(10.0, surprise)
        mass, pull = masses @ self.member, pulls @ self.member
        known = mass > 0.0
        whole = (pull.sum(dim=1) / mass.sum(dim=1).clamp_min(1e-9)).clamp_min(1e-9).log10()
        each = torch.where(known, torch.where(known, pull, 1.0) / torch.where(known, mass, 1.0), 1.0).log10()
        bias = self.bias + known.float() @ self.there.T
        return whole + (_bent(each @ self.into.square().T + bias) - _bent(bias)) @ self.out.square()

    def rule(self, aspects: Sequence[Aspect]) -> MonotoneRule:
        names = [name for name, _, _ in aspects]

        def numbers(tensor: Tensor) -> Float64:
            return tensor.detach().cpu().double().numpy()

        return MonotoneRule(
            factors=dict(zip(names, np.exp(RANGE * np.tanh(numbers(self.factors))).tolist(), strict=True)),
            slopes=dict(zip(names, np.exp(SLOPES * np.tanh(numbers(self.slopes))).tolist(), strict=True)),
            arrays={
                "into": numbers(self.into.square()),
                "there": numbers(self.there),
                "bias": numbers(self.bias),
                "out": numbers(self.out.square()),
            },
        )


def _bent(inside: Tensor) -> Tensor:
    half = NUM_HIDDEN // 2
    return torch.cat([functional.softplus(inside[:, :half]), torch.tanh(inside[:, half:])], dim=1)
