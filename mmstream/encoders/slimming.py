"""Making a pretrained model cheaper: fewer blocks, eight-bit products, compiled code. The effects: docs/benchmarks.md.

Eight bits: the weights of linear layers are kept as int8 with one scale per output; what goes in is rounded to int8
with one scale per row (token), so that no input depends on its neighbours in the batch; the product is made in int32.
torch.ao's `quantize_dynamic` does the same and is deprecated; torchao does not import where warnings are errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mmstream.encoders.filterbank import pick_dtype
from mmstream.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "int8"]
PRECISIONS = ("auto", "fp32", "bf16", "int8")
_ROWS_AT_ONCE = 128
"""Rows of one product: their int32 sums stay in the cache until they are floats again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slimming:
    """How a model is made cheaper, as options of its encoder.

    Raises:
        ConfigError: a value that is not allowed, or ``int8`` away from the CPU.
    """

    precision: Precision = "auto"
    """``auto``: bf16 where the device has matrix units for it, else fp32. ``int8``: linear layers of blocks, CPU."""
    keep_layers: int = 0
    """So many transformer blocks are kept, the first ones (of every stage, where a model has stages); 0: all."""
    compile: bool = False
    """Through torch.compile, on a GPU with CUDA graphs. The first batch then takes a minute or so."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"there is no precision {self.precision!r}; choose {', '.join(PRECISIONS)}")
        if isinstance(self.keep_layers, bool) or not isinstance(self.keep_layers, int) or self.keep_layers < 0:
            raise ConfigError(f"keep_layers must be a number of blocks, or 0 for all, got {self.keep_layers!r}")
        if not isinstance(self.compile, bool):
            raise ConfigError(f"compile must be true or false, got {self.compile!r}")

    def dtype(self, device: torch.device) -> torch.dtype:
        """Of the weights that are not made int8.

        Raises:
            ConfigError: int8 on a GPU.
        """
        if self.precision != "int8":
            return pick_dtype(self.precision, device)
        if device.type != "cpu":
            raise ConfigError("precision int8 is for CPUs; on a GPU choose bf16")
        return torch.float32

    @property
    def suffix(self) -> str:
        """Part of the model's version: vectors of a pruned or rounded model are not those of the whole one.

        >>> Slimming(precision="int8", keep_layers=6).suffix
        '.6layers.int8'
        """
        layers = f".{self.keep_layers}layers" if self.keep_layers else ""
        return layers + (".int8" if self.precision == "int8" else "")

    def apply(self, model: nn.Module, *, name: str) -> None:
        """Change the part of a model that encodes, in place.

        Raises:
            ConfigError: it has fewer blocks, or no linear layers in them.
        """
        if self.keep_layers:
            _prune(model, self.keep_layers, name)
        if self.precision == "int8":
            _quantise(model, name)
        if self.compile:
            on_gpu = next(model.parameters()).device.type == "cuda"
            model.compile(dynamic=True, mode="reduce-overhead" if on_gpu else None)


def stages_of(model: nn.Module) -> list[nn.ModuleList]:
    """The lists of equal blocks, one in a plain transformer, one per stage in a hierarchical one."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    innermost = [found for found in lists if not any(other is not found for other in found.modules() if other in lists)]
    return [found for found in innermost if len({type(block) for block in found}) == 1]


def _prune(model: nn.Module, keep_layers: int, name: str) -> None:
    stages = stages_of(model)
    most = max(map(len, stages), default=0)
    if not most:
        raise ConfigError(f"keep_layers: a {name} has no transformer blocks; leave it out")
    if keep_layers > most:
        raise ConfigError(f"keep_layers is {keep_layers}, but this {name} has {most} blocks; choose 1 to {most}")
    for blocks in stages:
        del blocks[keep_layers:]


def _quantise(model: nn.Module, name: str) -> None:
    """Only inside the blocks: embeddings, poolers and projections cost little and lose most."""
    num_replaced = 0
    for stage in stages_of(model):
        for parent in stage.modules():
            for child_name, child in list(parent.named_children()):
                if type(child) is nn.Linear:  # not its subclasses: those are read by others
                    setattr(parent, child_name, Int8Linear(child))
                    num_replaced += 1
    if not num_replaced:
        raise ConfigError(f"precision int8: a {name} has no linear layers in its blocks; choose fp32 or bf16")


class Int8Linear(nn.Module):
    """A linear layer whose product is made of int8: weights rounded once, rows rounded as they come."""

    weight_int8: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp_min_(1e-12) / 127
        self.register_buffer("weight_int8", (weight / scale[:, None]).round_().to(torch.int8))
        self.register_buffer("scale", scale)
        bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias", bias)
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(..., in_features) float32 -> (..., out_features) float32."""
        rows = values.reshape(-1, self.in_features)
        out = rows.new_empty(len(rows), self.out_features)
        weight = self.weight_int8.t()
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            step = (
                torch.maximum(some.amax(1, keepdim=True), -some.amin(1, keepdim=True)).clamp_min_(1e-12).mul_(1 / 127)
            )
            product = torch._int_mm((some / step).round_().to(torch.int8), weight)
            torch.addcmul(self.bias, product * step, self.scale, out=out[start : start + _ROWS_AT_ONCE])
        return out.reshape(*values.shape[:-1], self.out_features)
