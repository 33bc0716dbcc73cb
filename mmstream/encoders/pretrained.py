"""What all models that transformers can load have in common: reading the folder, loading, errors in one sentence."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from mmstream.encoders.fitting import is_out_of_memory
from mmstream.encoders.intact import check_safetensors, digest, shards
from mmstream.errors import ConfigError

Intake = Literal["image", "text", "audio"]
_NAMES: Mapping[str, str] = {"image": "pictures", "text": "text", "audio": "sound"}
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A model on the CPU, and which of its weights were not in the folder."""

    model: Any
    missing: tuple[str, ...]


def read_config(place: Path) -> Mapping[str, Any]:
    """The folder's ``config.json`` as plain values.

    Raises:
        ConfigError: there is none that can be read.
    """
    try:
        return dict(json.loads((place / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{place} holds no readable config.json; give a folder that save_pretrained wrote") from error


def check_takes(place: Path, takes: Intake, *, examples: str) -> None:
    """Before anything is loaded: is it a model of pictures, of sound, of text?

    A model of pictures or sound may know words, too, if it puts both into one space (CLIP, CLAP). ``examples`` names
    models that would do, for the sentence.

    Raises:
        ConfigError: it is a model of something else, or transformers is not installed.
    """
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise ConfigError("pretrained models need the 'models' extra; install mmstream[models]") from error

    model_type = read_config(place).get("model_type", "model")
    mapping: Any = AutoModel._model_mapping
    try:
        kind = mapping[type(AutoConfig.from_pretrained(place, local_files_only=True))]
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ConfigError(f"{place} holds a {model_type}, which cannot be an encoder; take {examples}") from error
    found = kind.input_modalities
    modalities = {found} if isinstance(found, str) else set(found)
    fits = modalities == {takes} or (modalities == {takes, "text"} and hasattr(kind, "get_text_features"))
    if not fits:
        names = " and ".join(sorted(_NAMES.get(name, name) for name in modalities))
        raise ConfigError(f"{place} holds a {model_type}, a model of {names}; here it must be {examples}")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars and reports, which would fill a replica's log at every start."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()


def load_model(place: Path, dtype: torch.dtype, *, unused: tuple[str, ...] = ()) -> Loaded:
    """The model without its head, as `AutoModel` makes it; code that comes with a model is never run.

    Weights whose names begin with one of ``unused``, and those of an untrained pooler, may be missing.

    Raises:
        ConfigError: no weights, not all, damaged, or too large for the memory.
    """
    from transformers import AutoModel

    check_weights(place)
    loader: Any = AutoModel
    try:
        with quietly():
            model, report = loader.from_pretrained(place, dtype=dtype, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
        raise loading_error(place, error) from error
    missing = tuple(sorted(key for key in report["missing_keys"] if not key.startswith(unused)))
    untrained = [key for key in missing if "pooler" not in key]
    if untrained:
        raise ConfigError(f"{place} lacks {len(untrained)} weights, such as {untrained[0]}; copy the folder again")
    return Loaded(model=model.eval(), missing=missing)


def check_weights(place: Path) -> None:
    """Before anything is loaded: are the weights there, and as long as they say?

    Raises:
        ConfigError: the sentence says which file.
    """
    if not any((place / name).is_file() for name in _WEIGHTS):
        raise ConfigError(f"{place} holds no weights (model.safetensors); pull or copy the model again")
    for name in sorted({path.name for path in place.glob("*.safetensors")} | shards(place)):
        problem = check_safetensors(place / name) if (place / name).is_file() else f"{name} is missing; copy it again"
        if problem:
            raise ConfigError(f"cannot load the model in {place}: {problem}")


def load_tokenizer(place: Path) -> Any:
    """The folder's tokenizer.

    Raises:
        ConfigError: there is none, or none that can be read.
    """
    if not has_tokenizer(place):
        raise ConfigError(
            f"{place} holds no tokenizer (tokenizer.json); pull or copy the model again, with all its files"
        )
    from transformers import AutoTokenizer

    loader: Any = AutoTokenizer
    try:
        return loader.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise ConfigError(f"{place} holds no usable tokenizer: {first_words(error)}") from error


def check_vocabulary(tokenizer: Any, model: Any, place: Path) -> None:
    """Raises ConfigError: the tokenizer knows more words than the model, so the first of the others would break it."""
    num_known = int(getattr(model.config, "text_config", model.config).vocab_size)
    if len(tokenizer) > num_known:
        raise ConfigError(
            f"{place} holds a tokenizer of {len(tokenizer)} words for a model of {num_known}; copy both from one place"
        )


def has_tokenizer(place: Path) -> bool:
    return any((place / name).is_file() for name in _TOKENIZERS)


def to_device(model: Any, device: torch.device, place: Path) -> Any:
    """Raises ConfigError: it is too large for the device's memory."""
    try:
        return model.to(device)
    except (RuntimeError, MemoryError) as error:
        raise loading_error(place, error) from error


def loading_error(place: Path | str, error: BaseException) -> ConfigError:
    """What torch and transformers say while loading, as one sentence."""
    if is_out_of_memory(error):
        return ConfigError(f"the model in {place} does not fit into memory; use a smaller one or another device")
    return ConfigError(f"cannot load the model in {place}: {first_words(error)}")


def content_hash(place: Path, *, words: bool = False) -> str:
    """Ten hex digits of what decides a model's vectors: weights, settings, and with ``words`` the tokenizer, too."""
    weights = sorted(place.glob("*.safetensors")) or sorted(place.glob("*.bin"))
    tokenizer = [place / name for name in (*_TOKENIZERS, "merges.txt", "1_Pooling/config.json")] if words else []
    return digest([place / "config.json", place / "preprocessor_config.json", *weights, *tokenizer])


def first_words(error: BaseException) -> str:
    """Loading errors of torch and transformers run over pages; the first words say what is wrong."""
    return " ".join(str(error).split())[:300]


def unit_rows(features: torch.Tensor) -> torch.Tensor:
    """Any (N, ...) -> float32 (N, D) of length 1, where distances are cosine distances."""
    return functional.normalize(features.float().flatten(1))


def pooled(answer: Any) -> torch.Tensor:
    """The vector that a model's own ``get_..._features`` gives: transformers before 5 gave it bare."""
    features = answer if isinstance(answer, torch.Tensor) else answer.pooler_output
    assert isinstance(features, torch.Tensor)
    return features
