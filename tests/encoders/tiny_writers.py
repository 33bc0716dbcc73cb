"""Tiny models that write: real architectures, saved as the real libraries save them, with tokenizers of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers

WORDS = [
    "a",
    "the",
    "man",
    "woman",
    "car",
    "dog",
    "smoke",
    "fire",
    "falls",
    "runs",
    "stands",
    "walks",
    "near",
    "gate",
    "door",
    "road",
    "red",
    "blue",
    "night",
    ".",
    "help",
    "ask",
    "not",
    "your",
]
SPECIAL = ("<pad>", "</s>", "<unk>", "<s>", "<image>")
TILES = tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
HEARD = ("help", "fire", "ask", "not", "what", "your", "country", "can", "do", "for", "you", "thanks", "70000", ".")
LANGUAGES = ("en", "zh")
SIDE_PX = 32


def make_tokenizer(*more_special: str, chat_template: str | None = None) -> Any:
    """One token per word of `WORDS`; everything else is ``<unk>``."""
    special = (*SPECIAL, *more_special)
    inside = tokenizers.Tokenizer(
        models.WordLevel({word: number for number, word in enumerate((*special, *WORDS))}, unk_token="<unk>")
    )
    inside.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inside, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", *more_special]})
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


# --- Whisper -----------------------------------------------------------------------------------------------


def make_whisper(
    folder: Path,
    says: Sequence[str] = (),
    *,
    language: str = "en",
    silence: float = 0.0,
    sureness: float = 6.0,
    spread: float = 0.02,
    longest_s: int = 6,
) -> None:
    """With ``says`` the decoder is rigged: at each place it says that word, whatever the encoder heard.

    Its layers pass on what comes in, so a state is the embedding of its place, and that points at the next word.
    ``silence`` of the first state points at "no speech"; ``sureness`` is how clearly states point. Without ``says`` it
    says anything; with more ``spread`` of its weights it hears a difference between sounds.
    """
    torch.manual_seed(0)
    tokenizer = _whisper_tokenizer()
    numbers = tokenizer.get_vocab()
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50 * longest_s,
        max_target_positions=64,
        pad_token_id=numbers["<|endoftext|>"],
        eos_token_id=numbers["<|endoftext|>"],
        bos_token_id=numbers["<|endoftext|>"],
        decoder_start_token_id=numbers["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=spread,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_length=64,
        is_multilingual=True,
        lang_to_id={f"<|{name}|>": numbers[f"<|{name}|>"] for name in LANGUAGES},
        task_to_id={"transcribe": numbers["<|transcribe|>"], "translate": numbers["<|translate|>"]},
        no_timestamps_token_id=numbers["<|notimestamps|>"],
    )
    if says:
        spoken = [numbers[f"Ġ{word}"] for word in says] + [config.eos_token_id] * 60
        _rig(model, spoken, numbers[f"<|{language}|>"], numbers["<|nospeech|>"], silence, sureness)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=longest_s).save_pretrained(folder)


def _whisper_tokenizer() -> Any:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*letters, *(f"Ġ{word}" for word in HEARD), "<|endoftext|>"])}
    tokenizer = transformers.WhisperTokenizer(vocab=vocab, merges=[])
    languages = [f"<|{name}|>" for name in LANGUAGES]
    marks = ["<|translate|>", "<|transcribe|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|startoftranscript|>", *languages, *marks]})
    return tokenizer


def _rig(model: Any, spoken: Sequence[int], language: int, no_speech: int, silence: float, sureness: float) -> None:
    decoder = model.model.decoder
    with torch.no_grad():
        for layer in decoder.layers:
            for last in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                last.weight.zero_()
                last.bias.zero_()
        tokens = torch.nn.functional.normalize(torch.randn(decoder.embed_tokens.weight.shape))
        decoder.embed_tokens.weight.copy_(tokens * sureness / 3)
        model.proj_out.weight = decoder.embed_tokens.weight
        places = 100 * torch.stack([tokens[spoken[max(0, place - 3)]] for place in range(64)])
        places[0] = 100 * ((1 - silence) * tokens[language] + silence * tokens[no_speech])
        decoder.embed_positions.weight.copy_(places)


# --- pictures and text -------------------------------------------------------------------------------------

TEXT = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PLAIN_TEMPLATE = (
    "{% for message in messages %}<s>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def make_llava(folder: Path) -> None:
    torch.manual_seed(1)
    tokenizer = make_tokenizer()
    image = tokenizer.convert_tokens_to_ids("<image>")
    vision = {**TEXT, "image_size": SIDE_PX, "patch_size": 8}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision),
        text_config=transformers.LlamaConfig(
            **TEXT, vocab_size=len(tokenizer), initializer_range=0.5, pad_token_id=0, eos_token_id=1, bos_token_id=3
        ),
        image_token_index=image,
        image_token_id=image,
        vision_feature_layer=-1,
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": SIDE_PX}, crop_size=size),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=PLAIN_TEMPLATE.replace("IMAGE", "<image>"),
    ).save_pretrained(folder)


def make_idefics3(folder: Path, *, cuts_tiles: bool = False) -> None:
    """The architecture of SmolVLM-Instruct; with ``cuts_tiles`` a picture is enlarged, and cut into four."""
    torch.manual_seed(2)
    tokenizer = make_tokenizer("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *TILES)
    config = transformers.Idefics3Config(
        vision_config={**TEXT, "image_size": SIDE_PX, "patch_size": 8},
        text_config=transformers.LlamaConfig(
            **TEXT, vocab_size=len(tokenizer), initializer_range=0.5, pad_token_id=0, eos_token_id=1, bos_token_id=3
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    transformers.Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    transformers.Idefics3Processor(
        transformers.Idefics3ImageProcessor(
            size={"longest_edge": SIDE_PX * (2 if cuts_tiles else 1)},
            max_image_size={"longest_edge": SIDE_PX},
            do_image_splitting=cuts_tiles,
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=PLAIN_TEMPLATE.replace("IMAGE", "<image>"),
    ).save_pretrained(folder)


def make_qwen2_vl(folder: Path) -> None:
    torch.manual_seed(3)
    marks = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
    tokenizer = make_tokenizer(*marks)
    start, image, end, video = tokenizer.convert_tokens_to_ids(list(marks))
    config = transformers.Qwen2VLConfig(
        text_config={
            **TEXT,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "initializer_range": 0.5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 3,
        },
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 1, "patch_size": 8},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    transformers.Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    pixels = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(size=pixels, patch_size=8),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(patch_size=8),
        chat_template=PLAIN_TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    ).save_pretrained(folder)


# --- text to text ------------------------------------------------------------------------------------------


def make_t5(folder: Path) -> None:
    torch.manual_seed(4)
    tokenizer = make_tokenizer()
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        initializer_factor=2.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_bart(folder: Path) -> None:
    torch.manual_seed(5)
    tokenizer = make_tokenizer()
    config = transformers.BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        init_std=0.5,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=3,
        decoder_start_token_id=1,
        forced_eos_token_id=1,
    )
    transformers.BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
