"""The real architectures at their real sizes with random weights, as folders that the encoders load.

Made from transformers' configuration classes, so nothing is downloaded: what a model costs does not depend on what its
weights say. Models that also know words are made without that half: encoding pictures and sound never uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import InputSpec, PictureSpec, SoundSpec

WORDS = (
    "the",
    "at",
    "on",
    "gate",
    "street",
    "person",
    "car",
    "truck",
    "red",
    "fire",
    "smoke",
    "runs",
    "stands",
    "open",
)
WORDS_PER_TEXT = 24
_SIDE_PX = 224
_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One line of `ARCHITECTURES`."""

    encoder: str
    """In `REPLICA_ENCODERS`."""
    make: Callable[[Path], dict[str, Any]]
    """Writes the folder; -> the encoder's options."""


def _vit_b16(folder: Path) -> dict[str, Any]:
    import transformers

    transformers.ViTModel(transformers.ViTConfig(image_size=_SIDE_PX)).save_pretrained(folder)
    return _with_images(folder, transformers.ViTImageProcessor)


def _siglip2_b16(folder: Path) -> dict[str, Any]:
    import transformers

    config = transformers.SiglipVisionConfig(**_BASE, image_size=_SIDE_PX, patch_size=16)
    transformers.SiglipVisionModel(config).save_pretrained(folder)
    return _with_images(folder, transformers.SiglipImageProcessor)


def _clip_b32(folder: Path) -> dict[str, Any]:
    import transformers

    config = transformers.CLIPVisionConfig(**_BASE, image_size=_SIDE_PX, patch_size=32)
    transformers.CLIPVisionModel(config).save_pretrained(folder)
    return _with_images(folder, transformers.CLIPImageProcessor)


def _with_images(folder: Path, processor: Any) -> dict[str, Any]:
    size = {"height": _SIDE_PX, "width": _SIDE_PX}
    processor(size=size, crop_size=size).save_pretrained(folder)
    return {"folder": str(folder)}


def _resnet50(folder: Path) -> dict[str, Any]:
    import torch
    from torchvision import models

    path = folder / "resnet50.pt"
    torch.save(models.resnet50(weights=None).state_dict(), path)
    return {"architecture": "resnet50", "weights": str(path)}


def _clap(folder: Path) -> dict[str, Any]:
    import transformers

    words = {"num_hidden_layers": 1, "vocab_size": 1000}  # never loaded: the folder has no tokenizer
    config = transformers.ClapConfig(text_config=words, audio_config={})
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    return {"folder": str(folder)}


def _ast(folder: Path) -> dict[str, Any]:
    import transformers

    transformers.ASTModel(transformers.ASTConfig()).save_pretrained(folder)
    extractor: Any = transformers.ASTFeatureExtractor
    extractor().save_pretrained(folder)
    return {"folder": str(folder)}


def _minilm(folder: Path) -> dict[str, Any]:
    """all-MiniLM-L6-v2."""
    import transformers

    shape: dict[str, Any] = {
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
    }
    transformers.BertModel(transformers.BertConfig(**shape), add_pooling_layer=False).save_pretrained(folder)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    transformers.BertTokenizer(vocab=vocabulary, model_max_length=256).save_pretrained(folder)
    return {"folder": str(folder)}


ARCHITECTURES: dict[str, Architecture] = {
    "siglip2-b16": Architecture(encoder="vision", make=_siglip2_b16),
    "clip-b32": Architecture(encoder="vision", make=_clip_b32),
    "vit-b16": Architecture(encoder="vision", make=_vit_b16),
    "resnet50": Architecture(encoder="torchvision", make=_resnet50),
    "clap": Architecture(encoder="clap", make=_clap),
    "ast": Architecture(encoder="ast", make=_ast),
    "minilm": Architecture(encoder="text", make=_minilm),
}


def make_inputs(wants: InputSpec, num: int) -> npt.NDArray[Any]:
    """(num, *wants.shape) of noise, or texts of as many words as two seconds of a talkative feed have."""
    random = np.random.default_rng(1)
    if isinstance(wants, PictureSpec):
        return random.integers(0, 256, (num, *wants.shape), dtype=np.uint8)
    if isinstance(wants, SoundSpec):
        return random.normal(0, 0.1, (num, *wants.shape)).astype(np.float32)
    return np.array([" ".join(random.choice(WORDS, WORDS_PER_TEXT)) for _ in range(num)], np.str_)
