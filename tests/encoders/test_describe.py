"""Tiny models of three families that see pictures and write, through the real processors and generation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from mmstream.encoders.describe import PretrainedDescriber
from mmstream.encoders.prompts import clean_answer
from mmstream.errors import ConfigError, StageError
from mmstream.stages import Describer, Question
from mmstream.types import UInt8
from tests.encoders.tiny_writers import make_idefics3, make_llava, make_qwen2_vl, make_t5

pytestmark = pytest.mark.usefixtures("one_thread")

MAKERS = {"llava": make_llava, "idefics3": make_idefics3, "qwen2_vl": make_qwen2_vl}


def make_pictures(num: int, seed: int = 0, height_px: int = 40, width_px: int = 60) -> tuple[UInt8, ...]:
    generator = np.random.default_rng(seed)
    return tuple(generator.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8) for _ in range(num))


def make_describer(folder: Path, **options: Any) -> PretrainedDescriber:
    return PretrainedDescriber(folder=str(folder), device="cpu", precision="fp32", **options)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param](place)
    return place


def straight_from_transformers(folder: Path, question: Question) -> str:
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    content = [{"type": "image", "image": Image.fromarray(picture)} for picture in question.pictures]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [*content, {"type": "text", "text": question.prompt}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        written = model.generate(**inputs, do_sample=False, max_new_tokens=2 * question.max_words + 16)
    return str(processor.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("num_pictures", [0, 1, 3])
def test_answers_are_those_of_transformers_itself(folder: Path, num_pictures: int):
    describer = make_describer(folder)
    question = Question(prompt="the man runs near the gate", pictures=make_pictures(num_pictures), max_words=12)
    (answer,) = describer.describe([question])
    assert isinstance(describer, Describer)
    assert describer.model.startswith(f"{json.loads((folder / 'config.json').read_text())['model_type']}@")
    assert answer == clean_answer(straight_from_transformers(folder, question), 12)


def test_the_answer_follows_the_pictures_and_their_order(folder: Path):
    describer = make_describer(folder)
    prompt = "the man runs near the gate"
    answers = describer.describe(
        [
            Question(prompt=prompt, pictures=pictures)
            for first in range(4)
            for pictures in (make_pictures(2, first), make_pictures(2, first)[::-1])
        ]
    )
    assert len(set(answers)) > 1
    assert any(there != back for there, back in zip(answers[::2], answers[1::2], strict=True))


def test_each_question_gets_its_own_answer_in_any_company(folder: Path):
    describer = make_describer(folder)
    questions = [
        Question(prompt="a dog near the car", pictures=make_pictures(2)),
        Question(prompt="fire", pictures=make_pictures(1, seed=1, height_px=90), max_words=4),
        Question(prompt="smoke near the gate ."),
    ]
    answers = describer.describe(questions)
    assert answers == [describer.describe([question])[0] for question in questions]
    assert len(answers[1].split()) <= 4
    assert describer.describe([]) == []


def test_pictures_that_came_through_ray_are_read_only_and_fine(folder: Path):
    pictures = make_pictures(1)
    pictures[0].setflags(write=False)
    assert isinstance(make_describer(folder).describe([Question(prompt="fire", pictures=pictures)])[0], str)


def test_large_pictures_are_made_smaller_first(tmp_path: Path):
    make_qwen2_vl(tmp_path)
    describer = make_describer(tmp_path, longest_side_px=32)
    seen: list[tuple[int, int]] = []
    processor = describer._processor

    class Watching:
        def __call__(self, **more: Any) -> Any:
            seen.extend(picture.size for picture in more["images"][0])
            return processor(**more)

        def __getattr__(self, name: str) -> Any:
            return getattr(processor, name)

    describer._processor = Watching()
    describer.describe([Question(prompt="fire", pictures=make_pictures(2, height_px=360, width_px=640))])
    assert seen == [(32, 18), (32, 18)]
    with pytest.raises(ConfigError, match="between 32 and 4096, got 5"):
        make_describer(tmp_path, longest_side_px=5)


@pytest.mark.parametrize(("longest_side_px", "num_tiles"), [(32, 1), (64, 5)])
def test_pictures_are_cut_into_tiles_only_when_they_are_larger_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest_side_px: int, num_tiles: int
):
    make_idefics3(tmp_path, cuts_tiles=True)
    describer = make_describer(tmp_path, longest_side_px=longest_side_px)
    generate, seen = describer._model.generate, list[int]()

    def watching(**more: Any) -> Any:
        seen.append(more["pixel_values"].shape[1])
        return generate(**more)

    monkeypatch.setattr(describer._model, "generate", watching)
    describer.describe([Question(prompt="fire", pictures=make_pictures(1, height_px=64, width_px=64))])
    assert seen == [num_tiles]


def test_too_little_memory_is_a_plain_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_llava(tmp_path)
    describer = make_describer(tmp_path)

    def too_large(**_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(describer._model, "generate", too_large)
    with pytest.raises(StageError, match="not even one question fits into memory"):
        describer.describe([Question(prompt="fire", pictures=make_pictures(1))])


def lose(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).unlink()


def become_a_t5(place: Path) -> None:
    shutil.rmtree(place)
    make_t5(place)


def lose_the_template(place: Path) -> None:
    for name in ("chat_template.jinja", "chat_template.json"):
        (place / name).unlink(missing_ok=True)


def lose_the_processor(place: Path) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (place / name).unlink(missing_ok=True)


def bring_code(place: Path) -> None:
    settings = json.loads((place / "config.json").read_text())
    settings |= {"model_type": "own_model", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (place / "config.json").write_text(json.dumps(settings))
    (place / "own.py").write_text("raise SystemExit('this was run')")


@pytest.mark.parametrize(
    ("breaking", "sentence"),
    [
        (shutil.rmtree, "there is no folder"),
        (become_a_t5, "holds a t5, which is not what is asked for here; take an image-text-to-text model"),
        (lose("tokenizer.json"), "holds no tokenizer"),
        (lose_the_processor, "holds no (usable processor|image processor)"),
        (lose_the_template, "holds no chat template; choose a variant made for instructions"),
        (lose("model.safetensors"), "holds no weights"),
        (bring_code, "cannot load the model"),
    ],
)
def test_a_broken_folder_is_a_plain_sentence(tmp_path: Path, breaking: Callable[[Path], None], sentence: str):
    place = tmp_path / "llava"
    make_llava(place)
    breaking(place)
    with pytest.raises(ConfigError, match=sentence):
        make_describer(place)
