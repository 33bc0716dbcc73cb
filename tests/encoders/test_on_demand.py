"""Models on demand are built from a site's options, with errors that name the option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmstream.encoders import ON_DEMAND_MODELS
from mmstream.encoders.batching import build_on_demand
from mmstream.errors import ConfigError
from mmstream.stages import Describer, SpeechModel
from tests.encoders.tiny_writers import make_llava, make_t5, make_whisper

pytestmark = pytest.mark.usefixtures("one_thread")


def options_for(name: str, folder: Path) -> dict[str, Any]:
    if name == "endpoint":
        return {"base_url": "http://127.0.0.1:9", "model": "tiny-vl"}
    {"whisper": make_whisper, "vlm": make_llava, "seq2seq": make_t5}[name](folder)
    return {"folder": str(folder)}


@pytest.mark.parametrize("name", sorted(ON_DEMAND_MODELS))
def test_every_model_of_the_table_is_built_from_its_options_and_says_its_name(name: str, tmp_path: Path):
    model = build_on_demand(name, options_for(name, tmp_path), "cpu")
    assert isinstance(model, SpeechModel if name == "whisper" else Describer)
    assert "@" in model.model


def test_wrong_options_are_named_with_where_they_stand():
    with pytest.raises(ConfigError, match=r"understanding.options.whisper: 'folder' is missing; allowed: .*language"):
        build_on_demand("whisper", {}, "cpu")
    with pytest.raises(
        ConfigError, match=r"understanding.options.endpoint: there is no option 'folder'; allowed: api_key"
    ):
        build_on_demand("endpoint", {"folder": "x"}, "cpu")
    with pytest.raises(ConfigError, match="there is no 'parrot'; choose one of endpoint, seq2seq, vlm, whisper"):
        build_on_demand("parrot", {}, "cpu")
