"""What the models that write have in common, whether they listen, look or read: loading them, and too little memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from mmstream.encoders.fitting import is_out_of_memory
from mmstream.encoders.pretrained import check_weights, first_words, loading_error, read_config, to_device
from mmstream.errors import ConfigError, StageError

In = TypeVar("In")
Out = TypeVar("Out")


def load_writer(place: Path, auto: Any, *, dtype: torch.dtype, device: torch.device, examples: str) -> Any:
    """The model in ``place`` through ``auto``, such as transformers' ``AutoModelForSeq2SeqLM``, on ``device``.

    ``examples`` names some that fit, for the error. Code that comes with a model is never run.

    Raises:
        ConfigError: a model of another kind, weights missing or damaged, or too large for the memory.
    """
    from transformers import AutoConfig

    model_type = read_config(place).get("model_type", "model")
    check_weights(place)
    try:
        config = AutoConfig.from_pretrained(place, local_files_only=True)
        fits = type(config) in auto._model_mapping
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(f"cannot load the model in {place}: {first_words(error)}") from error
    if not fits:
        raise ConfigError(f"{place} holds a {model_type}, which is not what is asked for here; take {examples}")
    try:
        model, report = auto.from_pretrained(
            place, dtype=dtype, local_files_only=True, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
        raise loading_error(place, error) from error
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(f"{place} lacks {len(missing)} weights, such as {missing[0]}; copy the folder again")
    _make_greedy(model.generation_config)
    return to_device(model.eval(), device, place)


def _make_greedy(settings: Any) -> None:
    """The likeliest token, always: many folders draw by lot or search beams. How long, is said with each question."""
    settings.do_sample, settings.num_beams, settings.early_stopping, settings.max_length = False, 1, False, None
    settings.temperature = settings.top_p = settings.top_k = settings.min_p = settings.typical_p = None


def in_parts(write: Callable[[Sequence[In]], list[Out]], items: Sequence[In]) -> list[Out]:
    """``write(items)``, in halves as often as it takes to fit into memory.

    Raises:
        StageError: not even one fits.

    >>> def write(items):
    ...     if len(items) > 1:
    ...         raise MemoryError
    ...     return [str(items[0])]
    >>> in_parts(write, [1, 2, 3])
    ['1', '2', '3']
    """
    if not items:
        return []
    try:
        return write(items)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if len(items) == 1:
        raise StageError("not even one question fits into memory; use a smaller model or another device")
    half = len(items) // 2
    return in_parts(write, items[:half]) + in_parts(write, items[half:])
