"""A tiny Whisper of the real architecture through the real loading, generation and judging."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mmstream.encoders.prompts import plain
from mmstream.encoders.speech import LEAST_CONFIDENCE, WhisperSpeech, without_loops
from mmstream.errors import ConfigError, StageError
from mmstream.stages import SpeechModel
from mmstream.types import Float32
from tests.encoders.sounds import RATE_HZ, read_sound
from tests.encoders.tiny_writers import make_t5, make_whisper

pytestmark = pytest.mark.usefixtures("one_thread")

SENTENCE = ("ask", "not", "what", "your", "country", "can", "do", "for", "you")


def make_noise(duration_s: float, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(0, 0.1, round(RATE_HZ * duration_s)).astype(np.float32)


def make_speech_model(folder: Path, **options: Any) -> WhisperSpeech:
    return WhisperSpeech(folder=str(folder), device="cpu", precision="fp32", **{"only_voices": False, **options})


@pytest.fixture(scope="module")
def rigged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rigged")
    make_whisper(folder, SENTENCE, language="zh")
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    make_whisper(folder, spread=0.4)
    return folder


def test_each_piece_gets_its_words_language_and_confidence(rigged: Path):
    speech = make_speech_model(rigged)
    assert isinstance(speech, SpeechModel)
    assert speech.longest_s == 6.0
    assert speech.model.startswith("whisper@")
    heard = speech.transcribe([make_noise(1), np.zeros(RATE_HZ, np.float32), make_noise(3, seed=1)])
    assert [each.text for each in heard] == ["ask not what your country can do for you", "", heard[0].text]
    assert heard[0].language == "zh"
    assert heard[0].confidence > 0.9
    assert heard[1].confidence == 0.0
    assert speech.transcribe([]) == []
    assert speech.transcribe([np.zeros(0, np.float32)])[0].text == ""


def test_words_and_confidence_are_those_of_transformers_itself(untrained: Path):
    speech = make_speech_model(untrained, language="en", least_confidence=0.0)
    sound = make_noise(2)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(untrained).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(untrained)
    features = transformers.WhisperFeatureExtractor.from_pretrained(untrained)(
        sound, sampling_rate=RATE_HZ, return_tensors="pt"
    ).input_features
    prompt = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    start = torch.tensor([tokenizer.convert_tokens_to_ids(prompt)])
    with torch.inference_mode():
        encoded = model.get_encoder()(features)
        tokens = start
        while tokens[0, -1] != model.config.eos_token_id and tokens.shape[1] < 60:  # greedy, by hand
            logits = model(encoder_outputs=encoded, decoder_input_ids=tokens, use_cache=False).logits
            tokens = torch.cat([tokens, logits[:, -1].argmax(-1)[None]], dim=1)
        logits = model(encoder_outputs=encoded, decoder_input_ids=tokens, use_cache=False).logits[0].log_softmax(-1)
    written = tokens[0, 4:]
    mean = logits[3:-1].gather(1, written[:, None]).mean().exp()
    silent = logits[0].exp()[tokenizer.convert_tokens_to_ids("<|nospeech|>")]
    (heard,) = speech.transcribe([sound])
    text = plain(tokenizer.decode(written, skip_special_tokens=True))
    assert heard.text == without_loops(text) != ""
    share = 1.0 if heard.text == text else 0.5
    assert heard.confidence == pytest.approx(float((1 - silent) * mean) * share, rel=1e-3)


def test_the_same_sound_gives_the_same_words_in_any_company(untrained: Path):
    speech = make_speech_model(untrained, least_confidence=0.0)
    sounds = [make_noise(duration_s, seed) for seed, duration_s in enumerate((3.0, 0.5, 1.5))]
    together = speech.transcribe(sounds)
    assert [each.text for each in together] == [speech.transcribe([sound])[0].text for sound in sounds]
    assert together == speech.transcribe(sounds)
    assert len({each.text for each in together}) > 1


def test_a_piece_beyond_the_longest_is_cut(untrained: Path):
    speech = make_speech_model(untrained, least_confidence=0.0)
    long = make_noise(7)
    assert speech.transcribe([long]) == speech.transcribe([long[: 6 * RATE_HZ]])


def test_what_the_model_takes_for_no_speech_is_left_out(tmp_path: Path):
    make_whisper(tmp_path, SENTENCE, silence=1.0)
    (heard,) = make_speech_model(tmp_path).transcribe([make_noise(1)])
    assert heard.text == ""
    assert heard.confidence < 0.1
    (taken_anyway,) = make_speech_model(tmp_path, least_confidence=0.0).transcribe([make_noise(1)])
    assert taken_anyway.text.startswith("ask not")


def test_words_that_the_model_is_not_sure_of_are_left_out(tmp_path: Path):
    make_whisper(tmp_path, SENTENCE, sureness=1.5)
    (guessed,) = make_speech_model(tmp_path, least_confidence=0.0).transcribe([make_noise(1)])
    assert guessed.text.startswith("ask not")
    assert 0 < guessed.confidence < LEAST_CONFIDENCE
    (heard,) = make_speech_model(tmp_path).transcribe([make_noise(1)])
    assert (heard.text, heard.confidence) == ("", pytest.approx(guessed.confidence))


def test_a_loop_is_cut_and_half_as_sure(tmp_path: Path):
    make_whisper(tmp_path, ["fire", *["help"] * 12, "you"])
    (heard,) = make_speech_model(tmp_path).transcribe([make_noise(3)])
    assert heard.text == "fire help you"
    assert LEAST_CONFIDENCE < heard.confidence <= 0.5


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("ask not what your country can do for you", None),
        ("no no no", None),
        ("plate 70000 and 1 1 1 1 1", None),
        ("谢谢观看谢谢观看谢谢观看谢谢观看", "谢谢观看"),
        ("thanks for watching! " * 9, "thanks for watching!"),
        ("ha" * 200, "ha"),
        ("", None),
    ],
)
def test_only_what_runs_in_a_circle_is_cut(written: str, kept: str | None):
    assert without_loops(written) == (written if kept is None else kept)


def test_text_that_says_nothing_new_for_long_is_dropped():
    lines = [f"thank you for watching this video number {number}" for number in range(10)]
    assert without_loops(" ".join(lines)) == ""


def test_sound_without_a_voice_never_reaches_the_model(rigged: Path):
    speech = make_speech_model(rigged, only_voices=True)
    tone = (0.3 * np.sin(np.arange(2 * RATE_HZ) * 0.2)).astype(np.float32)
    assert [each.text for each in speech.transcribe([make_noise(2), tone])] == ["", ""]
    assert make_speech_model(rigged).transcribe([tone])[0].text != ""


@pytest.mark.footage
def test_a_real_speech_of_eleven_seconds_goes_through(tmp_path: Path, footage: Path):
    samples = read_sound(footage / "speech" / "jfk.flac")
    make_whisper(tmp_path, SENTENCE, longest_s=30)
    speech = make_speech_model(tmp_path, only_voices=True)
    assert speech.longest_s == 30.0
    assert [each.text for each in speech.transcribe([samples, samples[:3000]])] == [" ".join(SENTENCE), ""]


def test_a_language_can_be_set_and_must_be_known(rigged: Path):
    assert make_speech_model(rigged, language="en").transcribe([make_noise(1)])[0].language == "en"
    with pytest.raises(ConfigError, match="knows no language 'de'; it knows en, zh"):
        make_speech_model(rigged, language="de")


def test_bf16_hears_the_same(rigged: Path):
    speech = WhisperSpeech(folder=str(rigged), device="cpu", precision="bf16", only_voices=False)
    assert speech.transcribe([make_noise(1)])[0].text == "ask not what your country can do for you"


def test_too_little_memory_halves_the_batch(rigged: Path, monkeypatch: pytest.MonkeyPatch):
    speech = make_speech_model(rigged)
    generate, asked = speech._model.generate, list[int]()

    def with_room_for(num: int) -> Callable[..., Any]:
        def limited(**more: Any) -> Any:
            asked.append(len(more["encoder_outputs"].last_hidden_state))
            if asked[-1] > num:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] not enough memory")
            return generate(**more)

        return limited

    monkeypatch.setattr(speech._model, "generate", with_room_for(1))
    heard = speech.transcribe([make_noise(1, seed) for seed in range(3)])
    assert len(heard) == 3
    assert all(each.text for each in heard)
    assert asked == [3, 1, 2, 1, 1]
    monkeypatch.setattr(speech._model, "generate", with_room_for(0))
    with pytest.raises(StageError, match="not even one question fits into memory"):
        speech.transcribe([make_noise(1)])


def lose(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).unlink()


def become_a_t5(place: Path) -> None:
    shutil.rmtree(place)
    make_t5(place)


@pytest.mark.parametrize(
    ("breaking", "sentence"),
    [
        (shutil.rmtree, "there is no folder"),
        (become_a_t5, "holds a t5, which is not what is asked for here; take a Whisper"),
        (lose("tokenizer.json"), "holds no tokenizer"),
        (lose("preprocessor_config.json"), "holds no usable feature extractor"),
        (lose("model.safetensors"), "holds no weights"),
        (lose("config.json"), "holds no readable config.json"),
    ],
)
def test_a_broken_folder_is_a_plain_sentence(tmp_path: Path, breaking: Callable[[Path], None], sentence: str):
    place = tmp_path / "whisper"
    make_whisper(place)
    breaking(place)
    with pytest.raises(ConfigError, match=sentence):
        make_speech_model(place)
