"""Networks that join what the modalities of a feed say about a stretch of windows into one judgement.

Six ways to do it behind one interface, so that they can be compared on the same data. All take vectors per modality
and which of them are there, and give a logit per window (is this an event?), one per class where events have names,
and what else their objective needs. A modality that is absent is exactly ignored: its vector may hold anything.
Formulas, figures and when to use which: ``docs/learning.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_BOTTLENECKS = 4
NUM_HEADS = 4
NUM_LAYERS = 2
NUM_OPINIONS = 8
"""Numbers in which a modality's own network of `Parallel` tells its judgement."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What a network says about (B, T) windows."""

    anomaly: Tensor
    """(B, T) logits."""
    classes: Tensor | None = None
    """(B, T, C) logits; None without classes."""
    joint: Tensor | None = None
    """(B, T, H): what it makes of all modalities together, for distillation."""
    rebuilt: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Modality -> (what it should be, what the others make of it), both (B, T, H)."""


class FusionNet(nn.Module):
    """``dims``: modality -> length of its vectors. Order of modalities everywhere: that of ``dims``."""

    def __init__(self, dims: Mapping[str, int], *, width: int = 32, num_classes: int = 0) -> None:
        super().__init__()
        if width % NUM_HEADS:
            raise ValueError(f"FusionNet: want a width that {NUM_HEADS} divides, got {width}")
        self.modalities = tuple(dims)
        self.enter = nn.ModuleDict({name: _Enter(dim, width) for name, dim in dims.items()})
        self.anomaly = nn.Linear(width, 1)
        self.classes = nn.Linear(width, num_classes) if num_classes else None

    def forward(self, vectors: Mapping[str, Tensor], present: Tensor) -> Judged:
        """``vectors``: modality -> (B, T, D); ``present``: (B, T, M) bool."""
        known = [
            torch.where(present[..., number, None], self.enter[name](vectors[name], present[..., number]), 0.0)
            for number, name in enumerate(self.modalities)
        ]
        return self.judge(torch.stack(known, dim=2), present)

    def judge(self, entered: Tensor, present: Tensor) -> Judged:
        """``entered``: (B, T, M, H), zero where absent."""
        raise NotImplementedError

    def heads(self, joint: Tensor) -> Judged:
        classes = self.classes(joint) if self.classes is not None else None
        return Judged(anomaly=self.anomaly(joint).squeeze(-1), classes=classes, joint=joint)


class _Enter(nn.Module):
    """One modality's vectors, standardised, in the common width, each seen with its neighbours in time."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(dim, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width))
        self.around = nn.Conv1d(width, width, kernel_size=3, padding=1)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        there = present[..., None]
        here = torch.where(there, self.project(torch.where(there, vectors, 0.0)), 0.0)
        around: Tensor = self.around(here.transpose(1, 2)).transpose(1, 2)
        return here + functional.gelu(around)


class Concatenation(FusionNet):
    """Early: ``h = MLP([z_1, ..., z_M, o_1, ..., o_M])``; can see any interaction, needs examples of each."""

    def __init__(self, dims: Mapping[str, int], *, width: int = 32, num_classes: int = 0) -> None:
        super().__init__(dims, width=width, num_classes=num_classes)
        self.joined = _mlp(len(dims) * (width + 1), width)

    def judge(self, entered: Tensor, present: Tensor) -> Judged:
        return self.heads(self.joined(torch.cat([entered.flatten(2), present.float()], dim=-1)))


class LinearWeighted(FusionNet):
    """Late: ``h = sum_m w_m o_m z_m / sum_m w_m o_m`` with learned ``w_m > 0``; sees no interaction at all."""

    def __init__(self, dims: Mapping[str, int], *, width: int = 32, num_classes: int = 0) -> None:
        super().__init__(dims, width=width, num_classes=num_classes)
        self.raw = nn.Parameter(torch.zeros(len(dims)))

    def judge(self, entered: Tensor, present: Tensor) -> Judged:
        weights = functional.softplus(self.raw) * present
        shares = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        return self.heads((entered * shares[..., None]).sum(dim=2))


class Parallel(FusionNet):
    """Late with a say: a network per modality judges alone, a small one joins their judgements."""

    def __init__(self, dims: Mapping[str, int], *, width: int = 32, num_classes: int = 0) -> None:
        super().__init__(dims, width=width, num_classes=num_classes)
        self.alone = nn.ModuleList(_mlp(width, width, NUM_OPINIONS) for _ in dims)
        self.joined = _mlp(len(dims) * (NUM_OPINIONS + 1), width)

    def judge(self, entered: Tensor, present: Tensor) -> Judged:
        opinions = [
            judge_alone(entered[:, :, number]) * present[..., number, None]
            for number, judge_alone in enumerate(self.alone)
        ]
        return self.heads(self.joined(torch.cat([*opinions, present.float()], dim=-1)))


class Gated(FusionNet):
    """Gated multimodal units (Arevalo et al. 2017): ``h = sum_m g_m o_m tanh(V_m z_m)`` with
    ``g_m = sigmoid(W_m [z_1, ..., z_M, o])``.

    The gates are as wide as the vectors and see all modalities, so that ``h`` holds products of one with another.
    """

    def __init__(self, dims: Mapping[str, int], *, width: int = 32, num_classes: int = 0) -> None:
        super().__init__(dims, width=width, num_classes=num_classes)
        self.gates = nn.ModuleList(nn.Linear(len(dims) * (width + 1), width) for _ in dims)
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in dims)
        self.joined = _mlp(width, width)

    def judge(self, entered: Tensor, present: Tensor) -> Judged:
        everything = torch.cat([entered.flatten(2), present.float()], dim=-1)
        parts = [
            torch.sigmoid(gate(everything)) * torch.tanh(value(entered[:, :, number])) * present[..., number, None]
            for number, (gate, value) in enumerate(zip(self.gates, self.values, strict=True))
        ]
        return self.heads(self.joined(torch.stack(parts).sum(dim=0)))


class Bottleneck(FusionNet):
    """Attention bottlenecks (Nagrani et al. 2021): modalities exchange only through a few tokens.

    In each of two layers every modality's window and the tokens attend to one another; the tokens that come out are
    averaged over the modalities that are there.
    """

    def __init__(self, dims: Mapping[str, int], *, width: int = 32, num_classes: int = 0) -> None:
        super().__init__(dims, width=width, num_classes=num_classes)
        self.tokens = nn.Parameter(0.5 * torch.randn(NUM_BOTTLENECKS, width))
        self.layers = nn.ModuleList(nn.ModuleList(_Attention(width) for _ in dims) for _ in range(NUM_LAYERS))
        self.joined = _mlp((len(dims) + NUM_BOTTLENECKS) * width, width)

    def judge(self, entered: Tensor, present: Tensor) -> Judged:
        num_batch, num_times, num_modalities, _ = entered.shape
        # windows one by one: the tokens of a window carry what its own modalities exchange
        each = list(entered.flatten(0, 1).unbind(dim=1))
        there = present.flatten(0, 1).float()
        count = there.sum(dim=1).clamp_min(1.0)[:, None, None]
        tokens = self.tokens.expand(num_batch * num_times, -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            said = []
            for number, attend in enumerate(layer):
                out = attend(torch.cat([each[number][:, None], tokens], dim=1)) * there[:, number, None, None]
                each[number] = out[:, 0]
                said.append(out[:, 1:])
            tokens = torch.stack(said).sum(dim=0) / count
        joint = torch.cat([*each[:num_modalities], tokens.flatten(1)], dim=-1)
        return self.heads(self.joined(joint).view(num_batch, num_times, -1))


class _Attention(nn.Module):
    """A layer of a transformer, normalised before (Xiong et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks = nn.Linear(width, 3 * width)
        self.tells = nn.Linear(width, width)
        self.thinks = _mlp(width, 2 * width, width)

    def forward(self, items: Tensor) -> Tensor:
        """(N, L, H) -> the same."""
        count, length, width = items.shape
        parts = self.asks(self.before(items)).view(count, length, 3, NUM_HEADS, width // NUM_HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        heard = functional.scaled_dot_product_attention(query, key, value)
        items = items + self.tells(heard.transpose(1, 2).flatten(2))
        told: Tensor = items + self.thinks(self.after(items))
        return told


class EncoderDecoder(FusionNet):
    """Each modality is rebuilt from the others; how badly that goes is part of the judgement.

    What belongs together can be rebuilt, what does not cannot: made for events that show only in disagreement.
    """

    def __init__(self, dims: Mapping[str, int], *, width: int = 32, num_classes: int = 0) -> None:
        super().__init__(dims, width=width, num_classes=num_classes)
        self.encode = nn.ModuleList(_mlp(width, width) for _ in dims)
        self.decode = nn.ModuleList(_mlp(width, width) for _ in dims)
        self.joined = _mlp(width + 1 + (width + 1) * len(dims), width)

    def judge(self, entered: Tensor, present: Tensor) -> Judged:
        codes = torch.stack([encode(entered[:, :, n]) for n, encode in enumerate(self.encode)], dim=2)
        codes = codes * present[..., None]
        total, count = codes.sum(dim=2), present.float().sum(dim=2, keepdim=True)
        rebuilt, parts = {}, [total / count.clamp_min(1.0), count]
        for number, name in enumerate(self.modalities):
            others = count - present[..., number, None].float()
            answered = self.decode[number]((total - codes[:, :, number]) / others.clamp_min(1.0))
            comparable = (present[..., number, None] & (others > 0)).float()
            wanted = entered[:, :, number].detach()
            rebuilt[name] = (wanted * comparable, answered * comparable)
            apart = (entered[:, :, number] - answered) * comparable
            parts += [apart, apart.square().mean(dim=-1, keepdim=True)]
        judged = self.heads(self.joined(torch.cat(parts, dim=-1)))
        return Judged(anomaly=judged.anomaly, classes=judged.classes, joint=judged.joint, rebuilt=rebuilt)


FUSION_NETS: Mapping[str, type[FusionNet]] = {
    "concatenation": Concatenation,
    "linear": LinearWeighted,
    "parallel": Parallel,
    "gated": Gated,
    "bottleneck": Bottleneck,
    "encoder-decoder": EncoderDecoder,
}


def dropped(present: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Modality dropout: each modality of a whole stretch is taken away with probability ``share``, never all.

    ``present``: (B, T, M) bool -> the same shape.
    """
    stays = torch.rand(present.shape[0], 1, present.shape[2], generator=random) >= share
    kept = present & stays
    return torch.where(kept.any(dim=2, keepdim=True), kept, present)


def _mlp(dim: int, width: int, out: int | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, width if out is None else out))
