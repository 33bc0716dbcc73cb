"""Cheaper models: what is kept of their vectors, and which options are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmstream.encoders.audio import AstEncoder, ClapEncoder
from mmstream.encoders.backbones import TorchvisionEncoder
from mmstream.encoders.slimming import Int8Linear, Slimming, stages_of
from mmstream.encoders.text import SentenceEncoder
from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.errors import ConfigError
from tests.encoders.tiny import (
    cosines,
    make_ast,
    make_bert,
    make_clap,
    make_clip,
    make_dinov2,
    make_inputs,
    make_siglip,
    make_siglip2,
    make_vit,
    replica_options,
)

KINDS: dict[str, tuple[type[Any], Callable[[Path], None]]] = {
    "clip": (PretrainedVisionEncoder, make_clip),
    "siglip": (PretrainedVisionEncoder, make_siglip),
    "siglip2": (PretrainedVisionEncoder, make_siglip2),
    "dinov2": (PretrainedVisionEncoder, make_dinov2),
    "bert": (SentenceEncoder, make_bert),
    "clap": (ClapEncoder, make_clap),
    "ast": (AstEncoder, make_ast),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Options -> an encoder of this kind."""
    encoder_class, make = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    make(folder)

    def build(**options: Any) -> Any:
        return encoder_class(folder=str(folder), device="cpu", **{"precision": "fp32", **options})

    return build


def test_bf16_and_int8_point_the_same_way_and_int8_says_so_in_its_name(kind: Callable[..., Any]):
    exact, half, small = kind(), kind(precision="bf16"), kind(precision="int8")
    inputs = make_inputs(exact.wants, 6)
    assert min(cosines(exact.encode(inputs), half.encode(inputs))) > 0.99
    assert min(cosines(exact.encode(inputs), small.encode(inputs))) > 0.99
    assert not np.array_equal(exact.encode(inputs), small.encode(inputs))
    assert small.model == f"{exact.model}.int8"
    assert half.model == exact.model
    alone = np.concatenate([small.encode(inputs[i : i + 1]) for i in range(len(inputs))])
    np.testing.assert_allclose(small.encode(inputs), alone, atol=2e-3)


def test_pruned_models_are_other_models_and_one_block_too_many_is_refused(kind: Callable[..., Any]):
    whole, pruned = kind(), kind(keep_layers=1)
    inputs = make_inputs(whole.wants, 3)
    assert pruned.model == f"{whole.model}.1layers"
    assert pruned.dim == whole.dim
    assert not np.allclose(pruned.encode(inputs), whole.encode(inputs), atol=1e-3)
    np.testing.assert_array_equal(kind(keep_layers=2).encode(inputs), whole.encode(inputs))
    with pytest.raises(ConfigError, match=r"keep_layers is 3, but this .* has 2 blocks; choose 1 to 2"):
        kind(keep_layers=3)


@settings(max_examples=40)
@given(rows=st.integers(1, 300), seed=st.integers(0, 99), loud=st.floats(1e-3, 1e3))
def test_an_eight_bit_layer_is_within_its_rounding_of_the_real_one(rows: int, seed: int, loud: float):
    torch.manual_seed(seed)
    linear = nn.Linear(33, 17)
    values = torch.randn(rows, 33) * loud
    with torch.inference_mode():
        exact, rough = linear(values), Int8Linear(linear)(values)
    step = values.abs().amax(1, keepdim=True) / 127
    weight_step = linear.weight.abs().amax(1) / 127
    bound = 0.5 * (
        step * linear.weight.abs().sum(1) + weight_step * values.abs().sum(1, keepdim=True) + 33 * step * weight_step
    )
    assert bool(((exact - rough).abs() <= bound * 1.01 + 1e-5 * loud).all())


def test_silence_and_layers_without_bias_are_nothing_special():
    layer = Int8Linear(nn.Linear(8, 4, bias=False))
    with torch.inference_mode():
        assert layer(torch.zeros(2, 3, 8)).shape == (2, 3, 4)
        assert bool((layer(torch.zeros(2, 3, 8)) == 0).all())


def test_blocks_are_found_in_plain_and_in_hierarchical_models():
    plain = nn.Sequential(nn.ModuleList([nn.Linear(2, 2) for _ in range(5)]), nn.Linear(2, 2))
    stages = nn.ModuleList([nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(2, 2)] * depth)}) for depth in (2, 6)])
    assert [len(stage) for stage in stages_of(plain)] == [5]
    assert [len(stage) for stage in stages_of(nn.Sequential(stages))] == [2, 6]


def test_a_compiled_model_gives_the_same_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, Any]] = []

    def compile_lightly(module: nn.Module, **how: Any) -> None:
        asked.append(how)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager", dynamic=how["dynamic"])

    monkeypatch.setattr(nn.Module, "compile", compile_lightly)  # the real backend runs a compiler for a minute
    make_vit(tmp_path)
    plain = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    compiled = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", precision="fp32", compile=True)
    for num in (1, 3, 5):
        inputs = make_inputs(plain.wants, num)
        np.testing.assert_allclose(compiled.encode(inputs), plain.encode(inputs), atol=1e-5)
    assert asked == [{"dynamic": True, "mode": None}]
    assert compiled.model == plain.model


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": "fp8"}, "there is no precision 'fp8'; choose auto, fp32, bf16, int8"),
        ({"precision": 8}, "there is no precision 8"),
        ({"keep_layers": -1}, "keep_layers must be a number of blocks, or 0 for all, got -1"),
        ({"keep_layers": True}, "keep_layers must be a number of blocks"),
        ({"compile": "on"}, "compile must be true or false, got 'on'"),
    ],
)
def test_a_value_out_of_range_is_a_plain_sentence(options: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        Slimming(**options)


def test_eight_bits_are_for_cpus_and_for_models_with_linear_layers(tmp_path: Path):
    with pytest.raises(ConfigError, match="int8 is for CPUs; on a GPU choose bf16"):
        Slimming(precision="int8").dtype(torch.device("cuda"))
    options = replica_options("torchvision", tmp_path)
    with pytest.raises(ConfigError, match="a resnet18 has no linear layers"):
        TorchvisionEncoder(**options, device="cpu", precision="int8")
