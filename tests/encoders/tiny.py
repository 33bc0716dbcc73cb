"""Options that give every replica encoder of the table a tiny real model to load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
import transformers

SIDE_PX = 32


def _vision(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.ViTConfig(**shape, image_size=SIDE_PX, patch_size=8)
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)
    return {"folder": str(folder)}


def _torchvision(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), folder / "resnet18.pt")
    return {"architecture": "resnet18", "weights": str(folder / "resnet18.pt")}


_MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {"vision": _vision, "torchvision": _torchvision}


def replica_options(name: str, folder: Path) -> dict[str, Any]:
    """Keyword arguments for the encoder called ``name``; its files are written into ``folder``."""
    return _MAKERS[name](folder) if name in _MAKERS else {}
