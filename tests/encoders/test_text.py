"""Sentence vectors through the real loading code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from mmstream.encoders.text import SentenceEncoder
from mmstream.stages import KnowsWords
from tests.encoders.tiny import SENTENCES, make_bert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_bert(tmp_path)
    return tmp_path


def straight_from_transformers(folder: Path, texts: list[str], *, first: bool = False) -> np.ndarray:
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, return_tensors="pt"
    )
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    rows = []
    for row, seen in zip(hidden, tokens["attention_mask"].bool(), strict=True):
        rows.append(row[0] if first else row[seen].mean(dim=0))
    return functional.normalize(torch.stack(rows)).numpy()


def test_a_vector_is_the_mean_over_the_tokens_that_are_words(folder: Path):
    encoder = SentenceEncoder(folder=str(folder), device="cpu", precision="fp32")
    vectors = encoder.encode(np.array(SENTENCES))
    np.testing.assert_allclose(vectors, straight_from_transformers(folder, SENTENCES), atol=2e-5)
    assert encoder.model.startswith("bert@")
    assert encoder.channel.name == "meaning"
    assert not isinstance(encoder, KnowsWords)


def test_padding_changes_nothing_and_long_or_empty_texts_are_taken(folder: Path):
    encoder = SentenceEncoder(folder=str(folder), device="cpu", precision="fp32")
    texts = np.array([*SENTENCES, "", "fire " * 3000, "着火了"])
    vectors = encoder.encode(texts)
    alone = np.concatenate([encoder.encode(texts[i : i + 1]) for i in range(len(texts))])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    assert np.isfinite(vectors).all()
    assert encoder.encode(texts[:0]).shape == (0, encoder.dim)


def test_a_folder_that_says_so_is_pooled_by_its_first_token(folder: Path):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    encoder = SentenceEncoder(folder=str(folder), device="cpu", precision="fp32")
    expected = straight_from_transformers(folder, SENTENCES, first=True)
    np.testing.assert_allclose(encoder.encode(np.array(SENTENCES)), expected, atol=2e-5)


def test_texts_are_cut_where_sentence_transformers_would(folder: Path):
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))
    encoder = SentenceEncoder(folder=str(folder), device="cpu")
    long, cut = encoder.encode(np.array(["smoke fire dog car truck rain", "smoke fire dog car siren siren"]))
    np.testing.assert_array_equal(long, cut)


def test_another_tokenizer_is_another_model(folder: Path):
    before = SentenceEncoder(folder=str(folder), device="cpu").model
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"smoke"', '"smokes"'))
    assert SentenceEncoder(folder=str(folder), device="cpu").model != before
