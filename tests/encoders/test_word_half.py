"""Words in the space of the pictures and sounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from mmstream.encoders.audio import ClapEncoder
from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.errors import ConfigError
from mmstream.stages import KnowsWords
from tests.encoders.tiny import SENTENCES, make_clap, make_clip, make_siglip, make_siglip2, make_vit

Maker = Callable[..., None]
MAKERS: dict[str, tuple[type[Any], Maker]] = {
    "clip": (PretrainedVisionEncoder, make_clip),
    "siglip": (PretrainedVisionEncoder, make_siglip),
    "siglip2": (PretrainedVisionEncoder, make_siglip2),
    "clap": (ClapEncoder, make_clap),
}


@pytest.fixture(scope="module", params=MAKERS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    encoder_class, make = MAKERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    make(folder)
    return encoder_class(folder=str(folder), device="cpu", precision="fp32"), folder


def straight_from_transformers(folder: Path, texts: list[str]) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    if model.config.model_type.startswith("siglip"):
        tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
        inputs = {"input_ids": tokens["input_ids"]}
    else:
        inputs = dict(tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))
    with torch.inference_mode():
        return functional.normalize(model.get_text_features(**inputs).pooler_output).numpy()


def test_words_become_what_transformers_itself_makes_of_them(reader: tuple[Any, Path]):
    encoder, folder = reader
    assert isinstance(encoder, KnowsWords)
    vectors = encoder.encode_words(SENTENCES)
    np.testing.assert_allclose(vectors, straight_from_transformers(folder, SENTENCES), atol=2e-5)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(SENTENCES), encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_words_do_not_depend_on_their_neighbours_and_none_are_none(reader: tuple[Any, Path]):
    encoder, _ = reader
    many = SENTENCES * 20
    alone = np.concatenate([encoder.encode_words([text]) for text in SENTENCES])
    np.testing.assert_allclose(encoder.encode_words(many), np.tile(alone, (20, 1)), atol=1e-5)
    assert encoder.encode_words([]).shape == (0, encoder.dim)


def test_a_flood_of_words_is_cut_and_not_refused(reader: tuple[Any, Path]):
    encoder, _ = reader
    assert np.isfinite(encoder.encode_words(["smoke and fire " * 500, ""])).all()


def test_siglip_reads_in_small_letters_as_it_was_trained_to(tmp_path: Path):
    make_siglip(tmp_path)
    encoder = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu")
    big, small = encoder.encode_words(["SMOKE on the Street", "smoke on the street"])
    np.testing.assert_array_equal(big, small)


@pytest.mark.parametrize("name", MAKERS)
def test_without_a_tokenizer_a_model_knows_no_words_and_sees_the_same(name: str, tmp_path: Path):
    encoder_class, make = MAKERS[name]
    make(tmp_path)
    whole = encoder_class(folder=str(tmp_path), device="cpu", precision="fp32")
    told_not_to = encoder_class(folder=str(tmp_path), device="cpu", precision="fp32", words=False)
    for path in tmp_path.glob("tokenizer*"):
        path.unlink()
    encoder = encoder_class(folder=str(tmp_path), device="cpu", precision="fp32")
    inputs = np.zeros((1, *encoder.wants.shape), encoder.wants.dtype)
    for other in (told_not_to, encoder):
        assert not isinstance(other, KnowsWords)
        np.testing.assert_array_equal(other.encode(inputs), whole.encode(inputs))
        assert other.model == whole.model
    with pytest.raises(ConfigError, match="holds no tokenizer"):
        encoder_class(folder=str(tmp_path), device="cpu", words=True)


def test_words_asked_of_a_model_that_has_none_are_a_plain_sentence(tmp_path: Path):
    make_vit(tmp_path)
    assert not isinstance(PretrainedVisionEncoder(folder=str(tmp_path), device="cpu"), KnowsWords)
    with pytest.raises(ConfigError, match="a vit knows no words; leave it out"):
        PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", words=True)
    wrong: Any = "yes"
    with pytest.raises(ConfigError, match="words must be auto, true or false, got 'yes'"):
        PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", words=wrong)
