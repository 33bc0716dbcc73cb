"""How long and how hard a model is trained: the settings of `training.loop`, and how the learning rate moves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mmstream.encoders.filterbank import Precision, pick_dtype
from mmstream.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How long and how hard; each may stand in ``training.options.<model>``.

    Raises:
        ConfigError: a value that makes no sense.
    """

    epochs: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    """Of matrices and kernels only (AdamW)."""
    warmup_share: float = 0.05
    """Of all steps; from there on the rate falls along a cosine to nothing."""
    clip_norm: float = 1.0
    patience: int = 5
    """Epochs without a better validation loss before it ends; 0: never."""
    precision: Precision = "auto"
    """``auto``: bf16 autocast where the device multiplies it in hardware, else fp32."""
    ema_decay: float = 0.0
    """Validated and exported is the moving average of the weights (Polyak and Juditsky 1992); 0: the weights."""
    max_seconds: float = 0.0
    """The epoch in which this is over is the last; 0: no limit."""

    def __post_init__(self) -> None:
        positive = {"epochs": self.epochs, "learning_rate": self.learning_rate, "clip_norm": self.clip_norm}
        least = {"weight_decay": self.weight_decay, "patience": self.patience, "max_seconds": self.max_seconds}
        shares = {"warmup_share": self.warmup_share, "ema_decay": self.ema_decay}
        for name, value in {**positive, **least, **shares}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"{name} must be a number, got {value!r}")
            if value < 0 or (name in positive and value == 0) or (name in shares and value >= 1):
                allowed = "more than 0" if name in positive else "at least 0" if name in least else "from 0 to below 1"
                raise ConfigError(f"{name} must be {allowed}, got {value!r}")
        pick_dtype(self.precision, torch.device("cpu"))


def take_settings(
    options: Mapping[str, Any], defaults: FitSettings | None = None
) -> tuple[FitSettings, dict[str, Any]]:
    """What of a model's options is for the loop, and the rest, which is for the model.

    >>> settings, rest = take_settings({"epochs": 3, "batch": 16})
    >>> settings.epochs, rest
    (3, {'batch': 16})
    """
    names = {field.name for field in dataclasses.fields(FitSettings)}
    ours = {name: value for name, value in options.items() if name in names}
    rest = {name: value for name, value in options.items() if name not in names}
    return dataclasses.replace(defaults or FitSettings(), **ours), rest


def pace(share: float, warmup_share: float) -> float:
    """Share of the peak learning rate: up in a straight line, down along a cosine (Loshchilov and Hutter 2017).

    >>> [round(pace(share, 0.1), 2) for share in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.01, 0.5, 1.0, 0.5, 0.0]
    """
    if share < warmup_share:
        return max(0.01, share / warmup_share)
    return 0.5 * (1.0 + math.cos(math.pi * (share - warmup_share) / (1.0 - warmup_share)))
