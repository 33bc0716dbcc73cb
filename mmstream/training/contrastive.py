"""Pictures and sentences into one space: a small CLIP, trained from nothing, saved as any other is.

What `train_pairs` writes with `save_pretrained` is what `encoders.vision` loads: a model that a site trained for
itself takes the same road as one from the Hub.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from mmstream.types import UInt8

Truth = Callable[[npt.NDArray[np.intp], npt.NDArray[np.intp]], npt.NDArray[np.bool_]]
"""(numbers of captions (N,), the same (M,)) -> (N, M): whether caption j is true of the picture of caption i."""

MEAN = STD = 0.5
"""A byte b becomes ``(b / 255 - MEAN) / STD``."""

MAX_TOKENS = 32
_SPECIAL = ("[PAD]", "[START]", "[UNKNOWN]", "[END]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the model is."""

    side_px: int = 48
    patch_px: int = 8
    width: int = 64
    num_layers: int = 3
    num_heads: int = 4
    dim: int = 64
    """Of the common space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How long and how hard it is trained."""

    num_steps: int = 8000
    batch: int = 64
    learning_rate: float = 3e-3
    warmup_share: float = 0.06
    weight_decay: float = 0.02
    seed: int = 0


def train_pairs(
    pictures: UInt8,
    captions: Sequence[str],
    truth: Truth,
    folder: Path,
    *,
    picture_of: npt.NDArray[np.intp] | None = None,
    shape: Shape | None = None,
    recipe: Recipe | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Learn which caption goes with which picture, and write the model to ``folder``.

    ``pictures`` uint8 (N, side, side, 3); caption i belongs to picture ``picture_of[i]``, or i. The loss is SigLIP's
    (Zhai et al., 2023): every pair of a batch is a yes or a no by itself, so that a caption which is true of several
    pictures counts as true of all of them. ``progress`` is told (step, steps, loss). Repeatable for a seed and a
    number of threads.
    """
    shape, recipe = shape or Shape(), recipe or Recipe()
    torch.manual_seed(recipe.seed)
    tokenizer = words_tokenizer(captions)
    model = new_model(shape, len(tokenizer))
    bias = torch.nn.Parameter(torch.tensor(-4.0))
    optimizer = _optimizer(model, bias, recipe)
    rng = np.random.default_rng(recipe.seed)
    tokens = tokenizer(list(captions), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    model.train()
    for step in range(recipe.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _pace(step, recipe)
        chosen = rng.choice(len(captions), min(recipe.batch, len(captions)), replace=False)
        shown = pictures[chosen if picture_of is None else picture_of[chosen]]
        labels = torch.from_numpy(truth(chosen, chosen))
        loss = _loss(model, bias, _flipped(shown, rng), *_said(tokens, chosen), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if progress is not None:
            progress(step + 1, recipe.num_steps, loss.item())
    save(model, tokenizer, folder, shape)


def new_model(shape: Shape, num_words: int) -> Any:
    """A `transformers.CLIPModel` with random weights of torch's present seed."""
    from transformers import CLIPConfig, CLIPModel

    # CLIP's own activation costs a fifth of a step on a CPU
    depth = {"num_hidden_layers": shape.num_layers, "num_attention_heads": shape.num_heads, "hidden_act": "relu"}
    width = {"hidden_size": shape.width, "intermediate_size": 4 * shape.width, "projection_dim": shape.dim}
    words = {"vocab_size": num_words, "max_position_embeddings": MAX_TOKENS}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3}
    config = CLIPConfig(
        text_config={**depth, **width, **words, **ids, "num_hidden_layers": 2},
        vision_config={**depth, **width, "image_size": shape.side_px, "patch_size": shape.patch_px},
        projection_dim=shape.dim,
    )
    return CLIPModel(config)


def words_tokenizer(captions: Sequence[str]) -> Any:
    """Every word of the captions is a token, and so is every Chinese character; others are unknown."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token=_SPECIAL[2]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(captions, trainers.WordLevelTrainer(special_tokens=list(_SPECIAL)))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_SPECIAL[1]} $A {_SPECIAL[3]}", special_tokens=[(_SPECIAL[1], 1), (_SPECIAL[3], 3)]
    )
    pad, start, unknown, end = _SPECIAL
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=start,
        unk_token=unknown,
        eos_token=end,
        model_max_length=MAX_TOKENS,
    )


def save(model: Any, tokenizer: Any, folder: Path, shape: Shape) -> None:
    """As `from_pretrained` wants to find it: weights, tokenizer, and how a picture is made ready."""
    from transformers import CLIPImageProcessor

    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": shape.side_px, "width": shape.side_px}
    CLIPImageProcessor(size=size, do_center_crop=False, image_mean=[MEAN] * 3, image_std=[STD] * 3).save_pretrained(
        folder
    )


def _loss(
    model: Any, bias: torch.Tensor, pictures: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    seen = functional.normalize(model.get_image_features(pixel_values=pictures).pooler_output)
    said = functional.normalize(model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output)
    logits = seen @ said.T * model.logit_scale.exp().clamp(max=100.0) + bias
    wanted = labels.to(logits.dtype)
    # a batch has many more wrong pairs than right ones: both halves count alike
    weight = wanted / wanted.sum().clamp(min=1) + (1 - wanted) / (1 - wanted).sum().clamp(min=1)
    return functional.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum") / 2


def _flipped(pictures: UInt8, rng: np.random.Generator) -> torch.Tensor:
    """As floats, colours first; a random half of them mirrored: no caption says left or right."""
    mirrored = rng.random(len(pictures)) < 0.5
    turned = np.where(mirrored[:, None, None, None], pictures[:, :, ::-1], pictures)
    return (torch.from_numpy(turned).permute(0, 3, 1, 2).float() / 255.0 - MEAN) / STD


def _said(tokens: Any, chosen: npt.NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.from_numpy(chosen)
    mask = tokens["attention_mask"][rows]
    longest = int(mask.sum(1).max())
    return tokens["input_ids"][rows][:, :longest], mask[:, :longest]


def _optimizer(model: Any, bias: torch.Tensor, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    rate = recipe.learning_rate
    return torch.optim.AdamW(
        [
            {"params": matrices, "peak": rate, "weight_decay": recipe.weight_decay},
            {"params": others, "peak": rate, "weight_decay": 0.0},
            {"params": [bias], "peak": 10 * rate, "weight_decay": 0.0},
        ],
        lr=rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _pace(step: int, recipe: Recipe) -> float:
    """Share of the peak learning rate: up in a straight line, down along a cosine."""
    warm = max(1, round(recipe.warmup_share * recipe.num_steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, recipe.num_steps - warm)))
