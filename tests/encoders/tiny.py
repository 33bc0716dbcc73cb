"""Tiny models of the real architectures with random weights, saved as the real libraries save them.

Every ``make_*`` writes a whole folder: configuration, weights, and the processor or tokenizer that belongs to it.
`replica_options` gives every replica encoder of the table one to load.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
import transformers
from safetensors.torch import save_file

from mmstream.encoders.site_net import PictureNet, SoundNet, about
from mmstream.types import InputSpec, PictureSpec, SoundSpec

SIDE_PX = 32
LAYERS = 2
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
VISION = {**TINY, "image_size": SIDE_PX, "patch_size": 8}
WORDS = [
    "a",
    "the",
    "of",
    "person",
    "dog",
    "car",
    "smoke",
    "fire",
    "lying",
    "on",
    "ground",
    "red",
    "blue",
    "street",
    "gate",
    "truck",
    "rain",
    "siren",
    "glass",
    "breaking",
]
"""What the tokenizers know; anything else is spelled or unknown."""
SENTENCES = ["a person lying on the ground", "smoke", "the red car on the street", "a dog of fire in blue rain, at 3"]


def letters() -> list[str]:
    return [chr(code) for code in range(33, 127)]


def make_clip_tokenizer(folder: Path) -> int:
    """-> size of its vocabulary. Byte pairs without a merge: it spells."""
    pieces = [*letters(), *(f"{letter}</w>" for letter in letters()), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=24
    )
    tokenizer.save_pretrained(folder)
    return len(pieces)


def make_word_pieces(folder: Path, *, longest: int = 24) -> int:
    """-> size of its vocabulary. BERT's."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = transformers.BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=longest
    )
    tokenizer.save_pretrained(folder)
    return len(pieces)


def make_siglip_tokenizer(folder: Path) -> int:
    """-> size of its vocabulary. SigLIP 2's, spelling."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters()]
    tokenizer = transformers.Siglip2Tokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
    tokenizer.save_pretrained(folder)
    return len(pieces)


def make_roberta_tokenizer(folder: Path) -> int:
    """-> size of its vocabulary. CLAP's."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *letters()]
    tokenizer = transformers.RobertaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=40
    )
    tokenizer.save_pretrained(folder)
    return len(pieces)


def make_clip(folder: Path, *, words: bool = True) -> None:
    torch.manual_seed(1)
    size = make_clip_tokenizer(folder) if words else 20
    text = {
        **TINY,
        "vocab_size": size,
        "max_position_embeddings": 24,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE_PX}, crop_size={"height": SIDE_PX, "width": SIDE_PX}
    ).save_pretrained(folder)


def make_siglip(folder: Path, *, words: bool = True) -> None:
    torch.manual_seed(2)
    size = make_siglip_tokenizer(folder) if words else 20
    text = {**TINY, "vocab_size": size, "max_position_embeddings": 16, "projection_size": 16}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


def make_siglip2(folder: Path, *, words: bool = True) -> None:
    """The one that takes pictures of changing size (NaFlex); those of fixed size are saved as a SigLIP."""
    torch.manual_seed(3)
    size = make_siglip_tokenizer(folder) if words else 20
    text = {**TINY, "vocab_size": size, "max_position_embeddings": 16, "projection_size": 16}
    vision = {**TINY, "patch_size": 8, "num_patches": 16}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    transformers.Siglip2Model(config).save_pretrained(folder)
    transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)


def make_vit(folder: Path) -> None:
    torch.manual_seed(4)
    transformers.ViTModel(transformers.ViTConfig(**VISION)).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


def make_vit_classifier(folder: Path) -> None:
    torch.manual_seed(5)
    transformers.ViTForImageClassification(transformers.ViTConfig(**VISION)).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


def make_dinov2(folder: Path) -> None:
    torch.manual_seed(6)
    transformers.Dinov2Model(transformers.Dinov2Config(**VISION)).save_pretrained(folder)
    transformers.BitImageProcessor(
        size={"shortest_edge": SIDE_PX}, crop_size={"height": SIDE_PX, "width": SIDE_PX}
    ).save_pretrained(folder)


def make_convnext(folder: Path) -> None:
    torch.manual_seed(7)
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[2, 2, 2, 2])
    transformers.ConvNextModel(config).save_pretrained(folder)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 384}, crop_pct=1.0).save_pretrained(folder)


def make_bert(folder: Path) -> None:
    torch.manual_seed(8)
    size = make_word_pieces(folder)
    config = transformers.BertConfig(**TINY, vocab_size=size, max_position_embeddings=24)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


CLAP_AUDIO = {
    "hidden_size": 32,
    "patch_embeds_hidden_size": 8,
    "depths": [2, 2],
    "num_attention_heads": [2, 2],
    "num_hidden_layers": 2,
    "num_mel_bins": 32,
    "spec_size": 128,
    "window_size": 4,
}


def make_clap(folder: Path, *, words: bool = True, fusion: bool = False, padding: str = "repeatpad") -> None:
    torch.manual_seed(9)
    size = make_roberta_tokenizer(folder) if words else 20
    text = {**TINY, "vocab_size": size, "max_position_embeddings": 42, "projection_dim": 12}
    audio = {**CLAP_AUDIO, "hidden_size": 16, "projection_dim": 12, "enable_fusion": fusion}
    if fusion:
        audio |= {"fusion_type": "aff_2d"}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=32,
        max_length_s=5,
        truncation="fusion" if fusion else "rand_trunc",
        padding=padding,
        frequency_min=50,
    ).save_pretrained(folder)


def make_ast(folder: Path, *, normalise: bool = True) -> None:
    torch.manual_seed(10)
    config = transformers.ASTConfig(**TINY, max_length=256, num_mel_bins=32, frequency_stride=10, time_stride=10)
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(max_length=256, num_mel_bins=32, do_normalize=normalise).save_pretrained(folder)


def _torchvision(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), folder / "resnet18.pt")
    return {"architecture": "resnet18", "weights": str(folder / "resnet18.pt")}


def _folder(make: Callable[[Path], None]) -> Callable[[Path], dict[str, Any]]:
    def options(folder: Path) -> dict[str, Any]:
        make(folder)
        return {"folder": str(folder)}

    return options


def _site(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    parts = {"picture": PictureNet(), "sound": SoundNet()}
    state = {f"{part}.{name}": value for part, net in parts.items() for name, value in net.state_dict().items()}
    save_file(state, folder / "site.safetensors", about(parts=tuple(parts)))
    return {"weights": str(folder / "site.safetensors")}


_MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "vision": _folder(make_vit),
    "torchvision": _torchvision,
    "clap": _folder(make_clap),
    "ast": _folder(make_ast),
    "text": _folder(make_bert),
    "site": _site,
    "site-sound": _site,
}


def replica_options(name: str, folder: Path) -> dict[str, Any]:
    """Keyword arguments for the encoder called ``name``; its files are written into ``folder``."""
    return _MAKERS[name](folder) if name in _MAKERS else {}


def make_inputs(wants: InputSpec, num: int, seed: int = 1) -> npt.NDArray[Any]:
    """(num, *wants.shape): noise, or sentences of the words that the tokenizers know."""
    random = np.random.default_rng(seed)
    if isinstance(wants, PictureSpec):
        return random.integers(0, 256, (num, *wants.shape), dtype=np.uint8)
    if isinstance(wants, SoundSpec):
        return random.normal(0, 0.1, (num, *wants.shape)).astype(np.float32)
    return np.array([" ".join(random.choice(WORDS, 1 + number % 5)) for number in range(num)], np.str_)


def change_settings(path: Path, **values: Any) -> None:
    """Change single values of a JSON file."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, **values}), encoding="utf-8")


def cosines(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Sequence[float]:
    """Of rows of length 1."""
    return [float(value) for value in (one * other).sum(axis=1)]
