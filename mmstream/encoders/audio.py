"""Pretrained models of sound that transformers can load: CLAP, which knows words, too, and AST.

A window of two seconds at 16 kHz is resampled to the rate of the model, turned into the log-mel spectrogram that the
folder's own feature extractor would make of it, and encoded; all of it for a whole batch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from mmstream.encoders.filterbank import Device
from mmstream.encoders.hub import local_folder
from mmstream.encoders.log_mel import AstLogMel, ClapLogMel, LogMel
from mmstream.encoders.pretrained import (
    check_takes,
    content_hash,
    first_words,
    load_model,
    pooled,
    read_config,
    to_device,
)
from mmstream.encoders.resampling import Resampler
from mmstream.encoders.slimming import Precision, Slimming
from mmstream.encoders.torch_encoder import TorchEncoder
from mmstream.encoders.word_half import WordHalf, Words, keeps_words, without_words
from mmstream.errors import ConfigError
from mmstream.types import Channel, Float32, SoundSpec


class _SoundEncoder(TorchEncoder):
    """What both share: sound to the model's numbers."""

    wants: SoundSpec
    _log_mel: LogMel

    def __init__(self, place: Path, *, slimming: Slimming, device: str, rate_hz: float) -> None:
        super().__init__(
            wants=SoundSpec(rate_hz=rate_hz),
            model=f"{read_config(place).get('model_type', 'model')}@{content_hash(place)}",
            device=device,
            slimming=slimming,
        )

    def _prepared(self, inputs: Float32) -> torch.Tensor:
        """float32 (N, samples) at 16 kHz -> what the model takes, in its number format."""
        samples = torch.tensor(inputs, device=self._device)
        return self._log_mel(self._resampler(samples)).to(self._dtype)

    def _listen_with(self, log_mel: LogMel) -> None:
        self._log_mel = log_mel
        self._resampler = Resampler(self.wants.sample_rate_hz, log_mel.sample_rate_hz)

    def _named(self) -> str:
        return f"{self.wants.duration_s:g} s of sound"


class ClapEncoder(_SoundEncoder):
    """The half of a CLAP that hears, from a folder that `save_pretrained` wrote or a Hub id.

    ``encode_words`` is there only where ``words`` says so and the folder has a tokenizer: then, and only then, this is
    a `stages.KnowsWords`. Options: `Slimming`.

    Raises:
        ConfigError: nothing there, not a CLAP, or files missing or damaged.
    """

    channel: ClassVar[Channel] = Channel(
        name="clap", modality="sound", normality="bank", density=True, aspect="sound-content"
    )
    encode_words: Callable[[Sequence[str]], Float32]

    def __init__(
        self,
        *,
        folder: str,
        device: Device = "auto",
        precision: Precision = "auto",
        keep_layers: int = 0,
        compile: bool = False,
        words: Words = "auto",
        rate_hz: float = 1.0,
    ) -> None:
        slimming = Slimming(precision=precision, keep_layers=keep_layers, compile=compile)
        place = local_folder(folder)
        settings = _extractor_settings(place, "ClapFeatureExtractor", "a CLAP")
        super().__init__(place, slimming=slimming, device=device, rate_hz=rate_hz)
        self._listen_with(ClapLogMel(settings, self._device))
        loaded = load_model(place, self._dtype, unused=("text_model", "text_projection"))
        self._model = loaded.model
        has_words = keeps_words(words, place, self._model, "clap")
        if not has_words:
            without_words(self._model)
        to_device(self._model, self._device, place)
        slimming.apply(self._model.audio_model, name="clap")
        if has_words:
            self.encode_words = WordHalf(self._model, place, self._device)
        self._warm_up()

    def _features(self, inputs: Float32) -> torch.Tensor:
        spectrogram = self._prepared(inputs)
        is_longer = torch.zeros(len(inputs), 1, dtype=torch.bool, device=self._device)  # two seconds never are
        return pooled(self._model.get_audio_features(input_features=spectrogram, is_longer=is_longer))


class AstEncoder(_SoundEncoder):
    """An Audio Spectrogram Transformer without its classifier, from a folder or a Hub id. Options: `Slimming`.

    Raises:
        ConfigError: nothing there, not an AST, or files missing or damaged.
    """

    channel: ClassVar[Channel] = Channel(
        name="ast", modality="sound", normality="bank", density=True, aspect="sound-content"
    )

    def __init__(
        self,
        *,
        folder: str,
        device: Device = "auto",
        precision: Precision = "auto",
        keep_layers: int = 0,
        compile: bool = False,
        rate_hz: float = 1.0,
    ) -> None:
        slimming = Slimming(precision=precision, keep_layers=keep_layers, compile=compile)
        place = local_folder(folder)
        settings = _extractor_settings(place, "ASTFeatureExtractor", "an Audio Spectrogram Transformer (AST)")
        super().__init__(place, slimming=slimming, device=device, rate_hz=rate_hz)
        self._listen_with(AstLogMel(settings, self._device))
        self._model = to_device(load_model(place, self._dtype).model, self._device, place)
        slimming.apply(self._model, name="ast")
        self._warm_up()

    def _features(self, inputs: Float32) -> torch.Tensor:
        return pooled(self._model(input_values=self._prepared(inputs)))


def _extractor_settings(place: Path, kind: str, wanted: str) -> Mapping[str, Any]:
    """The folder's feature extractor as plain values, with the defaults of its class filled in.

    Raises:
        ConfigError: the model is of another kind, or its extractor is missing.
    """
    check_takes(place, "audio", examples=wanted)
    from transformers import AutoFeatureExtractor

    loader: Any = AutoFeatureExtractor
    try:
        extractor = loader.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(f"{place} holds no usable feature extractor: {first_words(error)}") from error
    if type(extractor).__name__ != kind:
        model_type = read_config(place).get("model_type", "model")
        raise ConfigError(f"{place} holds a {model_type} with a {type(extractor).__name__}; here it must be {wanted}")
    return dict(extractor.to_dict())
