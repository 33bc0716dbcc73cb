"""Text-to-text models (T5, BART and the like) that tell the evidence of an alert in a sentence or two, unseen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mmstream.encoders.filterbank import Device, Precision, pick_device, pick_dtype
from mmstream.encoders.generating import in_parts, load_writer
from mmstream.encoders.hub import local_folder
from mmstream.encoders.pretrained import content_hash, load_tokenizer
from mmstream.encoders.prompts import clean_answer
from mmstream.stages import Question

MAX_PROMPT_TOKENS = 512
"""What T5 and BART were trained on at least; the rest of a longer prompt is not read."""
TOKENS_PER_WORD = 2
_EXAMPLES = "a text-to-text model, such as google/flan-t5-small"


class TextRetelling:
    """Any encoder-decoder of text, greedily. Only the question's prompt is read; its pictures are not.

    ``folder`` is what `save_pretrained` wrote, or a Hub id. ``prefix`` is put before every prompt, for models that were
    trained with one (``summarize: ``).

    Raises:
        ConfigError: nothing there, another kind of model, or no tokenizer beside it.
    """

    def __init__(
        self, *, folder: str, prefix: str = "", device: Device = "auto", precision: Precision = "auto"
    ) -> None:
        from transformers import AutoModelForSeq2SeqLM

        place = local_folder(folder)
        self._device, self._prefix = pick_device(device), prefix
        dtype = pick_dtype(precision, self._device)
        self._model = load_writer(place, AutoModelForSeq2SeqLM, dtype=dtype, device=self._device, examples=_EXAMPLES)
        self._tokenizer = load_tokenizer(place)
        self.model = f"{self._model.config.model_type}@{content_hash(place, words=True)}"

    def describe(self, questions: Sequence[Question]) -> list[str]:
        """One answer per question, in order.

        Raises:
            StageError: not even one question fits into memory.
        """
        return in_parts(self._answer, questions)

    def _answer(self, questions: Sequence[Question]) -> list[str]:
        inputs = self._tokenizer(
            [self._prefix + question.prompt for question in questions],
            padding=True,
            truncation=True,
            max_length=MAX_PROMPT_TOKENS,
            return_tensors="pt",
        ).to(self._device)
        most_words = max(question.max_words for question in questions)
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=TOKENS_PER_WORD * most_words + 16,
            )
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return [clean_answer(text, question.max_words) for text, question in zip(texts, questions, strict=True)]
