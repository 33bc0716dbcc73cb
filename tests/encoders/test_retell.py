"""Tiny text-to-text models of two families retell evidence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mmstream.encoders.prompts import clean_answer
from mmstream.encoders.retell import TextRetelling
from mmstream.errors import ConfigError
from mmstream.stages import Describer, Question
from tests.encoders.tiny_writers import make_bart, make_llava, make_t5

pytestmark = pytest.mark.usefixtures("one_thread")

MAKERS = {"t5": make_t5, "bart": make_bart}
PROMPTS = ("the man runs near the gate", "help", "a dog near the red car at night . not a fire .")


@pytest.fixture(scope="module", params=sorted(MAKERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param](place)
    return place


def make_retelling(folder: Path, **options: Any) -> TextRetelling:
    return TextRetelling(folder=str(folder), device="cpu", precision="fp32", **options)


def straight_from_transformers(folder: Path, prompt: str, max_words: int) -> str:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    inputs = tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        written = model.generate(
            input_ids=inputs["input_ids"], do_sample=False, max_new_tokens=2 * max_words + 16, max_length=None
        )
    return str(tokenizer.decode(written[0], skip_special_tokens=True))


def test_a_batch_gets_the_answers_that_transformers_gives_one_by_one(folder: Path):
    retelling = make_retelling(folder)
    assert isinstance(retelling, Describer)
    assert retelling.model.startswith(f"{folder.name[:-1]}@")
    answers = retelling.describe([Question(prompt=prompt, max_words=9) for prompt in PROMPTS])
    assert answers == [clean_answer(straight_from_transformers(folder, prompt, 9), 9) for prompt in PROMPTS]
    assert any(answers)
    assert retelling.describe([]) == []


def test_the_prefix_stands_before_every_prompt(folder: Path):
    plain, with_prefix = make_retelling(folder), make_retelling(folder, prefix="help ")
    asked = [Question(prompt="help " + prompt) for prompt in PROMPTS]
    assert with_prefix.describe([Question(prompt=prompt) for prompt in PROMPTS]) == plain.describe(asked)


def test_a_prompt_of_any_length_is_cut_to_what_the_model_reads(folder: Path):
    (answer,) = make_retelling(folder).describe([Question(prompt="the man runs " * 5000, max_words=5)])
    assert len(answer.split()) <= 5


def become_a_llava(place: Path) -> None:
    shutil.rmtree(place)
    make_llava(place)


def cut_the_weights(place: Path) -> None:
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("breaking", "sentence"),
    [
        (shutil.rmtree, "there is no folder"),
        (become_a_llava, "holds a llava, which is not what is asked for here; take a text-to-text model"),
        (lambda place: (place / "tokenizer.json").unlink(), "holds no tokenizer"),
        (cut_the_weights, "cannot load the model"),
    ],
)
def test_a_broken_folder_is_a_plain_sentence(tmp_path: Path, breaking: Callable[[Path], None], sentence: str):
    place = tmp_path / "t5"
    make_t5(place)
    breaking(place)
    with pytest.raises(ConfigError, match=sentence):
        make_retelling(place)
