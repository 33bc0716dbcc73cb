"""Sentence vectors: BERT, MiniLM, MPNet, XLM-R and the like, by transformers, pooled over their tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mmstream.encoders.filterbank import Device
from mmstream.encoders.hub import local_folder
from mmstream.encoders.pretrained import (
    check_takes,
    check_vocabulary,
    content_hash,
    load_model,
    load_tokenizer,
    read_config,
    to_device,
)
from mmstream.encoders.slimming import Precision, Slimming
from mmstream.encoders.torch_encoder import TorchEncoder
from mmstream.errors import ConfigError
from mmstream.types import Channel, WordsSpec

EXAMPLES = "a model of text, such as a BERT or MiniLM"
LONGEST_TOKENS = 512
"""Where neither the tokenizer nor the model names a bound."""
_COMPILED_TOKENS = 64
"""For a compiled model texts are padded to multiples of so many: few lengths, few graphs."""


class SentenceEncoder(TorchEncoder):
    """What a text means, from a folder that `save_pretrained` wrote or a Hub id. Options: `Slimming`.

    The mean of the last layer over the tokens that are not padding (Reimers and Gurevych, EMNLP 2019), or the first
    token where the folder's ``1_Pooling/config.json`` says so. Long texts are cut at what the model was made for.

    Raises:
        ConfigError: nothing there, not a model of text, or files missing or damaged.
    """

    channel: ClassVar[Channel] = Channel(
        name="meaning", modality="words", normality="bank", density=True, aspect="meaning"
    )
    wants: WordsSpec

    def __init__(
        self,
        *,
        folder: str,
        device: Device = "auto",
        precision: Precision = "auto",
        keep_layers: int = 0,
        compile: bool = False,
    ) -> None:
        slimming = Slimming(precision=precision, keep_layers=keep_layers, compile=compile)
        place = local_folder(folder)
        name = str(read_config(place).get("model_type", "model"))
        check_takes(place, "text", examples=EXAMPLES)
        super().__init__(
            wants=WordsSpec(), model=f"{name}@{content_hash(place, words=True)}", device=device, slimming=slimming
        )
        self._tokenizer = load_tokenizer(place)
        self._takes_first = _takes_first(place)
        self._model = to_device(load_model(place, self._dtype).model, self._device, place)
        check_vocabulary(self._tokenizer, self._model, place)
        self._max_tokens = _max_tokens(place, self._tokenizer, self._model)
        slimming.apply(self._model, name=name)
        self._warm_up()

    def _features(self, inputs: npt.NDArray[np.str_]) -> torch.Tensor:
        tokens = self._tokenizer(
            [str(text) for text in inputs],
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            pad_to_multiple_of=_COMPILED_TOKENS if self._slimming.compile else None,
            return_tensors="pt",
        ).to(self._device)
        hidden: torch.Tensor = self._model(**tokens).last_hidden_state.float()
        if self._takes_first:
            return hidden[:, 0]
        seen = tokens["attention_mask"][..., None].float()
        mean: torch.Tensor = (hidden * seen).sum(dim=1) / seen.sum(dim=1).clamp_min(1.0)
        return mean

    def _named(self) -> str:
        return "text"


def _max_tokens(place: Path, tokenizer: Any, model: Any) -> int:
    """The least of what sentence-transformers, the tokenizer and the model's positions allow."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", LONGEST_TOKENS)
    if config.model_type in ("roberta", "xlm-roberta", "mpnet", "camembert"):
        positions -= 2  # they count from behind the number of the padding
    bound = _setting(place / "sentence_bert_config.json", "max_seq_length") or LONGEST_TOKENS
    return int(min(positions, tokenizer.model_max_length, bound, LONGEST_TOKENS))


def _takes_first(place: Path) -> bool:
    return bool(_setting(place / "1_Pooling" / "config.json", "pooling_mode_cls_token"))


def _setting(path: Path, name: str) -> Any:
    """Of a small JSON file that need not be there.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))).get(name)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read; copy the folder again: {error}") from error
