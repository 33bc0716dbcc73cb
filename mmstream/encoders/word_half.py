"""The half of CLIP, SigLIP, SigLIP 2 and CLAP that reads: words into the space of the pictures or sounds.

Each reads words as it was trained to: CLIP up to 77 tokens and CLAP up to 77 of its 512, padded to the longest of a
batch; SigLIP and SigLIP 2 lower-case, always 64 tokens, the padding seen like words (no attention mask).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmstream.encoders.pretrained import check_vocabulary, has_tokenizer, load_tokenizer, pooled, unit_rows
from mmstream.errors import ConfigError
from mmstream.types import Float32

Words = Literal["auto"] | bool
"""Whether the half that reads is kept: ``auto`` keeps it where the folder has a tokenizer."""

_CLAP_TOKENS = 77
"""Its text model could take 512 tokens; it was trained on captions of so many at most (Wu et al., ICASSP 2023)."""
_TEXTS_AT_ONCE = 32


class WordHalf:
    """Texts -> unit vectors. The model is shared with the half that sees or hears."""

    def __init__(self, model: Any, place: Path, device: torch.device) -> None:
        self._model, self._device = model, device
        self._tokenizer = load_tokenizer(place)
        check_vocabulary(self._tokenizer, model, place)
        self._is_siglip = model.config.model_type.startswith("siglip")
        positions = int(model.config.text_config.max_position_embeddings)
        is_clap = model.config.model_type == "clap"  # it counts positions from behind the number of the padding
        self._max_tokens = min(positions - 2, _CLAP_TOKENS) if is_clap else positions
        self.dim = self(["a picture"]).shape[1]

    def __call__(self, texts: Sequence[str]) -> Float32:
        """-> (N, dim) float32, rows of length 1, in order; long texts are cut."""
        parts = [self._encode(list(texts[i : i + _TEXTS_AT_ONCE])) for i in range(0, len(texts), _TEXTS_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def _encode(self, texts: list[str]) -> Float32:
        tokens = self._tokenizer(
            [text.lower() for text in texts] if self._is_siglip else texts,
            padding="max_length" if self._is_siglip else True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        names = ("input_ids",) if self._is_siglip else ("input_ids", "attention_mask")
        with torch.inference_mode():
            answer = self._model.get_text_features(**{name: tokens[name].to(self._device) for name in names})
            return np.asarray(unit_rows(pooled(answer)).cpu().numpy(), np.float32)


def keeps_words(words: Words, place: Path, model: Any, name: str) -> bool:
    """What the option ``words`` means for this model and folder.

    Raises:
        ConfigError: it is none of the three, or words are asked of a model or a folder that has none.
    """
    if words not in ("auto", True, False):
        raise ConfigError(f"words must be auto, true or false, got {words!r}")
    reads = hasattr(model, "get_text_features")
    if words is True and not reads:
        raise ConfigError(f"words is true, but a {name} knows no words; leave it out, or take a CLIP, SigLIP or CLAP")
    if words == "auto":
        return reads and has_tokenizer(place)
    return bool(words)


def without_words(model: Any) -> None:
    """Forget the half that reads, and its memory."""
    for part in ("text_model", "text_projection"):
        if hasattr(model, part):
            delattr(model, part)
