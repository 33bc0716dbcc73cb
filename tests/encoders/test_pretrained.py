"""What is wrong with a model's folder is said in one sentence, with the cure; and an own model needs a folder only."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mmstream.encoders import pretrained
from mmstream.encoders.audio import AstEncoder, ClapEncoder
from mmstream.encoders.batching import build_replica
from mmstream.encoders.hub import is_hub_id, local_folder
from mmstream.encoders.intact import check_folder, check_safetensors
from mmstream.encoders.text import SentenceEncoder
from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.errors import ConfigError, StageError
from mmstream.pipeline import local_encode
from mmstream.types import Snapshot
from tests.encoders.tiny import make_ast, make_bert, make_clap, make_clip, make_inputs, make_siglip2, make_vit

ENCODERS: dict[str, tuple[type[Any], Callable[[Path], None]]] = {
    "vision": (PretrainedVisionEncoder, make_clip),
    "clap": (ClapEncoder, make_clap),
    "ast": (AstEncoder, make_ast),
    "text": (SentenceEncoder, make_bert),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, (_, make) in ENCODERS.items():
        made[name] = tmp_path_factory.mktemp(name) / "model"
        make(made[name])
    return made


def cut_weights(place: Path) -> None:
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def swap_weights(place: Path) -> None:
    save_file({"something.else": torch.zeros(3)}, place / "model.safetensors", metadata={"format": "pt"})


BREAKING: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder": (shutil.rmtree, r"there is no folder .*; give one that save_pretrained wrote, or a Hub id"),
    "config": (lambda place: (place / "config.json").unlink(), "holds no readable config.json"),
    "weights": (lambda place: (place / "model.safetensors").unlink(), "holds no weights .*; pull or copy the model"),
    "cut": (cut_weights, r"model.safetensors has \d+ bytes and should have \d+; copy it again"),
    "others": (swap_weights, r"lacks \d+ weights, such as"),
}


@pytest.mark.parametrize("damage", BREAKING)
@pytest.mark.parametrize("name", ENCODERS)
def test_a_broken_folder_is_a_plain_sentence(name: str, damage: str, folders: dict[str, Path], tmp_path: Path):
    place = tmp_path / "model"
    shutil.copytree(folders[name], place)
    breaking, sentence = BREAKING[damage]
    breaking(place)
    with pytest.raises(ConfigError, match=sentence) as caught:
        build_replica(name, {"folder": str(place)}, "cpu")
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    ("name", "file", "sentence"),
    [
        ("vision", "preprocessor_config.json", "holds no usable image processor"),
        ("clap", "preprocessor_config.json", "holds no usable feature extractor"),
        ("ast", "preprocessor_config.json", "holds no usable feature extractor"),
        ("text", "tokenizer.json", r"holds no tokenizer \(tokenizer.json\); pull or copy the model again"),
    ],
)
def test_a_missing_file_is_named(name: str, file: str, sentence: str, folders: dict[str, Path], tmp_path: Path):
    place = tmp_path / "model"
    shutil.copytree(folders[name], place)
    (place / file).unlink()
    with pytest.raises(ConfigError, match=sentence):
        build_replica(name, {"folder": str(place)}, "cpu")


@pytest.mark.parametrize(
    ("name", "other", "sentence"),
    [
        ("vision", "text", "holds a bert, a model of text; here it must be a model of pictures, such as a CLIP"),
        ("vision", "clap", "holds a clap, a model of sound and text; here it must be a model of pictures"),
        (
            "ast",
            "vision",
            "holds a clip, a model of pictures and text; here it must be an Audio Spectrogram Transformer",
        ),
        ("ast", "clap", "holds a clap with a ClapFeatureExtractor; here it must be an Audio Spectrogram Transformer"),
        ("clap", "ast", "holds a audio-spectrogram-transformer with a ASTFeatureExtractor; here it must be a CLAP"),
        ("clap", "text", "holds a bert, a model of text; here it must be a CLAP"),
        (
            "text",
            "vision",
            "holds a clip, a model of pictures and text; here it must be a model of text, such as a BERT",
        ),
    ],
)
def test_a_model_of_something_else_is_refused_by_name(name: str, other: str, sentence: str, folders: dict[str, Path]):
    with pytest.raises(ConfigError, match=sentence):
        build_replica(name, {"folder": str(folders[other])}, "cpu")


def test_an_unknown_architecture_is_a_plain_sentence(tmp_path: Path):
    make_vit(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "model_type": "of-tomorrow"}))
    with pytest.raises(ConfigError, match="holds a of-tomorrow, which cannot be an encoder"):
        PretrainedVisionEncoder(folder=str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_model_that_is_too_large_says_so(error: Exception, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", fail)
    with pytest.raises(ConfigError, match="does not fit into memory; use a smaller one or another device"):
        build_replica("text", {"folder": str(folders["text"])}, "cpu")


def test_too_large_a_batch_is_encoded_in_parts(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    encoder = build_replica("vision", {"folder": str(folders["vision"])}, "cpu")
    whole = encoder.encode
    passes: list[int] = []

    def little_memory(inputs: Any) -> Any:
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        passes.append(len(inputs))
        return whole(inputs)

    monkeypatch.setattr(encoder, "encode", little_memory)
    pictures = make_inputs(encoder.wants, 5)
    snapshots = [
        Snapshot(feed_id="gate", start_s=number, end_s=number + 2.0, encoder="vision", data=picture)
        for number, picture in enumerate(pictures)
    ]
    answers = asyncio.run(local_encode(encoder)(snapshots))
    assert answers is not None
    np.testing.assert_allclose(np.stack([answer.vector for answer in answers]), whole(pictures), atol=1e-5)
    assert max(passes) <= 2


def test_a_site_prefers_what_was_fetched_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[bool] = []

    def snapshot(_: str, *, local_files_only: bool = False, **__: Any) -> str:
        asked.append(local_files_only)
        if local_files_only and len(asked) == 1:
            raise FileNotFoundError("not here yet")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert local_folder("someone/tiny") == tmp_path
    assert asked == [True, False]
    assert local_folder("someone/tiny") == tmp_path
    assert asked == [True, False, True]


def test_what_is_a_hub_id_and_what_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("owner/name")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not is_hub_id("owner/name")
    for place in ("/models/clip", "~/clip", "./a", "a/b/c", "../b", "clip"):
        assert not is_hub_id(place)


def test_a_whole_folder_has_no_problem_and_a_missing_shard_is_one(folders: dict[str, Path], tmp_path: Path):
    for place in folders.values():
        assert [item.problem for item in check_folder(place) if item.problem] == []
    place = tmp_path / "model"
    shutil.copytree(folders["text"], place)
    state = load_file(place / "model.safetensors")
    (place / "model.safetensors").rename(place / "model-00001-of-00002.safetensors")
    shards = dict.fromkeys(state, "model-00001-of-00002.safetensors") | {"x": "model-00002-of-00002.safetensors"}
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    problems = [item.problem for item in check_folder(place) if item.problem]
    assert problems == ["model-00002-of-00002.safetensors is missing; pull or copy the model again"]
    with pytest.raises(ConfigError, match=r"model-00002-of-00002.safetensors is missing"):
        SentenceEncoder(folder=str(place), device="cpu")
    (tmp_path / "empty").mkdir()
    assert {item.name for item in check_folder(tmp_path / "empty")} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("content", [b"", b"\x08", b"\x02" + b"\0" * 7 + b"[]", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_told(content: bytes, tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(content)
    assert "copy it again" in check_safetensors(tmp_path / "model.safetensors")


def test_an_own_model_needs_no_code_only_a_folder(tmp_path: Path):
    """Somebody's own architecture sizes, trained elsewhere, saved with save_pretrained: `folder` is all it takes."""
    make_siglip2(tmp_path)
    encoder = build_replica("vision", {"folder": str(tmp_path)}, "cpu")
    assert encoder.model.startswith("siglip2@")
    assert encoder.encode(make_inputs(encoder.wants, 2)).shape == (2, encoder.dim)


def test_loading_is_quiet_and_leaves_the_loudness_as_it_was(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
):
    from transformers.utils import logging

    before = logging.get_verbosity()
    build_replica("text", {"folder": str(folders["text"])}, "cpu")
    assert logging.get_verbosity() == before
    assert logging.is_progress_bar_enabled()
    assert capfd.readouterr().err == ""


def test_not_even_one_input_is_a_stage_error(folders: dict[str, Path]):
    from mmstream.encoders.fitting import Fitting

    def none_fits(_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    with pytest.raises(StageError, match="not even one input fits into memory"):
        Fitting(none_fits)(np.zeros((4, 2)))
    assert pretrained.has_tokenizer(folders["text"])


def test_a_tokenizer_of_another_model_is_refused(folders: dict[str, Path], tmp_path: Path):
    for name in ("text", "clap", "vision"):
        place = tmp_path / name
        shutil.copytree(folders[name], place)
        settings = json.loads((place / "tokenizer.json").read_text())
        vocabulary = settings["model"]["vocab"]
        vocabulary |= {f"word{number}": len(vocabulary) + number for number in range(500)}
        (place / "tokenizer.json").write_text(json.dumps(settings))
        with pytest.raises(ConfigError, match=r"holds a tokenizer of \d+ words for a model of \d+; copy both"):
            build_replica(name, {"folder": str(place)}, "cpu")
