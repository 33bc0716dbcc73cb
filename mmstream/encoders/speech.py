"""Whisper through transformers: what is said, and nothing where nobody speaks.

Whisper was trained on subtitles, and on silence or noise it makes up what such texts often say, or repeats itself. Its
authors listen for that (Radford et al. 2022, section 4.5): the probability of "no speech", the mean log-probability of
the tokens (at least -1), and how well the text compresses (at most 2.4 times), and decode again at higher
temperatures. Here nothing is decoded twice and nothing is drawn by lot: what is doubtful is left out.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmstream.encoders.filterbank import Device, Precision, pick_device, pick_dtype
from mmstream.encoders.generating import in_parts, load_writer
from mmstream.encoders.hub import local_folder
from mmstream.encoders.pretrained import content_hash, first_words, load_tokenizer
from mmstream.encoders.prompts import plain
from mmstream.encoders.voice import VoiceActivity
from mmstream.errors import ConfigError
from mmstream.stages import Heard
from mmstream.types import Float32

RATE_HZ = 16_000
LEAST_CONFIDENCE = 0.37
"""exp(-1): the authors' limit for the mean log-probability."""
MOST_COMPRESSION = 2.4
TOKENS_PER_S = 16
"""Nobody speaks faster, in any script; it bounds what a loop costs."""
MAX_TOKENS = 224
_EXAMPLES = "a Whisper, such as openai/whisper-small"


class WhisperSpeech:
    """Writes down pieces of up to 30 s, several at once, greedily: the same sound gives the same words.

    ``folder`` is what `save_pretrained` wrote, or a Hub id. ``language`` (``en``, ``zh``, ...) is detected when empty.
    With ``only_voices`` (the default) sound in which `VoiceActivity` finds nobody speaking is not put to the model.

    Confidence = (1 - P(no speech)) * exp(mean log-probability of the tokens, the end included), and half of that where
    the text ran in a loop, which is cut: somebody may have called "help" five times. What is less sure than
    ``least_confidence`` is left out.

    Raises:
        ConfigError: nothing there, not a Whisper, parts missing, or a language that it does not know.
    """

    def __init__(
        self,
        *,
        folder: str,
        language: str = "",
        least_confidence: float = LEAST_CONFIDENCE,
        only_voices: bool = True,
        device: Device = "auto",
        precision: Precision = "auto",
    ) -> None:
        from transformers import AutoModelForSpeechSeq2Seq

        place = local_folder(folder)
        self._device = pick_device(device)
        self._dtype = pick_dtype(precision, self._device)
        self._model = load_writer(
            place, AutoModelForSpeechSeq2Seq, dtype=self._dtype, device=self._device, examples=_EXAMPLES
        )
        if self._model.config.model_type != "whisper":
            raise ConfigError(f"{place} holds a {self._model.config.model_type}; take {_EXAMPLES}")
        self._model.generation_config.return_dict_in_generate = self._model.generation_config.output_scores = True
        self._tokenizer = load_tokenizer(place)
        self._extractor = _feature_extractor(place)
        self._languages = _languages(self._model.generation_config)
        if language and language not in self._languages:
            known = ", ".join(sorted(self._languages)) or "none, it is for English only"
            raise ConfigError(f"{place} knows no language {language!r}; it knows {known}")
        self._language, self._least_confidence = language, least_confidence
        self._voices = VoiceActivity() if only_voices else None
        self.longest_s = float(self._extractor.chunk_length)
        self.model = f"whisper@{content_hash(place, words=True)}"

    def transcribe(self, sounds: Sequence[Float32]) -> list[Heard]:
        """Pieces of mono sound at 16 kHz, (n,) each of its own length -> what was said in each, in order.

        Raises:
            StageError: not even one piece fits into memory.
        """
        cut = [np.nan_to_num(sound[: round(self.longest_s * RATE_HZ)]) for sound in sounds]
        spoken = [number for number, sound in enumerate(cut) if self._is_spoken(sound)]
        heard = dict(zip(spoken, in_parts(self._write, [cut[number] for number in spoken]), strict=True))
        return [heard.get(number, Heard(text="", confidence=0.0)) for number in range(len(sounds))]

    def _is_spoken(self, sound: Float32) -> bool:
        if not sound.any():
            return False
        return self._voices is None or bool(self._voices.listen(sound).segments)

    def _write(self, sounds: Sequence[Float32]) -> list[Heard]:
        with torch.inference_mode():
            encoded, no_speech, languages = self._listen(sounds)
            most_tokens = [min(MAX_TOKENS, 24 + round(TOKENS_PER_S * len(sound) / RATE_HZ)) for sound in sounds]
            answer = self._model.generate(
                encoder_outputs=encoded,
                attention_mask=None,
                **({"language": languages, "task": "transcribe"} if self._languages else {}),
                max_length=max(most_tokens),  # its own prompt not counted
            )
            means, texts = self._read(answer, most_tokens)
        return [
            self._judge(text, (1 - silence) * mean, language)
            for text, mean, silence, language in zip(texts, means, no_speech, languages, strict=True)
        ]

    def _listen(self, sounds: Sequence[Float32]) -> tuple[Any, list[float], list[str]]:
        """-> (the encoder's output, P(no speech) of each, language of each): one step of the decoder says both."""
        from transformers.modeling_outputs import BaseModelOutput

        features = self._extractor(list(sounds), sampling_rate=RATE_HZ, return_tensors="pt").input_features
        encoded = self._model.get_encoder()(features.to(self._device, self._dtype)).last_hidden_state
        start = torch.full((len(sounds), 1), self._model.generation_config.decoder_start_token_id, device=self._device)
        first = self._model(encoder_outputs=(encoded,), decoder_input_ids=start, use_cache=False).logits[:, -1].float()
        after = getattr(self._model.generation_config, "no_timestamps_token_id", None)  # "no speech" is the one before
        no_speech = first.softmax(-1)[:, after - 1].tolist() if after else [0.0] * len(sounds)
        names = list(self._languages)
        if self._language or not names:
            return BaseModelOutput(encoded), no_speech, [self._language or "en"] * len(sounds)
        likeliest = first[:, [self._languages[name] for name in names]].argmax(-1).tolist()
        return BaseModelOutput(encoded), no_speech, [names[number] for number in likeliest]

    def _read(self, answer: Any, most_tokens: list[int]) -> tuple[list[float], list[str]]:
        """-> (geometric mean of each piece's token probabilities, its text), of ``most_tokens`` each."""
        written = answer.sequences[:, -len(answer.scores) :]
        chosen = torch.stack(
            [
                scores.float().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
                for scores, tokens in zip(answer.scores, written.T, strict=True)
            ],
            dim=1,
        )
        end = self._model.generation_config.eos_token_id
        ended = written == end
        counted = ended.cumsum(1) - ended.long() == 0  # up to the first end, that one included
        counted &= torch.arange(written.shape[1], device=written.device) < torch.tensor(
            most_tokens, device=written.device
        ).unsqueeze(1)
        means = (torch.where(counted, chosen, 0.0).sum(1) / counted.sum(1)).exp().tolist()
        return means, self._tokenizer.batch_decode(torch.where(counted, written, end), skip_special_tokens=True)

    def _judge(self, written: str, confidence: float, language: str) -> Heard:
        text = plain(written)
        left = without_loops(text)
        confidence *= 1.0 if left == text else 0.5
        if not left or confidence < self._least_confidence:
            return Heard(text="", confidence=confidence, language=language)
        return Heard(text=left, confidence=confidence, language=language)


_LOOP = re.compile(r"(.{1,60}?)\1{3,}")


def without_loops(text: str) -> str:
    """What is said four times and more in a row is said once; what then still compresses 2.4 times says nothing.

    Digits may repeat: they are numbers.

    >>> without_loops("Thank you. Thank you. Thank you. Thank you. "), without_loops("flight 70000")
    ('Thank you.', 'flight 70000')
    """
    once = _LOOP.sub(lambda found: found[0] if found[1].strip().isdecimal() else found[1], text + " ").strip()
    coded = once.encode()
    return "" if len(coded) / len(zlib.compress(coded)) > MOST_COMPRESSION else once


def _languages(settings: Any) -> dict[str, int]:
    """Code -> token, of what the folder's generation config knows; empty for a model of English only."""
    if not getattr(settings, "is_multilingual", True):
        return {}
    return {token.strip("<|>"): number for token, number in (getattr(settings, "lang_to_id", None) or {}).items()}


def _feature_extractor(place: Any) -> Any:
    from transformers import AutoFeatureExtractor

    loader: Any = AutoFeatureExtractor
    try:
        return loader.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ConfigError(f"{place} holds no usable feature extractor: {first_words(error)}") from error
