"""Models that look at pictures and answer in words, through transformers: SmolVLM, Qwen-VL, LLaVA and the like.

What differs between them (how many tokens a picture is, where they stand in the prompt) is in the folder's processor
and chat template; nothing here knows a family by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmstream.encoders.filterbank import Device, Precision, pick_device, pick_dtype
from mmstream.encoders.generating import in_parts, load_writer
from mmstream.encoders.hub import local_folder
from mmstream.encoders.pretrained import content_hash, first_words, load_tokenizer
from mmstream.encoders.prompts import clean_answer
from mmstream.errors import ConfigError, StageError
from mmstream.stages import Question
from mmstream.types import UInt8

MAX_PICTURES = 8
TOKENS_PER_WORD = 2
_EXAMPLES = "an image-text-to-text model, such as HuggingFaceTB/SmolVLM-500M-Instruct"


class PretrainedDescriber:
    """Any image-text-to-text model with a chat template. Greedy: the same question gets the same answer.

    ``folder`` is what `save_pretrained` wrote, or a Hub id; code that comes with a model is never run. Pictures are
    made at most ``longest_side_px`` long before the model's own processor sees them: what a picture costs grows with
    its area in many families. Those that enlarge pictures and cut them into tiles (SmolVLM: 17 of them) do so only for
    what is larger than a tile. Questions are answered one after the other: no answer depends on its neighbours.

    Raises:
        ConfigError: nothing there, another kind of model, or no processor or chat template beside it.
    """

    def __init__(
        self, *, folder: str, longest_side_px: int = 512, device: Device = "auto", precision: Precision = "auto"
    ) -> None:
        from transformers import AutoModelForImageTextToText

        if not 32 <= longest_side_px <= 4096:
            raise ConfigError(f"longest_side_px must be between 32 and 4096, got {longest_side_px}")
        place = local_folder(folder)
        self._device, self._longest_side_px = pick_device(device), longest_side_px
        self._dtype = pick_dtype(precision, self._device)
        self._model = load_writer(
            place, AutoModelForImageTextToText, dtype=self._dtype, device=self._device, examples=_EXAMPLES
        )
        load_tokenizer(place)  # says better what is missing than the processor does
        self._processor = _processor(place)
        _tile_only_what_is_large(self._processor.image_processor, longest_side_px)
        self.model = f"{self._model.config.model_type}@{content_hash(place, words=True)}"

    def describe(self, questions: Sequence[Question]) -> list[str]:
        """One answer per question, in order: a sentence or two of at most its ``max_words``.

        Raises:
            StageError: a question does not fit into memory, or its pictures not into what the model can read.
        """
        return [in_parts(self._answer, [question])[0] for question in questions]

    def _answer(self, questions: Sequence[Question]) -> list[str]:
        (question,) = questions
        pictures = [self._fitting(picture) for picture in question.pictures[:MAX_PICTURES]]
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": question.prompt}]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        begins_itself = (mark := self._processor.tokenizer.bos_token) is not None and prompt.startswith(mark)
        try:
            inputs = self._processor(
                text=[prompt],
                images=[pictures] if pictures else None,
                add_special_tokens=not begins_itself,
                return_tensors="pt",
            ).to(self._device, self._dtype)
            with torch.inference_mode():
                written = self._model.generate(
                    **inputs,
                    max_new_tokens=TOKENS_PER_WORD * question.max_words + 16,
                )
        except (ValueError, IndexError) as error:
            raise StageError(f"{self.model} cannot take {len(pictures)} pictures: {first_words(error)}") from error
        said = written[0, inputs["input_ids"].shape[1] :]
        return [clean_answer(self._processor.decode(said, skip_special_tokens=True), question.max_words)]

    def _fitting(self, picture: UInt8) -> Image.Image:
        image = Image.fromarray(np.ascontiguousarray(picture))
        image.thumbnail((self._longest_side_px, self._longest_side_px))
        return image


def _tile_only_what_is_large(image_processor: Any, longest_side_px: int) -> None:
    tile_px = dict(getattr(image_processor, "max_image_size", None) or {}).get("longest_edge")
    if tile_px is not None and hasattr(image_processor, "do_image_splitting"):
        image_processor.do_image_splitting = image_processor.do_image_splitting and longest_side_px > tile_px


def _processor(place: Path) -> Any:
    from transformers import AutoProcessor

    loader: Any = AutoProcessor
    try:
        processor = loader.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ConfigError(f"{place} holds no usable processor: {first_words(error)}") from error
    if not hasattr(processor, "image_processor"):
        raise ConfigError(f"{place} holds no image processor (preprocessor_config.json); copy the folder again")
    if not getattr(processor, "chat_template", None):
        raise ConfigError(f"{place} holds no chat template; choose a variant made for instructions (-Instruct, -it)")
    return processor
