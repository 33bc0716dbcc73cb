"""Adapters on pretrained models: a few thousand numbers that move a frozen model towards a site's own pictures.

LoRA (Hu et al., 2021, arXiv:2106.09685): beside a weight matrix W (m, n) two narrow ones B (m, r) and A (r, n) are
learned, and W + (alpha / r) B A takes W's place. In use they are added once, at loading: nothing is slower for it.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from mmstream.encoders.intact import check_safetensors, digest
from mmstream.encoders.pretrained import first_words
from mmstream.errors import ConfigError

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The two files that an adapter is, as peft writes them."""
_QUERY_AND_VALUE = re.compile(r"(^|\.)(q_proj|v_proj|query|value|q_lin|v_lin)$")
"""What attention's two matrices are called that the paper adapts, in the models that transformers loads."""


def adapted_parts(model: nn.Module) -> list[str]:
    """Names of the linear layers that are adapted: queries and values of the half that sees.

    Raises:
        ConfigError: the model has no attention (a ConvNeXt, say).
    """
    names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    found = [name for name in names if _QUERY_AND_VALUE.search(name)]
    seeing = [name for name in found if "text_model" not in name]
    if not seeing:
        raise ConfigError("this model has no attention that could be adapted; take a CLIP, SigLIP, ViT or DINOv2")
    return seeing


def attached(model: Any, *, rank: int, alpha: int, dropout: float) -> Any:
    """A `peft.PeftModel` around the frozen model: its adapter changes nothing yet, and alone can learn."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=adapted_parts(model), bias="none"
    )
    with _old_names():
        return get_peft_model(model, settings)


@contextlib.contextmanager
def _old_names() -> Iterator[None]:
    """peft 0.21 asks transformers by a name that transformers 6 will not know."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def with_adapter(model: Any, place: Path) -> Any:
    """The model with the adapter in ``place`` added to its weights.

    Raises:
        ConfigError: there is no adapter, it is damaged, or it was made for another model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ConfigError("adapters need the 'models' extra; install mmstream[models]") from error
    _check(place)
    try:
        with _old_names():
            return PeftModel.from_pretrained(model, str(place)).merge_and_unload()
    except _MISFITS as error:
        raise _misfit(place, error) from error


def load_adapter(adapted: Any, place: Path) -> None:
    """Put the numbers of the adapter in ``place`` into a `peft.PeftModel`, to go on learning.

    Raises:
        ConfigError: there is no adapter, it is damaged, or it was made for another model or of another rank.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    _check(place)
    try:
        found: Any = set_peft_model_state_dict(adapted, load_file(place / WEIGHTS))
    except _MISFITS as error:
        raise _misfit(place, error) from error
    if found.unexpected_keys:
        raise _misfit(place, KeyError(found.unexpected_keys[0]))


_MISFITS = (ValueError, RuntimeError, KeyError, OSError, TypeError)


def _misfit(place: Path, error: Exception) -> ConfigError:
    return ConfigError(f"the adapter in {place} does not fit this model; train it again: {first_words(error)}")


def _check(place: Path) -> None:
    for name in (SETTINGS, WEIGHTS):
        if not (place / name).is_file():
            raise ConfigError(f"{place} holds no adapter: {name} is missing; train one, or leave adapter out")
    problem = check_safetensors(place / WEIGHTS)
    if problem:
        raise ConfigError(f"cannot load the adapter in {place}: {problem}")


def adapter_hash(place: Path) -> str:
    """Of what decides vectors."""
    return digest([place / SETTINGS, place / WEIGHTS])[:6]
