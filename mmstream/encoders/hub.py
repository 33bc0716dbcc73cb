"""Where a model's files are: in a folder, or on the Hub and fetched once.

A site says ``folder: /models/clip`` or ``folder: owner/name``. The second is looked for on the disk first, so a site
whose models were pulled runs without a network, and a model does not change because its owner changed it. Only weights
that cannot run code are fetched, and no code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mmstream.errors import ConfigError

WANTED = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "normalizer.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "chat_template.json",
    "chat_template.jinja",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
)
"""What is fetched of a repository: no pickled weights, no code, no other formats of the same weights."""

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def is_hub_id(folder: str) -> bool:
    """Whether ``folder`` names a repository rather than a place on this machine.

    >>> is_hub_id("google/siglip2-base-patch16-224"), is_hub_id("/models/siglip2"), is_hub_id("./a/b")
    (True, False, False)
    """
    return _HUB_ID.fullmatch(folder) is not None and not Path(folder).is_dir()


def local_folder(folder: str) -> Path:
    """Where the model's files are on this machine; a Hub id is fetched if it is not there yet.

    Raises:
        ConfigError: no such folder, or it cannot be fetched.
    """
    place = Path(folder).expanduser()
    if place.is_dir():
        return place
    if not is_hub_id(folder):
        raise ConfigError(f"there is no folder {folder}; give one that save_pretrained wrote, or a Hub id 'owner/name'")
    return fetched(folder) or fetch(folder)


def fetched(model_id: str) -> Path | None:
    """Where the files of a Hub repository are in the local cache; None when some or all are not."""
    hub = _client()
    try:
        return Path(hub.snapshot_download(model_id, allow_patterns=list(WANTED), local_files_only=True))
    except (OSError, ValueError):
        return None


def fetch(model_id: str, *, to: Path | None = None, progress: type[Any] | None = None) -> Path:
    """The newest files of a Hub repository; those that are here already are not downloaded again.

    ``to``: a folder for this model's files instead of the cache. ``progress``: a class like tqdm.

    Raises:
        ConfigError: the Hub does not answer and the files are not here, or it has no such repository.
    """
    hub = _client()
    more: dict[str, Any] = {} if progress is None else {"tqdm_class": progress}
    if to is not None:
        more["local_dir"] = to
    try:
        return Path(hub.snapshot_download(model_id, allow_patterns=list(WANTED), **more))
    except hub.errors.GatedRepoError as error:
        raise ConfigError(
            f"cannot fetch {model_id} from the Hub: its owner must allow it; ask for it there, then set HF_TOKEN"
        ) from error
    except hub.errors.RepositoryNotFoundError as error:
        raise ConfigError(
            f"cannot fetch {model_id} from the Hub: it has no such model, or not for you; check the name or HF_TOKEN"
        ) from error
    except hub.errors.LocalEntryNotFoundError as error:
        raise ConfigError(
            f"cannot fetch {model_id} from the Hub, which does not answer; fetch it ahead of time where there is a "
            f"network ('mmstream models pull --model {model_id}'), or give a folder"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot fetch {model_id} from the Hub: {' '.join(str(error).split())[:200]}") from error


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError("models from the Hub need the 'models' extra; install mmstream[models]") from error
    return huggingface_hub
